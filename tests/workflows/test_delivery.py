"""From a merge to production and back, with everything that comes between."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.workflows.conftest import World
from tests.workflows.github import PullRequest, Run

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

Delivered = Callable[..., World]
PROD = {"environments": "prod"}
MIGRATION = '''"""Another table."""

from alembic import op

revision = "{revision}"
down_revision = "{after}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make it."""
    op.execute("{statement}")


def downgrade() -> None:
    """Remove it."""
    op.execute("DROP TABLE more")
'''


def output(name: str) -> Callable[[str], str]:
    """A change of a layer that an apply shows in its state."""
    return lambda text: f'{text}\noutput "{name}" {{\n  value = "x"\n}}\n'


def network(here: World, name: str) -> PullRequest:
    """An open pull request with an infrastructure change of its own."""
    return here.repository.open_pull_request(name, {f"infra/network/{name}.tf": output(name)("").lstrip("\n")})


def merged(here: World, pull: PullRequest) -> Run:
    """The delivery that a merge starts."""
    return next(run for run in here.repository.merge(pull, actor="eve") if run.name == "CD")


def outputs(here: World, environment: str = "prod") -> set[str]:
    """What was applied of the network layer."""
    state = here.aws.call(
        "s3", "get_object", Bucket="my-app-tfstate-123456789012-us-east-1", Key=f"network/{environment}.tfstate"
    )
    return set(json.loads(state["Body"])["outputs"])


def running(here: World, environment: str = "prod") -> str:
    """The digest that the service runs."""
    name = f"my-app-{environment}"
    [service] = here.aws.call("ecs", "describe_services", cluster=name, services=[name])["services"]
    definition = here.aws.call("ecs", "describe_task_definition", taskDefinition=service["taskDefinition"])
    return str(definition["taskDefinition"]["containerDefinitions"][0]["image"]).partition("@")[2]


def built(here: World, commit: str) -> str:
    """The digest of the image of a commit."""
    images = here.aws.call("ecr", "describe_images", repositoryName="my-app")["imageDetails"]
    return next(str(image["imageDigest"]) for image in images if commit in image.get("imageTags", []))


def roles_tried(here: World, approve: str) -> set[str]:
    """What Check sign-in says of the roles; every job has to have had its own."""
    [run] = here.repository.dispatch("sign-in.yml", actor="eve")
    here.repository.approve(approve)
    assert run.conclusion == "success", str(run)
    return {job.name for job in run.jobs() if job.conclusion == "success"} - {"Settings"}


def test_the_newest_merge_goes_to_prod_when_somebody_approves_it_and_as_it_was_planned(delivered: Delivered) -> None:
    here = delivered(("prod",), **PROD)
    repository, before = here.repository, running(here)
    first = network(here, "one")
    [comment] = repository.comments.values()
    assert "| network | prod |" in comment["body"]
    waiting = merged(here, first)
    assert waiting.job("prod / Deploy").status == "waiting", str(waiting)
    assert running(here) == before
    assert outputs(here) == {"url"}
    newer = merged(here, network(here, "two"))
    assert waiting.conclusion == "cancelled", str(waiting)
    repository.approve("prod")
    assert newer.conclusion == "success", str(newer)
    assert outputs(here) == {"url", "one", "two"}, "what the cancelled run would have done is not lost"
    assert running(here) == built(here, newer.sha)
    again = repository.rerun(waiting)
    assert again.conclusion == "failure"
    assert "which is newer than this run's" in str(again)
    assert running(here) == built(here, newer.sha)


@pytest.mark.nightly
def test_a_run_is_repeated_and_a_commit_from_before_delivered_again(delivered: Delivered) -> None:
    here = delivered(("prod",), **PROD)
    repository = here.repository
    older = merged(here, network(here, "one"))
    repository.approve("prod")
    newer = merged(here, network(here, "two"))
    repository.approve("prod")
    assert newer.conclusion == "success", str(newer)
    here.github.refused.clear()
    repository.rerun(newer)
    assert newer.job("prod / Deploy").status == "waiting", str(newer)
    repository.approve("prod")
    assert newer.conclusion == "success", str(newer)
    repository.git("branch", "kept", newer.sha)
    repository.git("update-ref", "refs/heads/main", older.sha)
    [back] = repository.dispatch("cd.yml", actor="eve")
    repository.approve("prod")
    assert back.conclusion == "success", str(back)
    assert running(here) == built(here, older.sha)


def test_without_a_database_and_without_code_security_or_attestations(delivered: Delivered) -> None:
    here = delivered(("prod",), **PROD, database="none")
    here.repository.code_security = here.repository.attestations = False
    run = merged(here, network(here, "one"))
    here.repository.approve("prod")
    assert run.conclusion == "success", str(run)
    assert running(here) == built(here, run.sha)
    assert roles_tried(here, approve="prod") == {"build", "plan prod", "apply prod"}


@pytest.mark.nightly
def test_a_merge_goes_through_dev_and_staging_to_prod(delivered: Delivered) -> None:
    here = delivered()
    run = merged(here, here.repository.open_pull_request("change", {"app/more.py": '"""More."""\n'}))
    digest = built(here, run.sha)
    assert [running(here, name) == digest for name in ("dev", "staging", "prod")] == [True, True, False], str(run)
    here.repository.approve("prod")
    assert run.conclusion == "success", str(run)
    assert running(here) == digest
    kinds = {item["kind"] for item in here.repository.attested if item["digest"] == digest}
    assert kinds == {"https://slsa.dev/provenance/v1", "https://spdx.dev/Document/v2.3"}


@pytest.mark.nightly
def test_a_failing_migration_leaves_what_ran_and_a_version_from_before_a_migration_comes_back(
    delivered: Delivered,
) -> None:
    here = delivered(("prod",), **PROD)
    repository, before = here.repository, running(here)
    versions = "app/migrations/versions"
    newest = max(path.name for path in (repository.tree / versions).glob("*.py")).split("_")[0]
    number = f"{int(newest) + 1:04}"

    def migration(statement: str) -> str:
        return MIGRATION.format(revision=number, after=newest, statement=statement)

    file = f"{versions}/{number}_more.py"
    broken = merged(here, repository.open_pull_request("broken", {file: migration("CREATE TABLE more (id nothing)")}))
    repository.approve("prod")
    assert broken.conclusion == "failure"
    assert re.search(r'type .?"nothing.?" does not exist', str(broken)), str(broken)  # its log is JSON
    assert running(here) == before
    mended = merged(here, repository.open_pull_request("mended", {file: migration("CREATE TABLE more (id int)")}))
    repository.approve("prod")
    assert mended.conclusion == "success", str(mended)
    assert running(here) == built(here, mended.sha)
    here.github.tokens["person-grace"] = here.github.tokens["person-ada"]
    [back] = repository.dispatch("deploy.yml", actor="eve", environment="prod", image=before)
    repository.approve("prod")
    assert back.conclusion == "success", str(back)
    assert running(here) == before


@pytest.mark.nightly
@pytest.mark.parametrize("holds", [True, False])
def test_an_emergency_rollback_does_not_wait_behind_an_approval(delivered: Delivered, holds: bool) -> None:
    here = delivered(("prod",), **PROD)
    here.repository.approval_holds_group = holds
    before = running(here)
    first = merged(here, network(here, "one"))
    here.repository.approve("prod")
    assert first.conclusion == "success", str(first)
    waiting = merged(here, network(here, "two"))
    [back] = here.repository.dispatch("deploy.yml", actor="eve", environment="prod", image=before)
    assert back.job("Deploy").status == "waiting", str(back)
    here.repository.approve("prod")
    assert back.conclusion == "success", str(back)
    assert running(here) in (before, built(here, waiting.sha))


@pytest.mark.nightly
def test_two_infrastructure_changes_at_once_and_one_whose_run_was_cancelled(delivered: Delivered) -> None:
    here = delivered(("prod",), **PROD)
    repository = here.repository
    pulls = [network(here, "one"), network(here, "two")]
    first = merged(here, pulls[0])
    repository.cancel(first)
    repository.update_branch(pulls[1])  # a new head, a new plan
    second = merged(here, pulls[1])
    repository.approve("prod")
    assert second.conclusion == "success", str(second)
    assert outputs(here) == {"url", "one", "two"}


@pytest.mark.nightly
def test_a_preview_comes_with_its_label_follows_its_commits_and_goes(delivered: Delivered) -> None:
    here = delivered(("dev",), environments="dev+prod")
    repository, dev = here.repository, running(here, "dev")
    pull = repository.open_pull_request("change", {"app/more.py": '"""More."""\n'})
    [up] = [run for run in repository.label(pull, "preview") if run.name == "Preview"]
    assert up.conclusion == "success", str(up)
    assert any("Preview: http" in comment["body"] for comment in repository.comments.values())
    services = here.aws.call("ecs", "list_clusters")["clusterArns"]
    [preview] = [arn.rpartition("/")[2] for arn in services if f"pr-{pull.number}" in arn]
    name = preview.removeprefix("my-app-")
    assert running(here, name) != dev
    one = running(here, name)
    repository.push({"app/more.py": '"""Still more."""\n'}, branch="change")
    assert running(here, name) != one
    [down] = [run for run in repository.close(pull) if run.name == "Preview"]
    assert down.conclusion == "success", str(down)
    [ended] = here.aws.call("ecs", "describe_clusters", clusters=[preview])["clusters"]
    assert ended["status"] == "INACTIVE"  # AWS lists it for a while
    assert running(here, "dev") == dev
    tried = {"build", "plan dev", "plan prod", "apply dev", "apply prod", "preview"}
    assert roles_tried(here, approve="prod") == tried


@pytest.mark.nightly
def test_drift_becomes_an_issue_that_is_closed_when_it_is_mended(delivered: Delivered) -> None:
    here = delivered(("prod",), **PROD)
    repository = here.repository
    here.make("apply", "LAYER=account", "YES=1")  # whose state is a note so far: `Cloud.bootstrapped`
    [calm] = repository.tick("drift.yml")
    assert calm.conclusion == "success", str(calm)
    assert repository.issues == {}
    where = {"Bucket": "my-app-tfstate-123456789012-us-east-1", "Key": "network/prod.tfstate"}
    state = here.aws.call("s3", "get_object", **where)["Body"]
    changed = json.loads(state)
    for resource in changed["resources"]:
        if resource["name"] == "base":
            resource["instances"][0]["attributes"]["input"]["value"] = "somebody changed it"
    here.aws.call("s3", "put_object", **where, Body=json.dumps(changed))
    repository.tick("drift.yml")
    [issue] = repository.issues.values()
    assert issue["state"] == "open"
    assert "network" in issue["body"]
    here.aws.call("s3", "put_object", **where, Body=state)
    repository.tick("drift.yml")
    assert issue["state"] == "closed"


@pytest.mark.nightly
def test_a_protected_environment_that_github_does_not_protect_is_refused(delivered: Delivered) -> None:
    here = delivered(("prod",), **PROD)
    del here.repository.environments["prod"]
    run = merged(here, network(here, "one"))
    assert run.conclusion == "failure"
    assert "has no environment prod in GitHub" in str(run)
    assert outputs(here) == {"url"}
