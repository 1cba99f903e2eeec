"""The update from the template, where it meets GitHub."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from ops import template_update
from ops.template_update import Left, Update, Version


def an_update(wanted: str, news: str = "") -> Update:
    old, new = (Version(letter * 40, number, Path()) for letter, number in (("a", "0.1.0"), ("b", "0.2.0")))
    left = Left("requirements.txt", "you and the template changed the same lines", wanted)
    return Update(old, new, left=[left], news=news)


def test_the_text_of_a_pull_request_is_never_longer_than_github_takes() -> None:
    assert "+a line" in an_update("+a line").description()
    long = an_update("+a line\n" * 20_000)
    assert len(long.report()) > 100_000
    assert len(long.description()) <= 65_536
    assert "`requirements.txt`: you and the template" in long.description()
    assert ".ops/template-update.md" in long.description()
    assert "Before you merge" in long.description()
    assert len(an_update("", "- News.\n" * 20_000).description()) <= 65_536


def test_a_job_reads_a_template_that_somebody_cloned_by_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner has no SSH key, and the token of its job is good for https."""
    followed, work = tmp_path / "acme" / "template", tmp_path / "work"
    followed.mkdir(parents=True)
    work.mkdir()
    (followed / "cookiecutter.json").write_text(json.dumps({"_template_version": "0.2.0"}))
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "start"]):
        subprocess.run(["git", *words], cwd=followed, check=True)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_SERVER_URL", f"file://{tmp_path}")
    commit = template_update.git(followed, "rev-parse", "HEAD").strip()
    old, new = template_update.versions({"template": f"git@{tmp_path}:acme/template", "commit": commit}, None, work)
    assert old.commit == new.commit == commit


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b'{"template": "a"\n', "it is not JSON (Expecting ',' delimiter: line 2 column 1"),
        (b'\xff{"template": "a"}', "it is not JSON ('utf-8' codec can't decode"),
        (b"[]", "template, commit, context.cookiecutter: missing or of the wrong kind"),
        (
            b'{"template": "a", "commit": null, "context": {"cookiecutter": []}}',
            "commit, context.cookiecutter: missing",
        ),
    ],
)
def test_a_record_that_was_committed_broken_is_got_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], record: bytes, problem: str
) -> None:
    good = {"template": "/nowhere", "commit": "0" * 40, "context": {"cookiecutter": {}}}
    file = tmp_path / ".cruft.json"
    file.write_text(json.dumps(good))
    template_update.git(tmp_path, "init", "--quiet")
    for content in (file.read_bytes(), record):
        file.write_bytes(content)
        template_update.git(tmp_path, "add", ".")
        template_update.git(tmp_path, "commit", "--quiet", "--message", "record")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["template_update"])
    assert template_update.main() == 2
    said = capfd.readouterr().err
    assert f"Error: .cruft.json is broken: {problem}" in said
    listing, restoring = re.findall("`(git [^`]+)`", said)
    commits = template_update.git(tmp_path, *listing.split()[1:]).splitlines()
    template_update.git(tmp_path, *restoring.replace("<commit>", commits[-1].split()[0]).split()[1:])
    assert template_update.recorded(tmp_path) == good
