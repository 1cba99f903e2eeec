"""The workflow Template update: nothing to do, one pull request, conflicts, a token without rights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bakes import Bake
from tests.conftest import commit, git
from tests.workflows.github import ADMINISTRATOR, Run
from tests.workflows.server import GitHub
from tools import template

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Small = Callable[..., GitHub]
WORKFLOW = "template-update.yml"
# What the workflow itself needs of a project.
OPS = [f"ops/{name}" for name in ("__init__.py", "errors.py", "output.py", "template_update.py")]
PARTS = (".gitignore", "Makefile", "project.yaml", "README.md", "docs", "ops/requirements-update.txt", *OPS)


@pytest.fixture
def follower(bake: Bake, template_clone: Path, small: Small, tmp_path: Path) -> tuple[GitHub, Path]:
    """A project on GitHub that follows a template of the test's own."""
    followed = tmp_path / "template"
    shutil.copytree(template_clone, followed, symlinks=True)
    project = bake()
    record = {
        "template": str(followed),
        "commit": git(followed, "rev-parse", "HEAD").strip(),
        "checkout": None,
        "context": {"cookiecutter": {name: _first(default) for name, default in template.questions().items()}},
        "directory": None,
    }
    record["context"]["cookiecutter"]["github_repository"] = "my-org/my-app"  # type: ignore[index]
    github = small({WORKFLOW: (project.path / ".github/workflows" / WORKFLOW).read_text(encoding="utf-8")})
    files = {
        name: path.read_text(encoding="utf-8")
        for name, path in project.files.items()
        if name.startswith(PARTS) and path.suffix not in (".drawio", ".svg")
    }
    github.repository.commit("main", {**files, ".cruft.json": json.dumps(record, indent=2) + "\n"})
    return github, followed


def _first(default: str | list[str]) -> str:
    return default if isinstance(default, str) else default[0]


def tick(github: GitHub, *, well: bool = True) -> Run:
    """The run of this week. It has to end well, or not to."""
    [run] = github.repository.tick(WORKFLOW)
    assert (run.conclusion == "success") == well, str(run)
    return run


def test_a_pull_request_when_there_is_something_new(follower: tuple[GitHub, Path]) -> None:
    github, followed = follower
    tick(github)
    assert github.repository.pulls == {}

    inside = followed / template.RENDERED_ROOT.name
    (inside / "docs/new.md").write_text("# New for {{ cookiecutter.app_name }}\n")
    (inside / "docs/runbooks/deploy.md").write_text("# The template's\n")
    commit(followed, "next")
    github.repository.commit("main", {"docs/runbooks/deploy.md": "# Ours\n"})
    tick(github)
    [pull] = github.repository.pulls.values()
    assert pull.branch == "template-update"
    tip = github.repository.tip("template-update")
    assert github.repository.file(tip, "docs/new.md") == "# New for my-app"
    assert github.repository.file(tip, "docs/runbooks/deploy.md") == "# Ours"
    assert "you and the template changed the same lines" in github.repository.descriptions[pull.number]

    (inside / "docs/newer.md").write_text("# Newer\n")
    commit(followed, "one more")
    tick(github)
    assert list(github.repository.pulls) == [pull.number]
    assert github.repository.file(github.repository.tip("template-update"), "docs/newer.md") == "# Newer"

    github.repository.commit("template-update", {"docs/ours.md": "# What was left for us\n"})
    (inside / "docs/newest.md").write_text("# Newest\n")
    commit(followed, "and one more")
    tick(github)
    tip = github.repository.tip("template-update")
    assert github.repository.file(tip, "docs/ours.md") == "# What was left for us", "a person's commit is not lost"


@pytest.mark.nightly
def test_what_github_refuses_is_said_with_what_to_do(follower: tuple[GitHub, Path]) -> None:
    github, followed = follower
    inside = followed / template.RENDERED_ROOT.name
    (inside / "docs/new.md").write_text("# New\n")
    commit(followed, "next")
    github.repository.actions_may_open_pull_requests = False
    refused = tick(github, well=False)
    assert "allow GitHub Actions to create pull requests" in str(refused)

    github.repository.actions_may_open_pull_requests = True
    workflow = inside / ".github/workflows" / WORKFLOW
    workflow.write_text(workflow.read_text() + "# newer\n")
    commit(followed, "a workflow changes")
    refused = tick(github, well=False)
    assert "TEMPLATE_UPDATE_TOKEN" in str(refused)
    assert github.repository.pulls == {}

    github.repository.secrets["TEMPLATE_UPDATE_TOKEN"] = f"person-{ADMINISTRATOR}"
    tick(github)
    assert len(github.repository.pulls) == 1
