"""A flags.json that is broken is a problem of the environment, told like the others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.tests.service import ROOT


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"flags": {"a": {}}, "values": {"a": 1}}'])
def test_broken_declarations_are_told(environment: dict[str, str], tmp_path: Path, content: str) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("tests"))
    (tmp_path / "app" / "flags.json").write_text(content)
    ended = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=tmp_path,
        env={**environment, "PORT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "PORT is 'x'" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 3, ended.stderr
