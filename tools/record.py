"""Records in a project which template, commit and answers it was made from: `.cruft.json`, in cruft's form.

`make template-update` in the project and cruft (https://cruft.github.io/cruft) read it.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from cookiecutter import replay
from cookiecutter.config import get_user_config

from tools import template


def git(*arguments: str) -> str:
    """What git says of the template's repository; empty where it is none, or git is not there."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=template.ROOT, capture_output=True, encoding="utf-8", check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write(project: Path) -> str:
    """Write .cruft.json into a project that cookiecutter has just made; what prevents it, empty for nothing."""
    if git("rev-parse", "--show-prefix") or not (commit := git("rev-parse", "--verify", "HEAD")):
        return "the template is no clone of a git repository"
    address = git("config", "remote.origin.url")
    if not address:
        return "the template's repository has no remote named origin"
    if git("status", "--porcelain", "--", "cookiecutter.json", "hooks", template.RENDERED_ROOT.name):
        return "the template has changes that are not committed"
    # A token in the address belongs to whoever cloned it.
    address = re.sub(r"^(https?://)[^/@]*@", r"\1", address)
    context = replay.load(get_user_config()["replay_dir"], template.ROOT.name)["cookiecutter"]
    kept = {name: value for name, value in context.items() if name not in ("_output_dir", "_repo_dir", "_checkout")}
    state = {
        "template": address,
        "commit": commit,
        "checkout": None,
        "context": {"cookiecutter": kept | {"_template": address}},
        "directory": None,
    }
    (project / ".cruft.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8", newline="\n")
    return ""
