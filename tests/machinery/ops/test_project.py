"""Settings and names: Terraform is asked once for each edit, by whatever process comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.machinery.ops.conftest import Settings

ASK = "from ops import project; print(project.load('dev').settings['owner'])"


def owner() -> str:
    """What a process of its own is told."""
    return subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Terraform on the PATH that writes down how it was called; the file."""
    found = subprocess.run(["which", "terraform"], capture_output=True, text=True, check=True).stdout.strip()
    folder = tmp_path / "terraform"
    folder.mkdir()
    calls = folder / "calls"
    calls.touch()
    program = folder / "terraform"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\nexec {found} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return calls


def test_an_answer_is_kept_until_something_is_edited(project: Settings, asked: Path) -> None:
    assert owner() == owner() == "team"
    assert len(asked.read_text().splitlines()) == 2, "plan and show, once"
    project.change(owner="others")
    assert owner() == "others"
    kept = list((project.path.parent / ".ops/config").iterdir())
    assert len(kept) == 1, "what was kept of the file before is gone"
    rules = project.path.parent / "infra/config/outputs.tf"
    rules.write_text(rules.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    asked.write_text("")
    assert owner() == "others"
    assert asked.read_text()


def test_half_an_answer_is_none(project: Settings) -> None:
    assert owner() == "team"
    (kept,) = (project.path.parent / ".ops/config").iterdir()
    kept.write_text(kept.read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert owner() == "team"
    assert len(kept.read_text(encoding="utf-8")) > 100
