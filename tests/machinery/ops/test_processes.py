"""Running other programs, and waiting."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from ops import processes, waiting


def python(code: str, **options: object) -> processes.Finished:
    return processes.run([sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def test_output_and_status_are_told_apart() -> None:
    found = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (found.status, found.out, found.err, found.ok) == (3, "out\n", "err\n", False)
    assert found.tail(1) == "err"
    assert found.tail() == "out\nerr"


def test_nobody_waits_for_a_terminal_and_what_is_given_is_read(tmp_path: Path) -> None:
    echo = "import sys, os; print(sys.stdin.read(), os.getcwd(), os.environ.get('X'))"
    assert python(echo).out.startswith(" ")
    found = python(echo, given="secret", folder=tmp_path, environment={"X": "1"})
    assert found.out == f"secret {tmp_path} 1\n"


def test_bytes_that_are_no_text_are_read() -> None:
    assert python("import sys; sys.stdout.buffer.write(b'\\xff!')").out == "\ufffd!"


def test_a_program_that_is_not_there_or_does_not_end_is_a_status() -> None:
    assert processes.run(["no-such-program"]).status == processes.NOT_FOUND
    assert python("import time; time.sleep(60)", seconds=0.2).status == processes.TOO_LONG


def test_waiting_looks_at_least_once_and_gives_what_was_found() -> None:
    assert waiting.until(lambda: "there", 0, every=60) == "there"
    answers = iter([None, "", 0, "now"])
    assert waiting.until(lambda: next(answers), 5, every=0) == "now"
    began = time.monotonic()
    assert waiting.until(lambda: None, 0.05, every=0.01) is None
    assert 0.05 <= time.monotonic() - began < 1


def test_what_is_soon_there_is_soon_seen() -> None:
    answers = iter([None, None, "now"])
    began = time.monotonic()
    assert waiting.until(lambda: next(answers), 60, every=30) == "now"
    assert time.monotonic() - began < 10


def test_what_a_look_raises_ends_the_waiting() -> None:
    def look() -> None:
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        waiting.until(look, 60, every=0)
