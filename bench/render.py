"""How long a render with the defaults takes, against `cookiecutter --version` and a template of one file.

Five runs of each after a warm-up, in turn, so that a busy moment of the machine meets all three. The
medians are printed; exit status 1 when the render takes more than twice the time of the one-file template.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools import template

RUNS = 5
LIMIT = 2.0
COOKIECUTTER = [sys.executable, "-m", "cookiecutter"]


def one_file_template(folder: Path) -> Path:
    """The smallest template there is: a question, a folder and a file with the answer."""
    inside = folder / "one-file" / "{{cookiecutter.name}}"
    inside.mkdir(parents=True)
    (inside / "README.md").write_text("# {{ cookiecutter.name }}\n")
    (inside.parent / "cookiecutter.json").write_text(json.dumps({"name": "one"}))
    return inside.parent


def seconds(command: list[str], home: Path) -> float:
    """Wall-clock time of a command that must succeed. RuntimeError with its output otherwise."""
    start = time.perf_counter()
    result = subprocess.run(command, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")
    return taken


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        output = folder / "out"
        commands = {
            "cookiecutter --version": [*COOKIECUTTER, "--version"],
            "one-file template": [*COOKIECUTTER, str(one_file_template(folder)), "--no-input", "-o", str(output)],
            "this template": [*COOKIECUTTER, str(template.ROOT), "--no-input", "-o", str(output)],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        files = {}
        for run in range(RUNS + 1):
            for name, command in commands.items():
                shutil.rmtree(output, ignore_errors=True)
                spent = seconds(command, folder)
                if run > 0:  # the first is the warm-up
                    taken[name].append(spent)
                files[name] = sum(path.is_file() for path in output.rglob("*"))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{'':24}{'seconds':>8}{'min':>8}{'max':>8}{'files':>7}{'of one-file':>13}{'of --version':>14}")
    for name, median in medians.items():
        ratios = f"{median / medians['one-file template']:>13.2f}{median / medians['cookiecutter --version']:>14.2f}"
        print(f"{name:24}{median:>8.3f}{min(taken[name]):>8.3f}{max(taken[name]):>8.3f}{files[name]:>7}{ratios}")
    ratio = medians["this template"] / medians["one-file template"]
    if ratio > LIMIT:
        sys.exit(f"the render takes {ratio:.2f} times as long as a one-file template: more than {LIMIT}")


if __name__ == "__main__":
    main()
