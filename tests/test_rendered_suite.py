"""A rendered repository's own commands, from nothing: what a new user runs first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.bakes import Bake
from tests.conftest import commit, git
from tests.options import Options, label, minimal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.mark.parametrize("options", [{}, minimal()], ids=label)
def test_setup_lint_and_test_pass_and_leave_nothing_to_commit(bake: Bake, tmp_path: Path, options: Options) -> None:
    project = bake.copy(tmp_path / "project", **options)
    git(project.path, "init", "--quiet", "--initial-branch", "main")
    commit(project.path, "start")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    failures = []
    for target in ("setup", "lint", "test"):
        result = subprocess.run(
            ["make", "--no-print-directory", target],
            cwd=project.path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            failures.append(f"make {target}:\n{result.stdout[-20_000:]}")
    if left := git(project.path, "status", "--short"):
        failures.append(f"left to commit:\n{left}")
    assert not failures, "\n".join(failures)
