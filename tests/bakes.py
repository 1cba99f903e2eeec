"""`bake(database="none")`: a typed, cached, read-only render."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import yaml
from filelock import FileLock

from tests.options import CHOICES, Options
from tools import template
from tools.make_project import literal


class Baked(Protocol):
    """The part of pytest-cookies' Result that is used here."""

    exception: BaseException | None
    project_path: Path | None


class Cookies(Protocol):
    """The part of pytest-cookies' Cookies that is used here."""

    def bake(self, extra_context: dict[str, str]) -> Baked:
        """Render in process."""


def files(root: Path) -> dict[str, Path]:
    """Every file below a folder by its path inside it. Links count as files."""
    return {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def digest(root: Path) -> str:
    """A hash of every path, mode and content below a folder."""
    total = hashlib.sha256()
    for name, path in files(root).items():
        total.update(f"{name}\0{path.stat().st_mode:o}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@dataclass(frozen=True)
class Project:
    """A rendered repository and the options that made it."""

    path: Path
    options: Options

    @cached_property
    def files(self) -> dict[str, Path]:
        """Its files by their path inside it."""
        return files(self.path)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its project.yaml."""
        loaded: dict[str, Any] = yaml.safe_load((self.path / "project.yaml").read_text(encoding="utf-8"))
        return loaded


class Bake:
    """Renders the template once for each option set, for all workers of a session."""

    def __init__(self, cookies: Cookies, shared: Path) -> None:
        """Render with pytest-cookies into a folder that all workers see."""
        self._cookies = cookies
        self._shared = shared
        self._used: dict[Path, Project] = {}

    def __call__(self, **options: str) -> Project:
        """The render for these options and defaults otherwise; it may not be written to.

        TypeError for an option that the template does not have, AssertionError when it is refused.
        """
        key = hashlib.sha256(repr(sorted(options.items())).encode()).hexdigest()[:16]
        kept = self._shared / key
        if kept not in self._used:
            with FileLock(f"{kept}.lock"):
                if not (kept / "digest").exists():
                    made = self.again(**options)
                    kept.mkdir()
                    shutil.move(made.path, kept)
                    (kept / "digest").write_text(digest(kept / made.path.name), encoding="utf-8")
            (path,) = (folder for folder in kept.iterdir() if folder.is_dir())
            self._used[kept] = Project(path, options)
        return self._used[kept]

    def again(self, **options: str) -> Project:
        """A render that nobody else sees."""
        unknown = options.keys() - template.questions().keys()
        if unknown:
            raise TypeError(f"the template does not ask for {sorted(unknown)}")
        given = {name: value if name in CHOICES else literal(value) for name, value in options.items()}
        baked = self._cookies.bake(extra_context=given)
        if baked.exception is not None or baked.project_path is None:
            raise AssertionError(f"{options} was refused: {baked.exception!r}")
        return Project(Path(baked.project_path), options)

    def copy(self, destination: Path, **options: str) -> Project:
        """A render in a folder of the test's own, to be changed."""
        project = self(**options)
        shutil.copytree(project.path, destination, symlinks=True, dirs_exist_ok=True)
        return Project(destination, options)

    def changed(self) -> Iterator[Project]:
        """The renders that a test has written to."""
        for kept, project in self._used.items():
            if digest(project.path) != (kept / "digest").read_text(encoding="utf-8"):
                yield project
