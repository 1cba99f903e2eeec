"""Pull requests: what runs for which change, and who gets a token and credentials."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.workflows.conftest import World
from tests.workflows.github import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Make = Callable[..., World]
OUTPUT = '\noutput "more" {\n  value = "x"\n}\n'


def of(here: World, sha: str) -> dict[str, Run]:
    """The runs of a commit by their workflow's name; each has to have ended well."""
    runs = {run.name: run for run in here.repository.runs if run.head_sha == sha}
    for run in runs.values():
        assert run.conclusion in ("success", "skipped"), str(run)
    return runs


def test_documents_alone_start_no_tests_and_need_no_account(world: Make) -> None:
    here = world(bootstrap=False)
    here.repository.import_tree(here.source, started=False)
    words = {"docs/README.md": lambda text: f"{text}\nMore words.\n"}
    pull = here.repository.open_pull_request("words", words)
    runs = of(here, pull.head)
    results = runs["CI"].results()
    assert results["Required"] == "success"
    assert {name for name, result in results.items() if result == "skipped"} >= {"Application", "Terraform"}


def test_an_infrastructure_change_is_planned_in_a_comment(world: Make) -> None:
    here = world()
    here.repository.import_tree(here.source, started=False)
    pull = here.repository.open_pull_request("net", {"infra/network/main.tf": lambda text: text + OUTPUT})
    runs = of(here, pull.head)
    assert runs["CI"].results()["Terraform"] == "success"
    [comment] = here.repository.comments.values()
    assert comment["issue"] == pull.number
    assert "| network | dev |" in comment["body"]
