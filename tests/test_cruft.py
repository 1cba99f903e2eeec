"""cruft: create, update with the hooks run again, and a team's edits kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bakes import Bake, Project
from tests.conftest import commit, git
from tools import template

pytestmark = pytest.mark.slow


class Repository:
    """A project made by cruft from a template of the test's own."""

    def __init__(self, template_clone: Path, folder: Path) -> None:
        """A template that the test may change."""
        self.folder = folder
        self.template = folder / "template"
        shutil.copytree(template_clone, self.template, symlinks=True)
        self.inside = self.template / template.RENDERED_ROOT.name
        self.path = folder / "out" / "my-app"

    def cruft(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run cruft with a home of its own."""
        return subprocess.run(
            [sys.executable, "-m", "cruft", *arguments],
            cwd=folder or self.path,
            env={**os.environ, "HOME": str(self.folder), "GIT_CONFIG_COUNT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def create(self, **answers: str) -> Project:
        """`cruft create`, then the team's first commit."""
        output = self.folder / "out"
        output.mkdir()
        result = self.cruft(
            "create", str(self.template), "--no-input", "--extra-context", json.dumps(answers), folder=output
        )
        assert result.returncode == 0, result.stderr
        git(self.path, "init", "--quiet", "--initial-branch", "main")
        commit(self.path, "start")
        return Project(self.path, answers)

    def update(self) -> None:
        """`cruft update`, which must succeed without conflicts."""
        result = self.cruft("update", "--skip-apply-ask")
        assert result.returncode == 0, result.stdout + result.stderr
        assert list(self.path.rglob("*.rej")) == []


@pytest.fixture
def repository(template_clone: Path, tmp_path: Path) -> Repository:
    return Repository(template_clone, tmp_path)


ANSWERS = [{}, {"database": "none", "feature_flags": "none", "environments": "prod"}]


@pytest.mark.parametrize("answers", ANSWERS, ids=["defaults", "minimal"])
def test_creates_what_cookiecutter_makes(repository: Repository, bake: Bake, answers: dict[str, str]) -> None:
    made, expected = repository.create(**answers), bake(**answers)
    assert made.files.keys() - {name for name in made.files if name.startswith(".git/")} == {
        *expected.files,
        ".cruft.json",
    }
    different = [name for name, path in expected.files.items() if path.read_bytes() != made.files[name].read_bytes()]
    assert different == []
    assert repository.cruft("check").returncode == 0
    assert repository.cruft("diff", "--exit-code").returncode == 0


@pytest.mark.parametrize("answers", ANSWERS, ids=["defaults", "minimal"])
def test_updates_keep_edits_and_bring_back_nothing(repository: Repository, answers: dict[str, str]) -> None:
    before = repository.create(**answers)
    names = {name for name in before.files if not name.startswith(".git/")}
    settings = repository.path / "project.yaml"
    settings.write_text(
        settings.read_text(encoding="utf-8").replace("cidr: 10.40.0.0/16", "cidr: 10.99.0.0/16"), encoding="utf-8"
    )
    (repository.path / "ours.md").write_text("# Ours\n", encoding="utf-8")
    commit(repository.path, "our edits")

    with (repository.inside / "README.md").open("a", encoding="utf-8") as readme:
        readme.write("\nA line of the next version for {{ cookiecutter.app_name }}.\n")
    (repository.inside / "docs" / "new.md").write_text("# New\n", encoding="utf-8")
    commit(repository.template, "next version")
    assert repository.cruft("check").returncode == 1

    repository.update()
    after = Project(repository.path, answers)
    assert {name for name in after.files if not name.startswith(".git/")} == names | {"ours.md", "docs/new.md"}
    assert "cidr: 10.99.0.0/16" in settings.read_text(encoding="utf-8")
    assert "next version for my-app" in (repository.path / "README.md").read_text(encoding="utf-8")
    changed = git(repository.path, "status", "--short", "--untracked-files=all").split()[1::2]
    assert sorted(changed) == [".cruft.json", "README.md", "docs/new.md"]
    assert repository.cruft("check").returncode == 0


def test_a_refused_answer_leaves_nothing(repository: Repository) -> None:
    output = repository.folder / "out"
    output.mkdir()
    result = repository.cruft(
        "create", str(repository.template), "--no-input", "--extra-context", '{"app_name": "../x"}', folder=output
    )
    assert result.returncode != 0
    assert "  app_name: '../x' — " in result.stderr
    assert list(output.iterdir()) == []
    assert not (repository.folder / "x").exists()


def test_an_answer_that_is_no_more_is_explained_on_update(repository: Repository) -> None:
    """A project whose recorded choice a newer version no longer has: said in words, nothing changed."""
    repository.create()
    recorded = repository.path / ".cruft.json"
    state = json.loads(recorded.read_text(encoding="utf-8"))
    state["context"]["cookiecutter"]["aws_region"] = "us-east-9"
    recorded.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    commit(repository.path, "an old answer")
    (repository.inside / "docs" / "new.md").write_text("# New\n", encoding="utf-8")
    commit(repository.template, "next version")
    result = repository.cruft("update", "--skip-apply-ask")
    assert result.returncode != 0
    assert "  aws_region: 'us-east-9' — " in result.stderr
    assert git(repository.path, "status", "--short") == ""
