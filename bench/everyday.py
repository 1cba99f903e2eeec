"""What a person waits for many times a day, each against its goal: a render, `make project`, `make setup`.

A render is measured against a template of one file in the same run (see bench.render). `make setup` runs twice and is
timed the second time, when what it downloads is in the caches. Processor time is beside the seconds: it is what a busy
machine disturbs least. Exit status 1 when a goal is missed.

    python -m bench.everyday [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import render
from tools import template


class Figure(NamedTuple):
    """One row: what was measured, in which unit, the most it may be, and the processor's seconds for it."""

    name: str
    measured: float
    unit: str
    goal: float
    processor: float

    @property
    def missed(self) -> bool:
        """Whether it is more than its goal."""
        return self.measured > self.goal


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command that must succeed. RuntimeError with its output otherwise."""
    before, start = os.times(), time.perf_counter()
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    taken, after = time.perf_counter() - start, os.times()
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return taken, spent


def megabytes(folder: Path) -> float:
    """Size of the files in a folder, in MB (1,000,000 bytes); a file with several names counts once."""
    status = [path.lstat() for path in folder.rglob("*")]
    return sum({(one.st_dev, one.st_ino): one.st_blocks * 512 for one in status}.values()) / 1e6


def figures() -> list[Figure]:
    """Measure everything. RuntimeError when a command fails."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measured = render.measure(folder / "render", {})
        small, whole = (measured[name] for name in ("one-file template", "this template"))
        ratio = whole.seconds / small.seconds
        found = [Figure("render, of a one-file template", ratio, "times", render.GOAL, whole.processor)]

        output = f"OUTPUT={folder / 'made'}"
        timed(["make", "project", "ARGS=app_name=warm-up", output], template.ROOT)
        taken, spent = timed(["make", "project", output], template.ROOT)
        found.append(Figure("make project, environment is there", taken, "s", 1, spent))

        project = folder / "made" / "my-app"
        timed(["make", "setup"], project)
        shutil.rmtree(project / ".venv")
        taken, spent = timed(["make", "setup"], project)
        found.append(Figure("make setup in a render, caches are warm", taken, "s", 10, spent))
        found.append(Figure("size of its .venv", megabytes(project / ".venv"), "MB", 250, 0))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a person waits for many times a day.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    as_json = parser.parse_args().json
    rows = figures()
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        print(f"{'':42}{'measured':>10}{'goal':>8}{'processor':>15}")
        for row in rows:
            spent = f"{row.processor:.2f} s" if row.processor else ""
            print(f"{row.name:42}{row.measured:>10.2f}{row.goal:>8g} {row.unit:6}{spent:>8}{'  missed' * row.missed}")
    if any(row.missed for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
