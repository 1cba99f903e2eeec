"""Imports run one way: the commands know nothing of the rehearsal, and nowhere is there a circle."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tools import template

# In a room, only what stands below it in this list is imported: `ops` stands for the commands.
RENDER = ("ops", "app", "role_manager")
ORDER = ("ops.rehearsal", "ops.laptop", "ops")


def modules(root: Path, package: str) -> dict[str, Path]:
    """Every module of a package below a root, by its dotted name."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, name: str, known: Mapping[str, object]) -> Iterator[str]:
    """The known modules that a module imports, wherever it does; not those for types only."""
    tree = ast.parse(source)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (_longest(alias.name, known) for alias in node.names if _longest(alias.name, known))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*name.split(".")[: -node.level], *([base] if base else [])])
            for alias in node.names:
                found = _longest(f"{base}.{alias.name}", known)
                if found:
                    yield found


def _longest(dotted: str, known: Mapping[str, object]) -> str:
    while dotted and dotted not in known:
        dotted = dotted.rpartition(".")[0]
    return dotted


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """One circle of a graph, as the names on it; empty when there is none."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for target in sorted(edges.get(node, ())):
            found = walk(target, [*path, node])
            if found:
                return found
        done.add(node)
        return []

    for node in sorted(edges):
        if found := walk(node, []):
            return found
    return []


@functools.cache
def graph(root: Path, *packages: str) -> dict[str, set[str]]:
    """Which module imports which, in some packages."""
    known = {name: path for package in packages for name, path in modules(root, package).items()}
    return {name: set(imported(path.read_text(encoding="utf-8"), name, known)) - {name} for name, path in known.items()}


@pytest.mark.parametrize(
    ("root", "packages"),
    [
        (template.RENDERED_ROOT, RENDER),
        (template.ROOT, ("tests", "tools", "hooks", "bench")),
    ],
    ids=["render", "template"],
)
def test_there_is_no_circle_of_imports(root: Path, packages: tuple[str, ...]) -> None:
    assert circle(graph(root, *packages)) == []


def room(module: str) -> str:
    return next((room for room in ORDER if module == room or module.startswith(f"{room}.")), module.split(".")[0])


def test_the_commands_know_nothing_of_the_rehearsal_and_the_laptop() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph(template.RENDERED_ROOT, *RENDER).items()
        if room(name) in ORDER
        for target in targets
        if room(target) in ORDER and ORDER.index(room(target)) < ORDER.index(room(name))
    ]
    assert wrong == []


def test_what_is_deployed_imports_no_machinery() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph(template.RENDERED_ROOT, *RENDER).items()
        for target in targets
        if room(name) not in ORDER and room(target) in ORDER and ".tests" not in name
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["ops", "app", "role_manager"])
def test_every_import_of_this_repository_leads_to_a_file(name: str) -> None:
    """A folder that has moved is found here and not by the first person who needs it."""
    own = {path.name for path in template.RENDERED_ROOT.iterdir() if path.is_dir()}
    known = {module for package in own for module in modules(template.RENDERED_ROOT, package)}
    missing = []
    for module, path in modules(template.RENDERED_ROOT, name).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            wanted = [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            wanted += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            missing += [f"{module}: {name}" for name in wanted if name.split(".")[0] in own and name not in known]
    assert missing == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = tmp_path / "p"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from p import b",
        "b": "def f():\n    from . import c",
        "c": "import p.a",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import d2",
        "d2": "from p import d",
    }.items():
        (package / f"{name}.py").write_text(text)
    assert circle(graph(tmp_path, "p")) == ["p.a", "p.b", "p.c", "p.a"]
    (package / "c.py").write_text("")
    graph.cache_clear()
    assert circle(graph(tmp_path, "p")) == []
