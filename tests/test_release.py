"""What is published at a release, and what has to be right before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import commit, git
from tools import example, release


def check(clone: Path, folder: Path, nightly: str) -> str:
    """`make release-check` without the update tests, and with GitHub's answer about the nightly runs."""
    program = folder / "gh"
    program.write_text(f"#!/bin/sh\necho '{nightly}'\n")
    program.chmod(0o755)
    code = (
        "import subprocess, sys; subprocess.call = lambda *a, **k: 0; sys.argv.append('--check');"
        "from tools import release; sys.exit(release.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=clone,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_release_without_gh_is_refused_in_words() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.release"],
        cwd=release.ROOT,
        env=os.environ | {"PATH": "/nowhere", "TAG": f"v{release.template_version()}"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "No release: gh: No such file or directory: https://cli.github.com.\n"


@pytest.mark.slow
def test_a_release_waits_for_all_that_it_needs(whole_clone: Path, tmp_path: Path) -> None:
    green = '[{"conclusion": "success", "url": "u"}]'
    assert "Ready. Publish with: git tag v" in check(whole_clone, tmp_path, green)
    assert "Nightly is not green" in check(whole_clone, tmp_path, "[]")
    assert "Nightly is not green" in check(whole_clone, tmp_path, '[{"conclusion": "failure", "url": "u"}]')
    (whole_clone / "releases.toml").write_text("")
    said = check(whole_clone, tmp_path, green)
    assert "not committed" in said
    assert "releases.toml has no commit of 0.1.0" in said
    changelog = whole_clone / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## 0.1.0\n\n- First.\n")
    commit(whole_clone, "no changes told")
    assert "CHANGELOG.md has no part" in check(whole_clone, tmp_path, green)


@pytest.mark.nightly
@pytest.mark.timeout(2400)
def test_the_example_is_the_default_render_with_the_report_of_its_rehearsal(whole_clone: Path, tmp_path: Path) -> None:
    origin = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", str(origin))
    git(whole_clone, "remote", "add", "origin", str(origin))
    subprocess.run([sys.executable, "-m", "tools.example", "--push"], cwd=whole_clone, check=True)
    names = git(origin, "ls-tree", "-r", "--name-only", "example").splitlines()
    wanted = {"project.yaml", "docs/system-architecture.svg", "docs/rehearsal.html"}
    assert {f"my-app/{name}" for name in wanted} <= set(names)
    assert not [name for name in names if name.startswith(("my-app/.venv", "my-app/.ops"))]
    assert "Rehearsal of my-app" in git(origin, "show", "example:my-app/docs/rehearsal.html")


def test_a_release_that_is_there_is_no_obstacle_to_what_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is repeated begins anew, and GitHub refuses a second release of a tag."""
    program = tmp_path / "gh"
    there = tmp_path / "there"
    program.write_text(
        f"#!/bin/sh\ncase $2 in view) test -e {there} ;; create) test ! -e {there} && cat > {there} ;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tag = f"v{release.template_version()}"
    assert release.publish(tag) == 0
    assert there.read_text() == release.notes(tag, release.changelog(), release.template_version())
    assert release.publish(tag) == 0


def test_a_job_may_push_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub refuses what a job's token pushes with a workflow at the top: there is no permission for it."""

    def rehearse(*_: object, cwd: Path, **__: object) -> None:
        report = cwd / example.REPORT[0]
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text("<p>It works</p>")

    monkeypatch.setattr(example, "subprocess", SimpleNamespace(run=rehearse))
    folder = example.rendered(tmp_path)
    assert list(folder.glob("**/docs/rehearsal.html"))
    assert not (folder / ".github").exists()
