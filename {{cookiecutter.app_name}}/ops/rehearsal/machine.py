"""What a rehearsal needs from this machine: tools, room, and a directory of its own that is cleaned up.

A run's directory holds a lock for as long as its process lives. What a killed run left behind (its
directory and the processes it recorded) is removed by the next one; two runs at once do not meet.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from ops import processes
from ops.checks import NoTerraformError, terraform_environment

PREFIX = "rehearsal-"
NEEDED_BYTES = 1_000_000_000
NOT_COPIED = (
    ".git",
    ".venv",
    ".secrets.env",
    ".ops",
    ".terraform",
    "*.tfstate*",
    "__pycache__",
    ".*_cache",
    "report",
    "node_modules",
)


class UnusableError(Exception):
    """Why this machine cannot rehearse, and what to do."""


def check() -> None:
    """Raise UnusableError, with every problem at once."""
    problems = []
    if shutil.which(processes.TERRAFORM) is None:
        problems.append(
            "Terraform is not installed: version 1.11 or newer, https://developer.hashicorp.com/terraform/install"
        )
    else:
        shown = processes.run([processes.TERRAFORM, "version", "-json"])
        version = json.loads(shown.out or "{}").get("terraform_version", "0.0.0")
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < (1, 11):
            problems.append(f"Terraform is {version}: version 1.11 or newer is needed")
    if shutil.which("make") is None:
        problems.append("make is not installed")
    if importlib.util.find_spec("moto") is None:
        problems.append("the simulated AWS is not installed: `make rehearse` does that")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < NEEDED_BYTES:
        problems.append(
            f"{tempfile.gettempdir()} has {free // 1_000_000} MB free: "
            f"{NEEDED_BYTES // 1_000_000} MB are needed (another place: set TMPDIR)"
        )
    if problems:
        raise UnusableError("\n".join(problems))


def forget_aws() -> None:
    """Drop the person's AWS settings from this process: no profile, no credentials, no proxy."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in ("http_proxy", "no_proxy", "all_proxy"):
            del os.environ[name]
    os.environ |= {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "OPS_GITHUB": "0",  # GitHub is not told of a simulated account
    }


def provider_settings(directory: Path) -> dict[str, str]:
    """Return the variables by which Terraform finds the AWS provider: see ops/checks.py."""
    try:
        environment = terraform_environment(directory)
    except NoTerraformError as error:
        raise UnusableError(f"Terraform has no AWS provider: {error}") from error
    names = ("TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR")
    return {name: environment[name] for name in names if name in environment}


class Directory:
    """The directory of a run, this process's or another's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def remove(self) -> None:
        """Leave it: only its own process removes it."""

    def record(self, group: int) -> None:
        """Remember a process group, for the case that its run is killed."""
        with (self.path / "groups").open("a", encoding="ascii") as file:
            file.write(f"{group} {_started(group)}\n")


class RunDirectory(Directory):
    """The directory of this process: locked while it lives, removed at its end."""

    def __init__(self) -> None:
        remove_leftovers()
        super().__init__(Path(tempfile.mkdtemp(prefix=PREFIX)))
        # Tasks run as other users; what is secret in here has modes of its own.
        self.path.chmod(0o711)
        self._lock = (self.path / "lock").open("w", encoding="utf-8")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def remove(self) -> None:
        """End what still runs, remove everything, and give up the lock."""
        _end_groups(self.path / "groups")
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_leftovers() -> list[Path]:
    """Remove what killed runs left: their processes, then their directories. Returns the directories."""
    removed = []
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        lock = directory / "lock"
        if not lock.is_file() or directory.stat().st_uid != os.geteuid():
            continue
        with lock.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # that run lives
            _end_groups(directory / "groups")
            shutil.rmtree(directory, ignore_errors=True)
            removed.append(directory)
    return removed


def _end_groups(file: Path) -> None:
    """End what is left of the process groups that a run recorded."""
    for line in file.read_text(encoding="ascii").splitlines() if file.exists() else []:
        group, _, started = line.partition(" ")
        # A number that another process has by now is left alone. Without its first process a group can live on, as a
        # Terraform provider does whose Terraform was killed; its number is nobody else's for so long.
        if started and _started(int(group)) in ("", started):
            stop_group(int(group), signal.SIGKILL)


def stop_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _started(process: int) -> str:
    """Return when a process started, as `ps` says it; empty when there is none."""
    return _ps("-o", "lstart=", "-p", str(process)).strip()


def copy_render(source: Path, target: Path) -> None:
    """Copy the repository as it is on disk, without what commands made in it; share its .venv."""
    shutil.copytree(
        source,
        target,
        ignore=shutil.ignore_patterns(*NOT_COPIED),
        symlinks=True,
        dirs_exist_ok=True,
    )
    venv = target / ".venv"
    if not venv.exists():
        venv.symlink_to(Path(sys.prefix).resolve(), target_is_directory=True)


def digests(source: Path) -> dict[str, str]:
    """Return the digest of each file that copy_render copies, by its path below `source`."""
    left_out = shutil.ignore_patterns(*NOT_COPIED)
    found = {}
    for folder, folders, files in os.walk(source):
        skipped = left_out(folder, [*folders, *files])
        folders[:] = [name for name in folders if name not in skipped]
        for path in (Path(folder, name) for name in files if name not in skipped):
            if path.is_file():
                found[str(path.relative_to(source))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def memory_of(process: int) -> int:
    """Return the resident memory of a process and its descendants, in bytes."""
    children: dict[int, list[int]] = {}
    sizes = {}
    for line in _ps("-A", "-o", "pid=,ppid=,rss=").splitlines():
        pid, parent, size = map(int, line.split())
        children.setdefault(parent, []).append(pid)
        sizes[pid] = size
    total, pending = 0, [process]
    while pending:
        pid = pending.pop()
        total += sizes.get(pid, 0)
        pending += children.get(pid, [])
    return total * 1024


def _ps(*arguments: str) -> str:
    return processes.run(["/bin/ps", *arguments]).out
