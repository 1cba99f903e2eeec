"""The table of what the tests cost is made of what pytest itself wrote."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import times


def test_the_table_is_made_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_slow.py").write_text(
        "import time, pytest\ndef test_waits(): time.sleep(0.2)\n"
        "@pytest.mark.skip(reason='not counted')\ndef test_other(): pass\n"
    )
    (tmp_path / "tests" / "test_quick.py").write_text("class TestIt:\n    def test_nothing(self): pass\n")
    report = tmp_path / "times" / "one.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", f"--rootdir={tmp_path}", f"--junitxml={report}"]
    subprocess.run([*command, str(tmp_path / "tests")], check=True, cwd=tmp_path, capture_output=True)
    found = times.measured(report.parent)
    assert {name: number for name, (number, _) in found.items()} == {"tests/test_slow.py": 1, "tests/test_quick.py": 1}
    assert found["tests/test_slow.py"][1] >= 0.2
    written = times.table({**found, "tests/test_long.py": (3, 61.2)}, "here")
    assert "| `tests/test_long.py` | 3 | 61 |" in written
    assert "| 2 files of less than 20 s | 2 | 0 |\n\n<!-- " in written


def test_without_a_run_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make test"):
        times.measured(tmp_path)
