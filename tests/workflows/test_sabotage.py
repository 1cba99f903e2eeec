"""Faults that stopped every real deployment once: each of them, put back, makes a run fail and is named by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflows.conftest import World

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(1200)]


@dataclass(frozen=True)
class Sabotage:
    """Edits of a render's files (pattern, replacement), and words by which a run names the fault."""

    name: str
    file: str
    pattern: str
    replacement: str
    says: str
    database: str = "aurora-postgresql"

    def __call__(self, project: Path) -> None:
        """Break the render."""
        path = project / self.file
        text, count = re.subn(self.pattern, self.replacement, path.read_text(encoding="utf-8"))
        assert count, f"{self.file} changed: write the sabotage {self.name!r} again"
        path.write_text(text, encoding="utf-8")


SABOTAGES = [
    Sabotage("build context", "ops/images.py", r"str\(root\)\]", 'str(root / "app")]', "not found"),
    Sabotage(
        "the build role may not describe its repository",
        "infra/account/build.tf",
        r'"ecr:DescribeRepositories",?',
        "",
        "not authorized to perform: ecr:DescribeRepositories",
    ),
]


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
def test_the_build_names_it(world: Callable[..., World], sabotage: Sabotage) -> None:
    here = world(edit=sabotage, environments="prod", database=sabotage.database)
    here.repository.import_tree(here.source, started=False)
    here.aws.call("ecr", "create_repository", repositoryName="my-app")
    text = WORKFLOW.format(permissions="{contents: read, id-token: write, attestations: write}")
    here.repository.push({".github/workflows/only.yml": text}, branch="main")
    run = next(run for run in here.repository.runs if run.name == "Only")
    assert run.conclusion == "failure"
    assert sabotage.says in str(run), str(run)


# The job that is looked at, without what comes before it in CD.
WORKFLOW = """
name: Only
on: push
permissions: {{}}
jobs:
  build:
    name: Build
    permissions: {permissions}
    uses: ./.github/workflows/build.yml
    with: {{runner: ubuntu-24.04}}
"""


def test_a_job_that_compares_without_the_history(world: Callable[..., World]) -> None:
    depth = Sabotage("depth 1", ".github/workflows/ci.yml", r"\s+fetch-depth: 0[^\n]*", "", "needs its history")
    here = world(edit=depth, bootstrap=False)
    here.repository.import_tree(here.source, started=False)
    here.repository.open_pull_request("words", {"docs/README.md": lambda text: f"{text}\nMore words.\n"})
    run = next(run for run in here.repository.runs if run.name == "CI")
    assert run.job("Changes").conclusion == "failure"
    assert depth.says in str(run), str(run)


def test_a_subject_in_another_case(world: Callable[..., World]) -> None:
    here = world(subject="repo:Acme/my-app", environments="prod")
    here.repository.import_tree(here.source, started=False)
    here.repository.open_pull_request("net", {"infra/network/more.tf": 'output "more" {\n  value = "x"\n}\n'})
    run = next(run for run in here.repository.runs if run.name == "Plan")
    assert run.conclusion == "failure"
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in str(run)


DEPLOYING = [
    Sabotage(
        "nobody but an administrator reads the history of releases",
        "infra/account/read.tf",
        r'"ssm:GetParameterHistory",?',
        "",
        "not authorized to perform: ssm:GetParameterHistory",
    ),
    Sabotage(
        "roles are checked where there is no database",
        "ops/github/delivery.py",
        r"if project\.database:",
        "if project:",
        "This project has no database, so there are no roles",
        "none",
    ),
]


@pytest.mark.parametrize("sabotage", DEPLOYING, ids=lambda sabotage: sabotage.name)
def test_the_delivery_names_it(delivered: Callable[..., World], sabotage: Sabotage) -> None:
    here = delivered(("prod",), edit=sabotage, environments="prod", database=sabotage.database)
    pull = here.repository.open_pull_request("net", {"infra/network/more.tf": 'output "more" {\n  value = "x"\n}\n'})
    run = next(run for run in here.repository.merge(pull, actor="eve") if run.name == "CD")
    if run.status != "completed":
        here.repository.approve("prod")
    assert run.conclusion == "failure"
    assert sabotage.says in str(run), str(run)
