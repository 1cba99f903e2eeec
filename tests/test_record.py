"""`make project` records where a project came from, so that it can take updates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import commit, git

pytestmark = pytest.mark.slow
ANSWER = "Takes 'orders' — 5 $"


def make(clone: Path, folder: Path) -> tuple[Path, str]:
    """Make a project; its folder, and what was said on standard error."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tools.make_project"],
        cwd=clone,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            "HOME": str(home),
            "PYTHONPATH": "",
            "PROJECT_FOLDER": str(folder / "out"),
            "PROJECT_ANSWERS": f'description="{ANSWER}"',
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return folder / "out/my-app", done.stderr


def test_the_template_s_address_commit_and_answers_are_recorded_as_cruft_does(
    whole_clone: Path, tmp_path: Path
) -> None:
    git(whole_clone, "remote", "add", "origin", "https://someone:ghp_secret@github.com/o/template.git")
    project, said = make(whole_clone, tmp_path)
    assert said == ""
    text = (project / ".cruft.json").read_text(encoding="utf-8")
    assert "ghp_secret" not in text
    assert str(tmp_path) not in text
    record = json.loads(text)
    assert record["template"] == "https://github.com/o/template.git"
    assert record["commit"] == git(whole_clone, "rev-parse", "HEAD").strip()
    assert record["context"]["cookiecutter"]["description"] == ANSWER

    # cruft reads it: the same project, from the clone.
    (project / ".cruft.json").write_text(text.replace("https://github.com/o/template.git", str(whole_clone)))
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project, "start")
    for arguments in (["check"], ["diff", "--exit-code"]):
        subprocess.run([sys.executable, "-m", "cruft", *arguments], cwd=project, check=True, capture_output=True)


def test_what_cannot_be_found_again_is_not_recorded(whole_clone: Path, tmp_path: Path) -> None:
    project, said = make(whole_clone, tmp_path)
    assert "no remote named origin" in said
    assert not (project / ".cruft.json").exists()

    git(whole_clone, "remote", "add", "origin", "git@github.com:o/template.git")
    hook = whole_clone / "hooks/post_gen_project.py"
    hook.write_text(hook.read_text(encoding="utf-8") + "# an edit\n", encoding="utf-8")
    (tmp_path / "again").mkdir()
    project, said = make(whole_clone, tmp_path / "again")
    assert "not committed" in said
    assert not (project / ".cruft.json").exists()
