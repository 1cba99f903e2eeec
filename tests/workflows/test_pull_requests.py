"""Pull requests and first pushes: what runs for which change, and who gets a token and credentials."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.workflows.conftest import World, ended
from tests.workflows.github import DEPENDABOT, Run

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]

Make = Callable[..., World]
CHANGE = {"infra/network/more.tf": 'output "more" {\n  value = "x"\n}\n'}


def of(here: World, sha: str) -> dict[str, Run]:
    """The runs of a commit by their workflow's name; each has to have ended well."""
    return ended([run for run in here.repository.runs if run.head_sha == sha])


def skipped(run: Run) -> set[str]:
    """The jobs that did not run."""
    return {name for name, result in run.results().items() if result == "skipped"}


def test_documents_alone_start_no_tests_and_need_no_account(world: Make) -> None:
    here = world(bootstrap=False)
    here.repository.import_tree(here.source, started=False)
    words = {"docs/README.md": lambda text: f"{text}\nMore words.\n"}
    pull = here.repository.open_pull_request("words", words)
    runs = of(here, pull.head)
    assert runs["CI"].results()["Required"] == "success"
    assert skipped(runs["CI"]) >= {"Application", "Terraform", "Role manager", "Rehearsal"}


def test_an_infrastructure_change_is_planned_in_a_comment(world: Make) -> None:
    here = world(environments="prod")
    here.repository.import_tree(here.source, started=False)
    pull = here.repository.open_pull_request("net", CHANGE)
    runs = of(here, pull.head)
    assert runs["CI"].results()["Terraform"] == "success"
    [comment] = here.repository.comments.values()
    assert comment["issue"] == pull.number
    assert "| network | prod |" in comment["body"]


@pytest.mark.nightly
def test_the_first_push_before_bootstrap_is_green_and_does_nothing_in_aws(world: Make) -> None:
    here = world(bootstrap=False)
    runs = ended(here.first_push())
    assert {"Build", "dev", "prod"} <= skipped(runs["CD"])
    for workflow in ("drift.yml", "preview.yml"):
        ended(here.repository.tick(workflow))
    assert here.repository.issues == {}
    assert here.aws.call("s3", "list_buckets")["Buckets"] == []


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("files", "tests"),
    [
        ({"app/more.py": '"""More."""\n'}, {"Application"}),
        ({"role_manager/more.py": '"""More."""\n'}, {"Role manager"}),
        (CHANGE, {"Terraform"}),
        ({"Makefile": lambda text: f"# More.\n{text}"}, {"Application", "Role manager", "Terraform"}),
    ],
    ids=["app", "role_manager", "infra", "everything"],
)
def test_what_changed_is_tested(world: Make, files: dict[str, str], tests: set[str]) -> None:
    here = world(bootstrap=False)
    here.repository.import_tree(here.source, started=False)
    run = of(here, here.repository.open_pull_request("change", files).head)["CI"]
    assert tests <= set(run.results()) - skipped(run), str(run)


@pytest.mark.nightly
def test_a_fork_and_dependabot_are_tested_and_get_no_credentials(world: Make) -> None:
    here = world(environments="prod")
    here.repository.import_tree(here.source, started=False)
    fork = here.repository.open_pull_request("theirs", CHANGE, fork=True)
    runs = of(here, fork.head)
    assert runs["CI"].results()["Terraform"] == "success"
    assert any(name.startswith("Plan ") for name in skipped(runs["Plan"]))
    assert here.repository.comments == {}
    bump = {"app/requirements.in": lambda text: f"# bumped\n{text}"}
    bot = here.repository.open_pull_request("dependabot/pip/app", bump, author=DEPENDABOT)
    assert of(here, bot.head)["CI"].results()["Required"] == "success"


@pytest.mark.nightly
def test_set_up_from_nothing(world: Make) -> None:
    here = world(bootstrap=False)
    here.repository.import_tree(here.source, started=False)
    runner = here.repository.execute
    runner.variables = {k: v for k, v in runner.variables.items() if k != "MAKEFLAGS"}  # type: ignore[attr-defined]
    pull = here.repository.open_pull_request("words", {"docs/README.md": lambda text: f"{text}\nMore words.\n"})
    assert of(here, pull.head)["CI"].results()["Required"] == "success"
