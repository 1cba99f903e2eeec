"""Releases of the template.

python -m tools.release --check   is this commit ready to be tagged? (`make release-check`)
python -m tools.release           a GitHub release of the tag TAG, with that version's part of CHANGELOG.md as its
                                  notes (`make release`, which the workflow Release runs)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def template_version() -> str:
    """The version that renders carry."""
    return str(json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["_template_version"])


def changelog() -> str:
    """The whole of CHANGELOG.md."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def notes(tag: str, text: str, version_of_template: str) -> str:
    """The part of the changelog that belongs to a tag.

    Raises ValueError where the tag is no version, differs from the template's, or has no part.
    """
    version = tag.removeprefix("v")
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise ValueError(f"{tag!r} is not a version such as v1.2.3")
    if version != version_of_template:
        raise ValueError(f"the tag is {version}, but _template_version in cookiecutter.json is {version_of_template}")
    found = re.search(rf"(?ms)^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", text)
    if not found or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has no part ## {version}")
    return found[1].strip() + "\n"


def said(*command: str) -> str:
    """What a command prints. ValueError with its words where it fails or is not there."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    except OSError as error:
        raise ValueError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise ValueError(f"{' '.join(command[:3])}: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def unready() -> list[str]:
    """Why this commit may not be released yet, a line for each reason; empty where it may."""
    reasons = []

    def wants(text: str, good: bool) -> None:
        if not good:
            reasons.append(text)

    version = template_version()
    try:
        notes(f"v{version}", changelog(), version)
        commit = said("git", "rev-parse", "HEAD")
        wants("there are changes that are not committed", not said("git", "status", "--porcelain"))
        wants(
            f"v{version} is a tag already: set the next _template_version",
            not said("git", "tag", "--list", f"v{version}"),
        )
        recorded = tomllib.loads((ROOT / "releases.toml").read_text(encoding="utf-8"))
        earlier = [number for number in re.findall(r"(?m)^## (\d+\.\d+\.\d+)", changelog()) if number != version]
        missing = [number for number in earlier if number not in recorded]
        wants(f"releases.toml has no commit of {', '.join(missing)}: updates from there are not tested", not missing)
        runs = json.loads(
            said("gh", "run", "list", "--workflow", "nightly.yml", "--commit", commit, "--json", "conclusion,url")
        )
        green = any(run["conclusion"] == "success" for run in runs)
        wants(f"Nightly is not green on {commit[:10]}: run it (gh workflow run nightly.yml)", green)
    except ValueError as error:
        reasons.append(str(error))
    updates = [sys.executable, "-m", "pytest", "-q", "tests/test_updates.py"]
    wants(
        "projects of earlier versions do not take the update: tests/test_updates.py",
        not subprocess.call(updates, cwd=ROOT),
    )
    return reasons


def publish(tag: str) -> int:
    """Create the release of a tag, where a run before this one has not; gh signs in with GH_TOKEN."""
    try:
        text = notes(tag, changelog(), template_version())
    except ValueError as error:
        sys.stderr.write(f"No release: {error}.\n")
        return 1
    create = ["gh", "release", "create", tag, "--verify-tag", "--title", tag, "--notes-file", "-"]
    try:
        if subprocess.run(["gh", "release", "view", tag], cwd=ROOT, capture_output=True, check=False).returncode == 0:
            sys.stdout.write(f"{tag} is published already.\n")
            return 0
        return subprocess.run(create, input=text, encoding="utf-8", cwd=ROOT, check=False).returncode
    except OSError as error:
        sys.stderr.write(f"No release: gh: {error.strerror}: https://cli.github.com.\n")
        return 1


def main() -> int:
    """Check, or publish the tag in TAG."""
    if "--check" not in sys.argv:
        return publish(os.environ.get("TAG", ""))
    reasons = unready()
    for reason in reasons:
        sys.stderr.write(f"Not ready: {reason}.\n")
    if not reasons:
        sys.stdout.write(
            f"Ready. Publish with: git tag v{template_version()} && git push origin v{template_version()}\n"
        )
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
