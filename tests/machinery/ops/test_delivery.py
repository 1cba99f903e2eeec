"""A delivery: what is planned before an environment's gate is what is applied behind it, and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.machinery.ops.conftest import APP, BUCKET, DIGEST, Ops, Settings, bash
from tests.machinery.ops.fake_github import GitHub, install

pytestmark = pytest.mark.usefixtures("healthy_tasks", "role_manager")
Client = Callable[[str], Any]

PROTECTED = {
    "protection_rules": [{"type": "required_reviewers", "reviewers": [{"type": "User"}]}, {"type": "branch_policy"}],
    "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
}


class Delivery:
    """One run of the workflow Deploy for dev: the job before the gate, and the one behind it."""

    def __init__(self, ops: Ops, github: GitHub, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.ops = ops
        self.github = github
        self.root = root
        self.outputs: dict[str, str] = {}
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(root / "../summary"))
        monkeypatch.setenv("REPOSITORY_PRIVATE", "false")
        git = "git -c user.name=n -c user.email=e@example.com"
        bash("git init -q -b main .", root)
        self.commits = []
        for text in ("one", "two"):
            made = bash(f"git add -A app && {git} commit -q --allow-empty -m {text} && git rev-parse HEAD", root)
            self.commits.append(made.stdout.strip())
        monkeypatch.setenv("GITHUB_SHA", self.commits[1])
        github.answer("attested", [DIGEST["new"]])
        github.answer("repos/acme/shop/commits/main", {"sha": self.commits[1]})

    def review(self, image: str = DIGEST["new"], *more: str, env: str = "dev") -> Any:
        """Plan before the gate."""
        result = self.ops("github-review", "--env", env, "--image", image, *more)
        lines = (line.partition("=") for line in result.out.splitlines() if "=" in line)
        self.outputs = {name: value for name, _, value in lines}
        return result

    def deploy(self) -> Any:
        """Apply behind the gate."""
        return self.ops(
            "github-deploy", "--env", "dev", "--image", self.outputs["digest"], "--approved", self.outputs["approve"]
        )

    @property
    def summary(self) -> str:
        """The page of the run."""
        return (self.root / "../summary").read_text()


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The service as its users reach it; the statuses of its next answers (0: no HTTP), 200 when there are none left."""
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = statuses.pop(0) if statuses else 200
            if status == 0:
                self.wfile.write(b"SSH-2.0-OpenSSH\r\n")
                return
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("ops.status.url", lambda _aws, _project: f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("ops.smoke.POLL_SECONDS", 0.01)
    monkeypatch.setattr("ops.smoke.SECONDS", 0.2)
    yield statuses
    server.shutdown()
    server.server_close()


@pytest.fixture
def delivery(
    deployed: Settings, ops: Ops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside: list[int]
) -> Delivery:
    return Delivery(ops, install(tmp_path, monkeypatch), monkeypatch, deployed.path.parent)


def add(layer: str, name: str, value: str = "1") -> None:
    """Change a layer's code."""
    path = Path(f"infra/{layer}/{name}.tf")
    path.write_text(f'resource "terraform_data" "{name}" {{\n  input = "{value}"\n}}\n')


def pending(ops: Ops, layer: str) -> bool:
    """Whether a layer of dev is not as its code says."""
    return ops("plan", "--layer", layer, "--env", "dev", "--detailed-exitcode").code == 5


def test_what_was_approved_is_applied_in_every_layer(delivery: Delivery, ops: Ops) -> None:
    add("network", "extra")
    add("service", "alarm")
    reviewed = delivery.review()
    assert reviewed.code == 0, reviewed.text
    assert "terraform_data.extra will be created" in delivery.summary
    assert "terraform_data.alarm will be created" in delivery.summary
    done = delivery.deploy()
    assert done.code == 0, done.text
    assert "as approved: 1 to add" in done.out
    assert done.out.index("[network]") < done.out.index("[migrations]") < done.out.index("[service]")
    assert "answers" in done.out
    assert not pending(ops, "network")
    assert not pending(ops, "service")
    assert ops("image", "--env", "dev").out.strip() == DIGEST["new"]
    # The job again, as "Re-run failed jobs" does it.
    again = delivery.deploy()
    assert again.code == 0, again.text
    assert "already as approved" in again.out


@pytest.mark.parametrize("layer", ["network", "service"])
def test_what_changed_after_the_approval_is_refused_with_the_difference(
    layer: str, delivery: Delivery, ops: Ops
) -> None:
    add(layer, "extra")
    assert delivery.review().code == 0
    add(layer, "extra", "2")
    add(layer, "more")
    result = delivery.deploy()
    assert result.code == 1
    assert "otherwise than approved: create terraform_data.extra (input)" in result.err
    assert "not approved: create terraform_data.more" in result.err
    assert pending(ops, layer)
    assert ops("image", "--env", "dev").out.strip() == DIGEST["old"]
    assert "migrations are done" not in result.out


def test_another_image_than_the_approved_one_is_refused(delivery: Delivery, ops: Ops) -> None:
    assert delivery.review().code == 0
    delivery.outputs["digest"] = DIGEST["old"]
    add("service", "alarm")
    assert delivery.deploy().code == 1
    assert ops("image", "--env", "dev").out.strip() == DIGEST["old"]


def test_a_plan_that_was_tampered_with_is_refused(delivery: Delivery, ops: Ops) -> None:
    assert delivery.review().code == 0
    path = Path(".ops/github/service-dev.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"summary": "no changes"}))
    result = delivery.deploy()
    assert result.code == 1
    assert "not those that were approved" in result.err
    path.unlink()
    assert delivery.deploy().code == 1
    assert ops("image", "--env", "dev").out.strip() == DIGEST["old"]


def test_no_plan_file_and_no_secret_is_passed_on(delivery: Delivery) -> None:
    path = Path("infra/network/secret.tf")
    path.write_text('resource "terraform_data" "secret" {\n  input = sensitive("hunter2")\n}\n')
    assert delivery.review().code == 0
    left = [item for item in Path(".ops").rglob("*") if item.is_file() and "terraform" not in item.parts[1:2]]
    assert not [item for item in left if item.suffix == ".tfplan" or b"hunter2" in item.read_bytes()]
    assert "hunter2" not in delivery.summary


def test_a_change_whose_run_failed_or_was_cancelled_is_in_the_next_one(delivery: Delivery, ops: Ops) -> None:
    add("network", "lost")
    assert delivery.review().code == 0  # and nobody approved it
    add("service", "next")
    assert delivery.review().code == 0
    done = delivery.deploy()
    assert done.code == 0, done.text
    assert not pending(ops, "network")


def test_a_failing_migration_stops_before_the_service_changes(delivery: Delivery, ops: Ops, fargate: Any) -> None:
    add("service", "alarm")
    assert delivery.review().code == 0
    fargate.exit_code = 3
    result = delivery.deploy()
    assert result.code == 6
    assert pending(ops, "service")


def test_without_infrastructure_only_the_service_is_planned(delivery: Delivery, ops: Ops) -> None:
    add("network", "extra")
    assert delivery.review(DIGEST["old"], "--infrastructure", "false").code == 0
    assert "network" not in delivery.summary
    assert delivery.deploy().code == 0
    assert pending(ops, "network")


def test_an_older_commit_is_not_delivered_over_a_newer_one(
    delivery: Delivery, ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "Re-run all jobs" of an old run."""
    assert delivery.review().code == 0
    assert delivery.deploy().code == 0
    monkeypatch.setenv("GITHUB_SHA", delivery.commits[0])
    old = delivery.review()
    assert old.code == 1
    assert f"has {delivery.commits[1][:12]} already" in old.err
    monkeypatch.setenv("GITHUB_SHA", delivery.commits[1])
    assert delivery.review().code == 0


def test_an_older_run_that_was_approved_late_changes_nothing(
    delivery: Delivery, ops: Ops, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setenv("GITHUB_SHA", delivery.commits[0])
    add("network", "extra")
    assert delivery.review().code == 0
    client("ssm").put_parameter(Name=f"/{APP}/dev/commit", Value=delivery.commits[1], Type="String")
    result = delivery.deploy()
    assert result.code == 1
    assert "which is newer" in result.err
    assert pending(ops, "network")


def test_a_main_branch_that_was_moved_back_is_delivered(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    """The newer commit is still known where a branch or tag has it."""
    assert delivery.review().code == 0
    assert delivery.deploy().code == 0
    monkeypatch.setenv("GITHUB_SHA", delivery.commits[0])
    delivery.github.answer("repos/acme/shop/commits/main", {"sha": delivery.commits[0]})
    add("network", "extra")
    reviewed = delivery.review()
    assert reviewed.code == 0, reviewed.text
    assert f"main was moved back to {delivery.commits[0][:12]}" in reviewed.err
    done = delivery.deploy()
    assert done.code == 0, done.text
    assert client("ssm").get_parameter(Name=f"/{APP}/dev/commit")["Parameter"]["Value"] == delivery.commits[0]


def test_an_environment_that_is_not_there_yet_is_left_alone(delivery: Delivery, client: Client) -> None:
    client("s3").delete_object(Bucket=BUCKET, Key="service/dev.tfstate")
    result = delivery.review()
    assert result.code == 0, result.text
    assert delivery.outputs["there"] == "false"
    assert "make up ENV=dev" in delivery.summary


def test_only_what_this_repositorys_workflow_built_is_deployed(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery.github.answer("attested", [])
    refused = delivery.review()
    assert refused.code == 1
    assert "Nothing vouches for the image" in refused.err
    # In a public repository GitHub keeps attestations, so that one is asked for.
    assert delivery.review(DIGEST["new"], "--built", DIGEST["new"]).code == 1
    monkeypatch.setenv("REPOSITORY_PRIVATE", "true")
    assert delivery.review(DIGEST["new"], "--built", DIGEST["new"]).code == 0
    assert delivery.review(DIGEST["new"], "--built", DIGEST["old"]).code == 1


def test_a_rollback_needs_no_attestation_of_what_ran_before(delivery: Delivery) -> None:
    delivery.github.answer("attested", [])
    assert delivery.review(DIGEST["old"]).code == 0
    assert "it was healthy in this environment before" in delivery.summary


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "has no environment prod in GitHub"),
        (
            {"protection_rules": [], "deployment_branch_policy": None},
            "no required reviewers and no a rule for branches",
        ),
        (PROTECTED | {"protection_rules": [{"type": "required_reviewers", "reviewers": []}]}, "no required reviewers"),
        (PROTECTED | {"deployment_branch_policy": None}, "a rule for branches"),
    ],
)
def test_a_protected_environment_that_github_does_not_protect_is_refused(
    answer: Any, says: str, delivery: Delivery, deployed: Settings
) -> None:
    if answer is not None:
        delivery.github.answer("repos/acme/shop/environments/prod", answer)
    result = delivery.review(env="prod")
    assert result.code == 1
    assert says in result.err
    assert "make github-environments" in result.err
    deployed.change(github_unprotected_environments=["prod"])
    assert delivery.review(env="prod").code == 0  # it is not there yet


def test_a_protected_environment_that_github_protects_is_planned(delivery: Delivery) -> None:
    delivery.github.answer("repos/acme/shop/environments/prod", PROTECTED)
    assert delivery.review(env="prod").code == 0


def test_a_service_that_does_not_answer_from_outside_fails_the_deployment(
    delivery: Delivery, outside: list[int]
) -> None:
    outside.extend([503] * 10_000)
    assert delivery.review().code == 0
    result = delivery.deploy()
    assert result.code == 6
    assert "From outside" in result.err
    assert "status 503" in result.err
    outside.clear()
    outside.extend([503, 200, 0, 502])
    assert delivery.deploy().code == 0


def test_a_newer_run_ends_older_ones_that_wait_for_the_same_environment(
    delivery: Delivery, ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_RUN_NUMBER", "7")
    runs = [{"id": number, "run_number": number, "head_sha": "a" * 40} for number in (4, 5, 6, 8)]
    place = "repos/acme/shop/actions"
    delivery.github.answer(f"{place}/workflows/cd.yml/runs?per_page=50", {"workflow_runs": []})
    delivery.github.answer(f"{place}/workflows/cd.yml/runs?status=waiting&per_page=100", {"workflow_runs": runs})
    for number, environment in ((4, "prod"), (5, "prod"), (6, "staging")):
        pending = [{"environment": {"name": environment}}]
        delivery.github.answer(f"{place}/runs/{number}/pending_deployments", pending)
    delivery.github.refuse(f"POST {place}/runs/5/cancel", 409, "Cannot cancel a workflow run that is completed")
    result = ops("github-supersede", "--env", "prod")
    assert result.code == 0, result.text
    assert [path for _, path, _ in delivery.github.changes] == [f"{place}/runs/4/cancel", f"{place}/runs/5/cancel"]
    # All runs that CD ever had, page by page, are more calls than GitHub lets a repository's jobs have in an hour.
    lists = [words for words in delivery.github.words if "cd.yml/runs?" in words[1]]
    assert len(lists) == 2
    assert all("--paginate" not in words for words in lists)


def test_an_attestation_is_verified_in_githubs_letters_and_not_those_that_were_typed(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gh attestation verify` compares the signer with what GitHub signed as it is: Acme is not acme."""
    monkeypatch.setenv("GITHUB_REPOSITORY", "Acme/Shop")
    assert delivery.review().code == 0
    (words,) = [words for words in delivery.github.words if words[0] == "attestation"]
    assert words[words.index("--repo") + 1] == "Acme/Shop"
    assert words[words.index("--signer-workflow") + 1] == "Acme/Shop/.github/workflows/build.yml"


@pytest.mark.parametrize("length", [40, 8])
def test_of_a_commit_that_a_job_built_again_that_image_is_deployed(delivery: Delivery, push: Any, length: int) -> None:
    """The first one has the commit's tag for ever, and nothing vouches for it: its scan failed, or a person pushed it."""
    commit = delivery.commits[0]
    first, again, other = (f"sha256:{number * 64}" for number in "345")
    push(commit, first)
    push(f"{commit}-77.2", again)
    push(f"{commit}-of-somebody", other)
    delivery.github.answer("attested", [again])
    reviewed = delivery.review(commit[:length])
    assert reviewed.code == 0, reviewed.text
    assert delivery.outputs["digest"] == again


@pytest.mark.parametrize(
    ("job", "status", "gives_way"),
    [
        ("prod / Deploy", "pending", True),
        ("prod / Deploy", "waiting", True),
        ("prod / Deploy", "in_progress", True),
        ("prod / Deploy", "completed", False),
        ("prod / Plan", "in_progress", False),
        ("dev / Deploy", "in_progress", False),
    ],
)
def test_a_run_that_was_slower_does_not_take_a_newer_ones_place(
    delivery: Delivery, ops: Ops, monkeypatch: pytest.MonkeyPatch, job: str, status: str, gives_way: bool
) -> None:
    """GitHub keeps the run that came last into the queue of an environment, whichever commit it has."""
    monkeypatch.setenv("GITHUB_RUN_NUMBER", "7")
    place = "repos/acme/shop/actions"
    states = {6: "in_progress", 7: "in_progress", 8: "in_progress", 9: "completed"}
    runs = [{"id": n, "run_number": n, "head_sha": str(n) * 40, "status": state} for n, state in states.items()]
    delivery.github.answer(f"{place}/workflows/cd.yml/runs?per_page=50", {"workflow_runs": runs})
    delivery.github.answer(f"{place}/workflows/cd.yml/runs?status=waiting&per_page=100", {"workflow_runs": []})
    delivery.github.answer(f"{place}/runs/8/jobs?per_page=100", {"jobs": [{"name": job, "status": status}]})
    result = ops("github-supersede", "--env", "prod")
    assert result.code == int(gives_way), result.text
    assert ("Run 8 of 888888888888 is newer" in result.err) == gives_way
    assert delivery.github.changes == []


def test_open_pull_requests_with_a_plan_are_planned_again(delivery: Delivery, ops: Ops) -> None:
    github = delivery.github
    pulls = [{"number": number, "head": {"sha": str(number) * 40}} for number in (7, 8)]
    github.answer("repos/acme/shop/pulls?state=open&base=main", pulls)
    for number in (7, 8):
        runs = {"workflow_runs": [{"id": number, "status": "completed"}]}
        github.answer(f"repos/acme/shop/actions/workflows/plan.yml/runs?head_sha={str(number) * 40}", runs)
        github.answer(f"repos/acme/shop/pulls/{number}", {"mergeable": None})
    github.answer("repos/acme/shop/issues/7/comments", [{"body": "<!-- ops github-comment -->\nplan"}])
    github.answer("repos/acme/shop/issues/8/comments", [])
    result = ops("github-replan")
    assert result.code == 0, result.text
    assert [path for _, path, _ in github.changes] == ["repos/acme/shop/actions/runs/7/rerun"]
    # GitHub makes refs/pull/7/merge anew when somebody asks for the pull request.
    asked = [path for _, path, _ in github.calls]
    assert asked.index("repos/acme/shop/pulls/7") < asked.index("repos/acme/shop/actions/runs/7/rerun")


def test_a_plan_that_github_does_not_repeat_any_more_keeps_no_other_from_it(delivery: Delivery, ops: Ops) -> None:
    github = delivery.github
    pulls = [{"number": number, "head": {"sha": str(number) * 40}} for number in (7, 8)]
    github.answer("repos/acme/shop/pulls?state=open&base=main", pulls)
    for number in (7, 8):
        runs = {"workflow_runs": [{"id": number, "status": "completed"}]}
        github.answer(f"repos/acme/shop/actions/workflows/plan.yml/runs?head_sha={str(number) * 40}", runs)
        github.answer(f"repos/acme/shop/pulls/{number}", {"mergeable": None})
        github.answer(f"repos/acme/shop/issues/{number}/comments", [{"body": "<!-- ops github-comment -->\nplan"}])
    call = "POST repos/acme/shop/actions/runs/7/rerun"
    github.refuse(call, 403, "Unable to retry this workflow run because it was created over a month ago")
    result = ops("github-replan")
    assert result.code == 0, result.text
    assert "#7 is not planned again" in result.err
    assert "planned again: #8" in result.text
    github.refuse(call, 403, "Resource not accessible by integration")
    assert ops("github-replan").code == 1


# ---------------------------------------------------------------------- by hand


def test_deploy_by_hand_applies_nothing_but_the_image_unasked(delivery: Delivery, ops: Ops) -> None:
    add("service", "alarm")
    asked = ops("deploy", "--env", "dev", "--image", "release-2")
    assert asked.code == 2
    assert "changes more of service-dev than its image" in asked.err
    assert "terraform_data.alarm will be created" in asked.out
    assert "migrations" not in asked.out
    assert ops("image", "--env", "dev").out.strip() == DIGEST["old"]
    Path("infra/service/alarm.tf").unlink()
    done = ops("deploy", "--env", "dev", "--image", "release-2")
    assert done.code == 0, done.text
    assert "nothing but the image" in done.out
