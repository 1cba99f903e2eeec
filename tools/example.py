"""Publishes the default render with its rehearsal's report on the branch `example`: what `make example` runs.

The branch has one commit for each release. It is made without a checkout: only its files are the render's, in a folder
of its own. GitHub takes no .github/workflows at the top of a branch from a job's token.
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
from tools.release import template_version

BRANCH = "example"
# With the job's token where there is one: a private repository lets nobody else read.
WITH_GH = ("-c", "credential.helper=!gh auth git-credential")
# Where readers find what the rehearsal said; its page needs nothing else.
REPORT = ("ops/rehearsal/report/index.html", "docs/rehearsal.html")


def rendered(folder: Path) -> Path:
    """A folder with the default render, rehearsed, without what its commands left in it."""
    project = Path(cookiecutter(str(template.ROOT), no_input=True, output_dir=str(folder)))
    kept = folder / "kept" / project.name
    shutil.copytree(project, kept)
    subprocess.run(["make", "rehearse"], cwd=project, check=True)
    shutil.copy(project / REPORT[0], kept / REPORT[1])
    return kept.parent


def commit(files: Path, work: Path) -> str:
    """A commit with exactly these files, on top of what the branch has on GitHub."""
    environment = os.environ | {
        "GIT_DIR": git("rev-parse", "--absolute-git-dir"),
        "GIT_WORK_TREE": str(files),
        "GIT_INDEX_FILE": str(work / "index"),
    }
    git("add", "--all", "--force", ".", folder=files, environment=environment)
    tree = git("write-tree", folder=files, environment=environment)
    parent = git(*WITH_GH, "ls-remote", "origin", f"refs/heads/{BRANCH}").split()
    if parent:
        git(*WITH_GH, "fetch", "--quiet", "origin", parent[0])
    parents = ["-p", parent[0]] if parent else []
    who = [
        "-c",
        "user.name=github-actions[bot]",
        "-c",
        "user.email=41898282+github-actions[bot]@users.noreply.github.com",
    ]
    return git(*who, "commit-tree", tree, *parents, "-m", f"The default render of version {template_version()}")


def git(*arguments: str, folder: Path = template.ROOT, environment: dict[str, str] | None = None) -> str:
    """What git prints; CalledProcessError after its own words where it refuses."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return done.stdout.strip()


def main() -> None:
    """Render, rehearse, commit, and with --push let GitHub have it."""
    with tempfile.TemporaryDirectory(prefix="example-") as folder:
        work = Path(folder)
        made = commit(rendered(work), work)
    if "--push" in sys.argv:
        git(*WITH_GH, "push", "origin", f"{made}:refs/heads/{BRANCH}")
    sys.stdout.write(f"{made} is the example of {template_version()}: git show --stat {made}\n")


if __name__ == "__main__":
    main()
