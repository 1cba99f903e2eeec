"""`make diff` says what a change does to renders, and where several differ alike says it once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.options import MAIN
from tools import template

pytestmark = pytest.mark.slow


def diff(whole_clone: Path, base: str = "main") -> subprocess.CompletedProcess[str]:
    """Run it as the Makefile does."""
    return subprocess.run(
        [sys.executable, "-m", "tools.diff"],
        cwd=whole_clone,
        env={**os.environ, "BASE": base, "PYTHONPATH": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_change_of_nothing_of_one_choice_and_of_all(whole_clone: Path) -> None:
    inside = whole_clone / template.RENDERED_ROOT.name
    (whole_clone / "README.md").write_text("Only the template's own.\n")
    assert "alters no render" in diff(whole_clone).stdout

    # An uncommitted edit, of a file that one choice leaves out, and one of every render.
    (inside / "docs/runbooks/migrate.md").write_text("# Migrate <script>\n")
    (inside / "docs/new.md").write_text("# New\n")
    result = diff(whole_clone)
    assert result.returncode == 0, result.stderr
    without_database = sum(options.get("database") == "none" for options in MAIN)
    assert f"In all {len(MAIN)} option sets**: 1 files" in result.stdout
    assert "`docs/new.md` added, 1 lines" in result.stdout
    assert f"In {len(MAIN) - without_database} of {len(MAIN)}" in result.stdout
    assert "docs/runbooks/migrate.md" in result.stdout
    assert result.stdout.count("docs/runbooks/migrate.md") == 1
    page = (whole_clone / ".diff/index.html").read_text()
    assert "+# Migrate &lt;script&gt;" in page
    assert "<script" not in page


def test_a_template_that_refuses_an_answer_is_said(whole_clone: Path) -> None:
    hook = whole_clone / "hooks/pre_gen_project.py"
    hook.write_text(
        hook.read_text().replace('"us-gov-east-1 us-gov-west-1', '"us-gov-east-1').replace("us-gov-west-1", "")
    )
    result = diff(whole_clone)
    assert result.returncode == 0, result.stderr
    assert "- **aws_region=us-gov-west-1**: after refused:" in result.stdout


def test_a_base_that_does_not_exist(whole_clone: Path) -> None:
    result = diff(whole_clone, "nowhere")
    assert result.returncode != 0
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_hook_that_writes_to_what_is_copied_as_it_is_is_seen(whole_clone: Path) -> None:
    """Such a file is the template's own with a second name until somebody writes to it."""
    hook = whole_clone / "hooks/post_gen_project.py"
    writes = '(root / "app/__init__.py").open("a").write("# Written by a hook\\n")'
    last = "        remove_junk(root)\n"
    hook.write_text(hook.read_text().replace(last, f"{last}        {writes}\n", 1))
    kept = (whole_clone / template.RENDERED_ROOT.name / "app/__init__.py").read_bytes()
    result = diff(whole_clone)
    assert result.returncode == 0, result.stderr
    assert f"In all {len(MAIN)} option sets**: 1 files, +1 -0" in result.stdout
    assert "`app/__init__.py` +1 -0" in result.stdout
    assert (whole_clone / template.RENDERED_ROOT.name / "app/__init__.py").read_bytes() == kept
