"""Removes what was not chosen and what tools left, writes the computed documents, says what to do next.

No network, no randomness, no dates, no commit: `cruft update` runs this again on every update, and two
renders with equal answers are byte-identical.
"""

from __future__ import annotations

import json
import os
import runpy
import shlex
import shutil
import sys
from pathlib import Path

# {% raw %}

MANIFEST = "absent-paths.txt"
# Cookiecutter copies whole folders, with whatever is in them.
JUNK_FOLDERS = frozenset(
    """
    .hypothesis .mypy_cache .ops .pytest_cache .ruff_cache .terraform .terraform.d .venv .venv-checkov __pycache__
    """.split()
)
JUNK_FILES = (".pyc", ".tfplan", ".tfstate", ".tfstate.backup")
JUNK_PATHS = ("role_manager/dist",)

NEXT = """
{name} is ready. Next:
  cd {folder}
  git init -b main && git add --all && git commit --message "Start from the template"
  make help        # every command, one line each
  make setup       # the tools, in .venv
  make rehearse    # the whole deployment on this computer, without an AWS account
  make doctor      # what is still missing before the first deployment
Then docs/first-hour.md: GitHub, `make bootstrap`, `make up ENV={environment}`, and from there on a merge deploys.
"""


def listed(manifest: Path) -> list[str]:
    """Paths in the manifest, without comments. ValueError for one that is not inside the project."""
    paths = [line.strip() for line in manifest.read_text(encoding="utf-8").splitlines()]
    paths = [path for path in paths if path and not path.startswith("#")]
    for path in paths:
        if path.startswith("/") or ".." in path.split("/") or path == ".":
            raise ValueError(f"{manifest}: {path} is not a path inside the project")
    return paths


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with its content; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_absent(root: Path) -> None:
    """Delete what the manifest lists, then the manifest."""
    manifest = root / MANIFEST
    if manifest.exists():
        for path in listed(manifest):
            remove(root / path)
        manifest.unlink()


def remove_junk(root: Path) -> None:
    """Delete caches and build products that are no part of the template."""
    for path in JUNK_PATHS:
        remove(root / path)
    for folder, folders, files in os.walk(root):
        for name in JUNK_FOLDERS.intersection(folders):
            remove(Path(folder, name))
            folders.remove(name)
        for name in files:
            if name.endswith(JUNK_FILES):
                remove(Path(folder, name))


def next_steps(root: Path) -> str:
    """What to do next, in at most ten lines."""
    environment = "dev" if "\n  dev:\n" in (root / "project.yaml").read_text(encoding="utf-8") else "prod"
    return NEXT.format(name=root.name, folder=shlex.quote(str(root)), environment=environment)


def draw_architecture(root: Path, answers: dict[str, str]) -> None:
    """Draw docs/system-architecture.svg and .drawio, as `make diagram` does, with the project's own program."""
    program = runpy.run_path(str(root / "ops" / "diagram" / "draw.py"), run_name="draw")
    program["draw"](answers, root / "docs")


def write_costs(root: Path) -> None:
    """Write docs/costs.md, as `make costs` does. It reads project.yaml with PyYAML, which Cookiecutter itself needs."""
    runpy.run_path(str(root / "ops" / "costs.py"), run_name="costs")["write"](root)


# {% endraw %}


def main() -> None:
    """Finish the project in the current folder."""
    root = Path.cwd()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # where a terminal has no such letter
    try:
        remove_absent(root)
        draw_architecture(root, json.loads(r"""{{ cookiecutter | tojson }}"""))
        write_costs(root)
        remove_junk(root)
    except OSError as error:  # such as a full disk
        sys.exit(f"\nThe project could not be finished: {error}\n")
    sys.stdout.write(next_steps(root))


if __name__ == "__main__":
    main()
