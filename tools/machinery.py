"""Runs tests/machinery in a render of the defaults with the render's own tools: what `make test-machinery` runs.

    python -m tools.machinery [arguments of pytest]
    python -m tools.machinery --lint

The render is kept in .machinery/, so that its environment is made once; its files are those of the template now.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

from tools import template

TESTS = template.ROOT / "tests" / "machinery"
RENDER = template.ROOT / ".machinery" / "my-app"
# What a render's own commands leave in it and what is slow to make again.
KEPT = frozenset({".venv", ".venv-checkov", ".terraform.d"})


def render() -> None:
    """Bring RENDER to what the template gives now. The environment in it stays where it fits."""
    RENDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RENDER.parent) as folder:
        made = Path(cookiecutter(str(template.ROOT), no_input=True, output_dir=folder))
        for path in RENDER.iterdir():
            if path.name in KEPT:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        for path in made.iterdir():
            if path.name not in KEPT:
                shutil.move(path, RENDER / path.name)


def environment() -> dict[str, str]:
    """The variables in which `ops` is the render's and `tests` is the template's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return {**kept, "PYTHONPATH": f"{RENDER}:{template.ROOT}", "MYPYPATH": f"{RENDER}:{template.ROOT}"}


def set_up() -> None:
    """Install in RENDER's environment what its commands, tests, checks and its rehearsal need."""
    subprocess.run(
        ["make", "--silent", *(f".venv/.{tools}" for tools in ("test", "lint", "rehearse"))],
        cwd=RENDER,
        env=environment(),
        check=True,
    )


def main() -> None:
    """Render, set up, run. Exits with the status of what was run."""
    render()
    set_up()
    python = str(RENDER / ".venv" / "bin" / "python")
    settings = str(RENDER / "pyproject.toml")
    if "--lint" in sys.argv:
        command = [python, "-m", "mypy", "--config-file", settings, "--explicit-package-bases", str(TESTS)]
    else:
        arguments = sys.argv[1:] or ["-n", "2", "--dist", "worksteal"]
        # The template's own conftest.py needs what the render does not have.
        where = ["--rootdir", str(template.ROOT), "--confcutdir", str(TESTS), "-c", settings]
        chosen = [] if any(word.startswith("tests/") for word in arguments) else [str(TESTS)]
        command = [python, "-m", "pytest", *where, *arguments, *chosen]
    sys.exit(subprocess.run(command, cwd=template.ROOT, env=environment(), check=False).returncode)


if __name__ == "__main__":
    main()
