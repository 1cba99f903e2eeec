"""Writes into docs/maintaining.md what the tests of the last `make test` cost, from the files that pytest left of it.

python -m tools.times
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from tools import template

REPORTS = template.ROOT / ".test-times"
PAGE = template.ROOT / "docs" / "maintaining.md"
MARKS = ("<!-- Written by `make test-times`. -->", "<!-- End of the times. -->")
SHOWN_SECONDS = 20  # what takes less is one line together


def measured(reports: Path) -> dict[str, tuple[int, float]]:
    """How many tests each file has that ran, and their seconds, from JUnit files.

    https://github.com/testmoapp/junitxml describes the form. Raises FileNotFoundError when there is no file.
    """
    files = sorted(reports.glob("*.xml"))
    if not files:
        raise FileNotFoundError(f"{reports} has no times: make test")
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for case in (case for file in files for case in ET.parse(file).iter("testcase")):  # noqa: S314 - pytest's own
        if case.find("skipped") is None:
            name = "/".join(part for part in case.attrib["classname"].split(".") if not part.startswith("Test")) + ".py"
            number, seconds = found[name]
            found[name] = (number + 1, seconds + float(case.attrib["time"]))
    return dict(found)


def table(times: dict[str, tuple[int, float]], machine: str) -> str:
    """The times as Markdown between their marks, the longest first."""
    rows = sorted(times.items(), key=lambda item: -item[1][1])
    long = [(f"`{name}`", *cost) for name, cost in rows if cost[1] >= SHOWN_SECONDS]
    short = [cost for _, cost in rows if cost[1] < SHOWN_SECONDS]
    lines = [*long, (f"{len(short)} files of less than {SHOWN_SECONDS} s", *map(sum, zip(*short, strict=True)))]
    total = sum(seconds for _, seconds in times.values())
    return "\n".join(
        [
            MARKS[0],
            f"{sum(number for number, _ in times.values())} tests took {total / 60:.0f} minutes of the workers' time,"
            f" {machine}.",
            "",
            "| Tests in | How many | Seconds |",
            "|---|---:|---:|",
            *(f"| {name} | {number} | {seconds:.0f} |" for name, number, seconds in lines),
            "",
            MARKS[1],
        ]
    )


def main() -> None:
    """Write the table. Exits with a message when no tests have run."""
    try:
        times = measured(REPORTS)
    except FileNotFoundError as error:
        sys.exit(str(error))
    made = datetime.fromtimestamp(max(file.stat().st_mtime for file in REPORTS.glob("*.xml")), UTC)
    machine = f"on {os.cpu_count()} processors on {made:%Y-%m-%d}"
    text = PAGE.read_text(encoding="utf-8")
    written = table(times, machine)
    PAGE.write_text(
        re.sub(f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}", lambda _: written, text, flags=re.DOTALL),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
