"""Fixtures that every test may use."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cookiecutter import utils
from filelock import FileLock
from hypothesis import settings
from jinja2 import FileSystemBytecodeCache

from tests.bakes import Bake, Cookies
from tools import template

# In a git hook these say where the repository is, and below make what it was given (RUN, VENV); the tests make
# repositories of their own, and call make in them.
for name in [name for name in os.environ if name.startswith(("GIT_", "MAKE", "MFLAGS"))]:
    del os.environ[name]
# A busy machine is no reason to fail.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests begin first, so that no worker is alone with one at the end.

    Behind each is a short one: a worker of xdist always holds the test after the one that it runs.
    """
    long = [item for item in items if item.get_closest_marker("long")]
    others = (item for item in items if not item.get_closest_marker("long"))
    items[:] = [item for one in long for item in (one, *itertools.islice(others, 1))] + list(others)


@pytest.fixture(scope="session")
def bake(cookies_session: Cookies, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Bake]:
    """Render the template: see tests/bakes.py. Compiled Jinja is shared between renders."""
    cache = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("jinja")))
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "renders"
    shared.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "StrictEnvironment", functools.partial(utils.StrictEnvironment, bytecode_cache=cache))
        baker = Bake(cookies_session, shared)
        yield baker
    changed = [str(project.options) for project in baker.changed()]
    assert not changed, f"a test wrote into the shared render of {changed}: use bake.copy"


Once = Callable[[str, Callable[[Path], Any]], Any]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """What takes long and is the same for all workers: `once("name", make)`, where `make` gives JSON from a folder."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "once"
    shared.mkdir(exist_ok=True)

    known: dict[str, Any] = {}

    def made(name: str, make: Callable[[Path], Any]) -> Any:
        if name not in known:
            kept = shared / hashlib.sha256(name.encode()).hexdigest()[:16]
            with FileLock(f"{kept}.lock"):
                if not kept.exists():
                    kept.write_text(json.dumps(make(tmp_path_factory.mktemp("once"))), encoding="utf-8")
            known[name] = json.loads(kept.read_text(encoding="utf-8"))
        return known[name]

    return made


@pytest.fixture(scope="session")
def template_files() -> dict[str, Path]:
    """The files of the template folder that are in git or would be added to it, by their path inside it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=template.RENDERED_ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split("\0")
    paths = {name: template.RENDERED_ROOT / name for name in sorted(set(filter(None, listed)))}
    return {name: path for name, path in paths.items() if path.exists()}


@pytest.fixture(scope="session")
def template_clone(template_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the template as it is now, committed or not: for cruft, and for changes to it."""
    clone = tmp_path_factory.mktemp("clone") / "template"
    sources = {f"{template.RENDERED_ROOT.name}/{name}": path for name, path in template_files.items()}
    sources |= {name: template.ROOT / name for name in ("cookiecutter.json", *hooks())}
    for name, source in sources.items():
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(source.stat().st_mode)
    git(clone, "init", "--quiet", "--initial-branch", "main")
    commit(clone, "template")
    return clone


@pytest.fixture
def whole_clone(tmp_path: Path) -> Path:
    """The template's whole repository as it is now, tools and tests too, in a repository of its own."""
    folder = tmp_path / "clone"
    for name in filter(None, git(template.ROOT, "ls-files", "-z", "-co", "--exclude-standard").split("\0")):
        source = template.ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "everything")
    return folder


def hooks() -> list[str]:
    """The hook files."""
    return [f"hooks/{path.name}" for path in (template.ROOT / "hooks").glob("*.py")]


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints, run as nobody in particular."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=True
    ).stdout


def commit(folder: Path, message: str) -> None:
    """Commit everything in the folder."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
