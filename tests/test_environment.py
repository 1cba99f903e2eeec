"""What a person's machine brings with it: other tools' variables, locales, git hooks, line endings."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bakes import Bake, digest
from tests.conftest import commit, git
from tools import template

# Set by other tools in people's shells, virtual environments, CI systems and git hooks.
BROUGHT = {
    "AWS_PROFILE": "nobody",
    "CDPATH": "/",
    "GIT_DIR": "/nowhere",
    "GIT_INDEX_FILE": "/nowhere",
    "GIT_WORK_TREE": "/nowhere",
    "GREP_OPTIONS": "--color=always",
    "MAKEFLAGS": "-j8",
    "PIP_PREFIX": "/nowhere",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_TARGET": "/nowhere",
    "PIP_USER": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHOME": "/nowhere",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "/nowhere",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNINGS": "error",
    "VIRTUAL_ENV": "/nowhere",
}
# Of make itself, or the Makefile's own and never taken from outside.
NO_OPTION = {"MAKEFLAGS", "MAKEFILE_LIST", "MAKE", "SHELL", "SHELLFLAGS", "PHONY", "DEFAULT_GOAL", "NOTPARALLEL"}


def targets(makefile: Path) -> list[str]:
    """Every target that is a word."""
    phony = re.findall(r"^\.PHONY: (.+)$", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted({name for line in phony for name in line.split() if "$" not in name})


def names(makefile: Path) -> set[str]:
    """Every word in capitals that could be a variable, in recipes and in what `make help` says."""
    return set(re.findall(r"\b[A-Z][A-Z_]{1,}\b", makefile.read_text(encoding="utf-8"))) - NO_OPTION


def recipe(root: Path, target: str, environment: dict[str, str], *arguments: str) -> str:
    """What make would run."""
    made = ("-o", ".venv/.installed", "-o", ".venv/.test", "-o", ".venv/.project")
    result = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", *made, target, *arguments],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def clean() -> dict[str, str]:
    """Nothing but what a program needs."""
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


@pytest.mark.parametrize("where", ["render", "template"])
def test_targets_take_nothing_from_the_environment(bake: Bake, clean: dict[str, str], where: str) -> None:
    """WORKSPACE of Jenkins, an exported ENV, IMAGE or YES: the commands are the same with and without them."""
    root = bake().path if where == "render" else template.ROOT
    # TERRAFORM is what a person exports on purpose: which program runs, and not what it does.
    exported = dict.fromkeys(names(root / "Makefile") - {"TERRAFORM"}, "from-the-environment")
    assert (
        where == "template" or {"ENV", "WORKSPACE", "IMAGE", "YES", "ACTION", "LAYER", "REVIEWERS"} <= exported.keys()
    )
    changed = [
        target
        for target in targets(root / "Makefile")
        if recipe(root, target, clean) != recipe(root, target, exported | BROUGHT | clean)
    ]
    assert changed == []


def shown(root: Path, target: str, environment: dict[str, str], *arguments: str) -> dict[str, str]:
    """The environment of a target's command."""
    made = ("-o", ".venv/.installed", "-o", ".venv/.test", "-o", ".venv/.project")
    result = subprocess.run(
        ["make", "--silent", *made, target, "RUN=env -0 ;:", *arguments],
        cwd=root,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return dict(line.split("=", 1) for line in result.stdout.split("\0") if "=" in line)


@pytest.mark.parametrize(("where", "target"), [("render", "dev"), ("render", "check-contract"), ("template", "docs")])
def test_commands_do_not_see_what_would_mislead_them(
    bake: Bake, clean: dict[str, str], where: str, target: str
) -> None:
    root = bake().path if where == "render" else template.ROOT
    misleading = BROUGHT.keys() - {"AWS_PROFILE", "MAKEFLAGS"}
    seen = shown(root, target, clean | BROUGHT | {"PORT": "1", "URL": "x", "START": "x", "PIP_INDEX_URL": "kept"})
    assert {name: seen[name] for name in misleading & seen.keys()} == {"PIP_USER": "0"}
    assert seen["PYTHONUTF8"] == "1"
    assert seen["PIP_INDEX_URL"] == "kept"
    assert seen["AWS_PROFILE"] == "nobody"
    if where == "render":
        assert not {"PORT", "URL", "START"} & seen.keys()


def test_what_is_typed_reaches_the_command(bake: Bake, clean: dict[str, str]) -> None:
    root = bake().path
    assert shown(root, "dev", clean, "PORT=8001")["PORT"] == "8001"
    assert shown(root, "check-contract", clean | {"PORT": "1"}, "START=a 'b'")["START"] == "a 'b'"
    typed = recipe(root, "logs", clean, "ENV=dev", 'FILTER={ $.level = "it\'s" }', "FOLLOW=1", "SINCE=0")
    assert """ --env='dev' """ in typed
    assert """ --filter='{ $.level = "it'\\''s" }'""" in typed
    assert " --follow" in typed
    assert " --since='0'" in typed
    assert "--yes" not in recipe(root, "up", clean, "YES=0")
    assert "--yes" in recipe(root, "up", clean, "YES=1")


# ---------------------------------------------------------------------- locales


def unspecified(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Text that is read or written in the locale's encoding: line, and the call."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if "encoding" in given or None in given:
            continue
        words = [*call.args, *given.values()]
        binary = any(
            isinstance(word, ast.Constant) and re.fullmatch(r"[rwax+]*b[rwax+]*", str(word.value)) for word in words
        )
        method = isinstance(call.func, ast.Attribute)  # of a path; `self.open(change)` is something else
        other = getattr(getattr(call.func, "value", None), "id", "") == "tarfile" or (
            method and call.args and not isinstance(getattr(call.args[0], "value", None), str)
        )
        if (
            (name == "read_text" and not call.args)
            or (name == "write_text" and len(call.args) < 2)
            or (name == "open" and not binary and not other)
            or (name in ("TemporaryFile", "NamedTemporaryFile") and words and not binary)
            or (name in ("run", "Popen", "check_output") and given.keys() & {"text", "universal_newlines"})
        ):
            yield call.lineno, name


def test_files_and_output_are_utf_8_in_every_locale() -> None:
    """project.yaml always has a “…”, and a description may have any letter."""
    programs = [
        path
        for folder in ("hooks", "tools", template.RENDERED_ROOT.name)
        for path in (template.ROOT / folder).rglob("*.py")
        if not {"tests", ".venv", "__pycache__"} & set(path.relative_to(template.ROOT).parts)
    ]
    found = [
        f"{path.relative_to(template.ROOT)}:{line}: {name} without an encoding"
        for path in programs
        for line, name in unspecified(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert programs
    assert found == []


# As on a machine whose locale is an old one: Python takes the locale's encoding and does not make UTF-8 of it.
OLD_LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_it_renders_in_an_old_locale(tmp_path: Path, bake: Bake) -> None:
    output = tmp_path / "Ünïcödé"
    output.mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(template.ROOT), "--no-input", "--output-dir", str(output)],
        env=os.environ | OLD_LOCALE | {"HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert digest(output / "my-app") == digest(bake().path)


def test_an_answer_is_refused_in_words_in_an_old_locale(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "cookiecutter", str(template.ROOT), "--no-input", "owner=Ünïcödé 😀!", "app_name=😀"],
        cwd=tmp_path,
        env=os.environ | OLD_LOCALE | {"HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1
    assert b"These answers cannot be used:" in result.stderr
    assert b"UnicodeEncodeError" not in result.stderr


# ---------------------------------------------------------------------- git


def test_tests_in_a_git_hook_leave_the_repository_alone(tmp_path: Path) -> None:
    """Git runs hooks with GIT_DIR and its kin set; what the tests' own repositories need is not in there."""
    mine = tmp_path / "mine"
    mine.mkdir()
    git(mine, "init", "--quiet", "--initial-branch", "main")
    (mine / "file").write_text("mine", encoding="utf-8")
    commit(mine, "mine")
    before = (digest(mine), git(mine, "log", "--format=%H", "--all"))
    hook = {"GIT_DIR": str(mine / ".git"), "GIT_INDEX_FILE": str(mine / ".git/index"), "GIT_WORK_TREE": str(mine)}
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/test_render.py",
            "-k",
            "maintainers_junk",
        ],
        cwd=template.ROOT,
        env=os.environ | hook,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout
    assert (digest(mine), git(mine, "log", "--format=%H", "--all")) == before


def test_tests_below_make_do_not_pass_on_what_it_was_given() -> None:
    """`make test RUN=…` is about this repository; a render's own make has a RUN too, and installs into it."""
    code = "import os, tests.conftest; print([name for name in os.environ if name.startswith(('MAKE', 'MFLAGS'))])"
    given = {"MAKEFLAGS": " -- RUN=/nowhere/python", "MAKEOVERRIDES": "RUN=/nowhere/python", "MFLAGS": ""}
    printed = subprocess.check_output(
        [sys.executable, "-c", code], cwd=template.ROOT, env=os.environ | given, text=True
    )
    assert printed == "[]\n"


def test_a_checkout_on_windows_terms_has_the_same_bytes(bake: Bake, tmp_path: Path) -> None:
    """With core.autocrlf, which changes line endings where .gitattributes does not forbid it."""
    project = bake.copy(tmp_path / "project")
    git(project.path, "init", "--quiet", "--initial-branch", "main")
    commit(project.path, "start")
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "--quiet", "project", "clone")
    different = [
        name for name, path in bake().files.items() if (tmp_path / "clone" / name).read_bytes() != path.read_bytes()
    ]
    assert different == []
