"""How long a render with the defaults takes, against `cookiecutter --version` and a template of one file.

Five runs of each after a warm-up, in turn, so that a busy moment of the machine meets all three. The
medians are printed; exit status 1 when the render takes more than GOAL times the time of the one-file template.

    python -m bench.render ['name=command …']

A peer is named with the command that renders it into {out}, such as 'django=cookiecutter <clone> --no-input -o {out}'.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tools import template

RUNS = 5
GOAL = 1.7
COOKIECUTTER = [sys.executable, "-m", "cookiecutter"]


class Measured(NamedTuple):
    """Seconds of the runs of one command: median, least and most; the processor's, median; files that it made."""

    seconds: float
    least: float
    most: float
    processor: float
    files: int


def one_file_template(folder: Path) -> Path:
    """The smallest template there is: a question, a folder and a file with the answer."""
    inside = folder / "one-file" / "{{cookiecutter.name}}"
    inside.mkdir(parents=True)
    (inside / "README.md").write_text("# {{ cookiecutter.name }}\n")
    (inside.parent / "cookiecutter.json").write_text(json.dumps({"name": "one"}))
    return inside.parent


def once(command: list[str], home: Path) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command that must succeed. RuntimeError with its output otherwise."""
    before, start = os.times(), time.perf_counter()
    result = subprocess.run(command, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=False)
    taken, after = time.perf_counter() - start, os.times()
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")
    return taken, sum(after[2:4]) - sum(before[2:4])


def measure(folder: Path, peers: Mapping[str, str]) -> dict[str, Measured]:
    """Run everything and the peers' commands below a new folder. RuntimeError when a command fails.

    Each run renders into a folder of its own and none is deleted before the end: ext4 gives the numbers of files that
    went a moment ago to nobody, and looks at all of them for each file that is made. That was half of a render's time.
    """
    folder.mkdir()
    one = one_file_template(folder)
    render = f"{shlex.join(COOKIECUTTER)} {{}} --no-input -o {{{{out}}}}"
    commands = {
        "cookiecutter --version": f"{shlex.join(COOKIECUTTER)} --version",
        "one-file template": render.format(shlex.quote(str(one))),
        "this template": render.format(shlex.quote(str(template.ROOT))),
        **peers,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    files = {}
    for run in range(RUNS + 1):
        for name, command in commands.items():
            output = folder / f"{run}-{name}"
            spent = once([part.replace("{out}", str(output)) for part in shlex.split(command)], folder)
            if run > 0:  # the first is the warm-up
                taken[name].append(spent)
            files[name] = sum(path.is_file() for path in output.rglob("*"))
    return {
        name: Measured(
            statistics.median(wall for wall, _ in runs),
            min(wall for wall, _ in runs),
            max(wall for wall, _ in runs),
            statistics.median(processor for _, processor in runs),
            files[name],
        )
        for name, runs in taken.items()
    }


def main() -> None:
    """Measure and print."""
    peers = dict(word.split("=", 1) for word in sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        measured = measure(Path(temporary) / "render", peers)
    floor, smallest = measured["cookiecutter --version"], measured["one-file template"]
    print(
        f"{'':24}{'seconds':>8}{'min':>8}{'max':>8}{'processor':>11}{'files':>7}{'of one-file':>13}{'of --version':>14}"
    )
    for name, row in measured.items():
        ratios = f"{row.seconds / smallest.seconds:>13.2f}{row.seconds / floor.seconds:>14.2f}"
        print(
            f"{name:24}{row.seconds:>8.3f}{row.least:>8.3f}{row.most:>8.3f}{row.processor:>11.3f}{row.files:>7}{ratios}"
        )
    ratio = measured["this template"].seconds / smallest.seconds
    if ratio > GOAL:
        sys.exit(f"the render takes {ratio:.2f} times as long as a one-file template: more than {GOAL}")


if __name__ == "__main__":
    main()
