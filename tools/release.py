"""`make release`: a GitHub release of a tag, with that version's part of CHANGELOG.md as its notes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(tag: str, changelog: str, template_version: str) -> str:
    """The part of the changelog that belongs to a tag.

    Raises ValueError where the tag is no version, differs from the template's, or has no part.
    """
    version = tag.removeprefix("v")
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise ValueError(f"{tag!r} is not a version such as v1.2.3")
    if version != template_version:
        raise ValueError(f"the tag is {version}, but _template_version in cookiecutter.json is {template_version}")
    found = re.search(rf"(?ms)^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", changelog)
    if not found or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has no part ## {version}")
    return found[1].strip() + "\n"


def main() -> int:
    """Create the release. The tag is in TAG; gh signs in with GH_TOKEN."""
    tag = os.environ.get("TAG", "")
    template_version = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["_template_version"]
    try:
        text = notes(tag, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), template_version)
    except ValueError as error:
        sys.stderr.write(f"No release: {error}.\n")
        return 1
    process = subprocess.run(
        ["gh", "release", "create", tag, "--verify-tag", "--title", tag, "--notes-file", "-"],
        input=text,
        encoding="utf-8",
        cwd=ROOT,
        check=False,
    )
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
