"""A render in small: workflows, Makefile and commands are whole; what they would spend minutes on is little.

The layers are real Terraform without a provider (`tests/machinery/ops/miniature.py`), the application and the role
manager have one test each, and what is rehearsed is that the rehearsal starts. Those things have tests of their own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

# The command behind `make rehearse`, where the deployment itself is not what is looked at.
REHEARSAL = '''"""Rehearses nothing: the workflows are looked at here."""

from pathlib import Path

report = Path("ops/rehearsal/report/index.html")
report.parent.mkdir(exist_ok=True)
report.write_text("<p>It works</p>", encoding="utf-8")
'''
# The command behind `make test-infra`: what it takes to see that Terraform is right, without a provider and checkov.
CHECKS = '''"""Checks the form of every layer."""

import os
from pathlib import Path

infra = Path(__file__).parents[1] / "infra"
os.execvp("terraform", ["terraform", "fmt", "-check", "-recursive", str(infra)])  # noqa: S606, S607
'''
TEST = '''"""One test."""

import {package}


def test_it_is_there() -> None:
    """What would be tested is there."""
    assert {package}.__path__
'''


def shrink(project: Path, layers: dict[str, str]) -> None:
    """Make a render small in its place. `layers`: the text of each layer's main.tf."""
    for name, text in layers.items():
        folder = project / "infra" / name
        if folder.exists():
            shutil.rmtree(folder)
            folder.mkdir()
            (folder / "main.tf").write_text(text, encoding="utf-8")
    subprocess.run(["terraform", "fmt", "-recursive", project / "infra"], check=True, capture_output=True)
    shutil.rmtree(project / "infra" / "config" / "tests")
    for package in ("app", "role_manager"):
        tests = project / package / "tests"
        if tests.exists():
            shutil.rmtree(tests)
            tests.mkdir()
            (tests / "__init__.py").write_text('"""Tests."""\n', encoding="utf-8")
            (tests / f"test_{package}.py").write_text(TEST.format(package=package), encoding="utf-8")
    rehearsal = project / "ops" / "rehearsal"
    for path in rehearsal.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (rehearsal / "__init__.py").write_text('"""The rehearsal."""\n', encoding="utf-8")
    (rehearsal / "__main__.py").write_text(REHEARSAL, encoding="utf-8")
    (project / "ops" / "checks.py").write_text(CHECKS, encoding="utf-8")
    pinned = "".join(path.read_text(encoding="utf-8") for path in sorted(project.glob("requirements-*.txt")))
    one = re.search(r"(?m)^iniconfig==.*(?:\n    .*)*", pinned)
    assert one, "no requirements file has iniconfig"
    (project / "requirements-checkov.txt").write_text(one[0] + "\n", encoding="utf-8")
    patience(project)


def patience(project: Path) -> None:
    """Ask the simulated AWS more often than one asks AWS: its tasks run at once."""
    for path in (project / "ops" / f"{name}.py" for name in ("ecs", "flags", "smoke")):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"(?m)^POLL_SECONDS = .*$", "POLL_SECONDS = 0.2", text), encoding="utf-8")
