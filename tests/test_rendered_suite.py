"""A rendered repository's own commands, from nothing: what a new user runs first, on a machine as people have it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bakes import Bake
from tests.conftest import commit, git
from tests.options import minimal
from tests.test_environment import BROUGHT

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]

SOMEBODY = 65534 if os.geteuid() == 0 else os.geteuid()  # nobody: PostgreSQL wants a user who has a name


def passes(project: Path, environment: dict[str, str], *tests: str, **account: Any) -> None:
    """Set up, check and test a project, and see that nothing is left to commit; fail with all that was said."""
    failures = []
    for target in ("setup", "lint", *tests):
        result = subprocess.run(
            ["make", "--no-print-directory", *target.split()],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            **account,
        )
        if result.returncode != 0:
            failures.append(f"make {target}:\n{result.stdout[-20_000:]}")
    if left := git(project, "-c", "safe.directory=*", "status", "--short"):
        failures.append(f"left to commit:\n{left}")
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)


def start(project: Path) -> None:
    """The first commit."""
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project, "start")


# test_terraform.py proves that its layers are those of the other render, which tests each of them. What a render's own
# answers are read by is the account layer's tests.
@pytest.mark.parametrize(
    "tests", ["test LAYER=account", pytest.param("test", marks=pytest.mark.nightly)], ids=["account", "every-layer"]
)
def test_setup_lint_and_test_pass_and_leave_nothing_to_commit(bake: Bake, tmp_path: Path, tests: str) -> None:
    """As this user, without a database."""
    project = bake.copy(tmp_path / "project", **minimal())
    start(project.path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    passes(project.path, environment, tests)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_the_role_manager_s_properties_hold_for_many_examples(bake: Bake, tmp_path: Path) -> None:
    project = bake.copy(tmp_path / "project").path
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "test-role-manager", "HYPOTHESIS=thorough"]
    result = subprocess.run(
        command, cwd=project, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-20_000:] + result.stderr[-2_000:]


def python_for_everybody() -> Path:
    """A Python that any user can run: this one, or the system's where this one is in root's home."""
    for python in (Path(sys.base_prefix, "bin", "python3"), Path("/usr/bin/python3"), Path("/usr/local/bin/python3")):
        whole = "import ensurepip, ssl, sys; sys.exit(sys.version_info < (3, 11))"
        account: dict[str, Any] = {"user": SOMEBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
        with contextlib.suppress(OSError):
            if subprocess.run([python, "-c", whole], cwd="/", env={}, check=False, **account).returncode == 0:
                return python
    pytest.skip("THE TESTS DID NOT RUN AS AN ORDINARY USER: there is no Python 3.11 with ensurepip that others can run")


@pytest.fixture
def machine() -> Iterator[Path]:
    """A folder that is not below pytest's own, which each session closes to others anew."""
    with tempfile.TemporaryDirectory(prefix="machine-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


# `make test` asks the newest PostgreSQL alone.
@pytest.mark.parametrize(
    "tests", ["test", pytest.param("test-role-manager", marks=pytest.mark.nightly)], ids=["all", "every-postgresql"]
)
def test_the_same_for_an_ordinary_user_on_a_machine_with_habits(bake: Bake, machine: Path, tests: str) -> None:
    """Under umask 077, in a folder with a space and a %, with other tools' variables; root becomes somebody else."""
    root = machine
    project = bake.copy(root / "100 % of it's" / "my project").path
    start(project)
    for folder in ("home", "tmp"):
        (root / folder).mkdir()
    private = ("AWS_", "GIT_", "MAKE", "MFLAGS", "XDG_", "TF_CLI_CONFIG_FILE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    environment |= BROUGHT | {
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "WORKSPACE": "jenkins",
        "ENV": "x",
    }
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "AWS_EC2_METADATA_DISABLED": "true", "PORT": "not-a-port"}
    account: dict[str, Any] = {"umask": 0o077}
    if os.geteuid() == 0:
        for way in (root, *root.parents):
            if way.stat().st_mode & 0o001 == 0:
                way.chmod(way.stat().st_mode | 0o011)
        environment["PATH"] = f"{python_for_everybody().parent}:{environment['PATH']}"
        for path in (root, *root.rglob("*")):
            os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
        account |= {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": ()}
    passes(project, environment, tests, **account)
