"""Each stand-in refuses what the real one refuses, and an input that the real one does not have."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml

from tests.workflows.actions import ACTIONS
from tests.workflows.conftest import Account
from tests.workflows.github import DEPENDABOT, Run
from tests.workflows.runner import SPECIFICATIONS
from tests.workflows.server import GitHub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Small = Callable[..., GitHub]
ANY = "@" + "a" * 40
GH = {"GH_TOKEN": "${{ github.token }}"}


def workflow(*steps: object, permissions: dict[str, str] | None = None, on: object = "push", **job: object) -> str:
    body = {"runs-on": "ubuntu-24.04", "permissions": permissions or {}, "steps": list(steps), **job}
    return yaml.safe_dump({"name": "W", "on": on, "permissions": {}, "jobs": {"job": body}})


def uses(name: str, /, **inputs: object) -> dict[str, object]:
    return {"uses": name + ANY, "with": {key.replace("_", "-"): value for key, value in inputs.items()}}


def run_of(github: GitHub) -> Run:
    [run] = github.repository.push({"x": str(len(github.repository.runs))})
    return run


CHECKOUT = uses("actions/checkout", persist_credentials=False)


def test_every_stand_in_has_its_inputs_listed_and_every_list_its_stand_in() -> None:
    assert set(ACTIONS) == set(SPECIFICATIONS)
    for name, (_function, known) in ACTIONS.items():
        assert known <= set(SPECIFICATIONS[name]["inputs"]), name


def test_inputs_that_do_not_exist_and_inputs_that_are_missing(small: Small) -> None:
    github = small({"w.yml": workflow(uses("actions/checkout", fetch_dept=0), permissions={"contents": "read"})})
    assert "Unexpected input(s) ['fetch-dept']" in str(run_of(github))
    github.repository.commit("main", {".github/workflows/w.yml": workflow(uses("actions/upload-artifact", name="x"))})
    assert "Input required and not supplied: path" in str(run_of(github))
    github.repository.commit("main", {".github/workflows/w.yml": workflow(uses("acme/unknown"))})
    assert "has no stand-in" in str(run_of(github))
    step = uses("actions/checkout", lfs=True)
    github.repository.commit("main", {".github/workflows/w.yml": workflow(step, permissions={"contents": "read"})})
    assert "does not honour its input lfs" in str(run_of(github))


def test_checkout_fetches_one_commit_needs_a_permission_and_keeps_no_credentials(small: Small) -> None:
    shallow = workflow(
        CHECKOUT,
        {"run": 'test "$(git rev-list --count HEAD)" = 1'},
        {"run": "! git cat-file -e ${{ github.event.before }}"},
        {"run": "! git fetch origin main && ! git push origin HEAD:other"},
        permissions={"contents": "read"},
    )
    github = small({"w.yml": shallow})
    github.repository.push({"x": "0"})
    run = run_of(github)
    assert run.conclusion == "success", str(run)
    deep = [uses("actions/checkout", fetch_depth=0), {"run": "git diff --name-only ${{ github.event.before }}...HEAD"}]
    github.repository.commit("main", {".github/workflows/w.yml": workflow(*deep, permissions={"contents": "read"})})
    run = run_of(github)
    assert run.conclusion == "success", str(run)
    github.repository.commit("main", {".github/workflows/w.yml": workflow(CHECKOUT)})
    assert "Repository not found" in str(run_of(github))


def test_a_pull_request_is_checked_out_as_its_merge(small: Small) -> None:
    steps = [CHECKOUT, {"run": "test -f mine && test -f theirs && test $(git rev-list --count HEAD) = 1"}]
    github = small({"w.yml": workflow(*steps, permissions={"contents": "read"}, on="pull_request")})
    github.repository.commit("branch", {"mine": "x"})
    github.repository.push({"theirs": "x"})
    github.repository.open_pull_request("branch", {"more": "x"})
    assert github.repository.runs[-1].conclusion == "success", str(github.repository.runs[-1])


SIGN_IN = uses(
    "aws-actions/configure-aws-credentials",
    aws_region="us-east-1",
    role_to_assume="arn:aws:iam::123456789012:role/my-app-github-build",
)


def test_sign_in_needs_the_permission_and_a_subject_that_the_role_trusts(small: Small, bootstrapped: Account) -> None:
    account = bootstrapped(github_repository="acme/my-app")
    roles = [item["RoleName"] for item in account.call("iam", "list_roles")["Roles"]]
    [build] = [name for name in roles if "build" in name]
    sign_in = {**SIGN_IN, "with": {**SIGN_IN["with"], "role-to-assume": f"arn:aws:iam::123456789012:role/{build}"}}  # type: ignore[dict-item]
    github = small({"w.yml": workflow(sign_in)}, account=account)
    assert "Did you mean to set the `id-token` permission?" in str(run_of(github))
    file, allowed = ".github/workflows/w.yml", {"id-token": "write"}
    github.repository.commit(
        "main", {file: workflow(sign_in, {"run": 'test -n "$AWS_SESSION_TOKEN"'}, permissions=allowed)}
    )
    run = run_of(github)
    assert run.conclusion == "success", str(run)
    [branch] = github.repository.push({"y": "1"}, branch="other")
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in str(branch)
    github.repository.commit("main", {file: workflow(sign_in, permissions=allowed, environment="dev")})
    assert "Not authorized" in str(run_of(github)), "an environment's subject has no ref"
    github.repository.commit("main", {file: workflow(sign_in, permissions=allowed)})
    github.subject = "repo:acme@123/my-app@4567"
    assert "Not authorized" in str(run_of(github)), "the form with ids is another subject"
    github.subject = "repo:Acme/my-app"
    assert "Not authorized" in str(run_of(github)), "subjects are compared with regard to case"


def test_a_fork_gets_a_reading_token_no_identity_and_no_secrets(small: Small) -> None:
    steps = [
        {"run": 'test -z "$ACTIONS_ID_TOKEN_REQUEST_URL" && test -z "${{ secrets.KEY }}"'},
        {"run": "gh api repos/acme/my-app/issues/1/comments -f body=x", "env": GH},
    ]
    permissions = {"id-token": "write", "pull-requests": "write"}
    github = small({"w.yml": workflow(*steps, permissions=permissions, on="pull_request")})
    github.repository.secrets["KEY"] = "hidden"
    github.repository.open_pull_request("fork", {"x": "1"}, fork=True)
    [run] = github.repository.runs
    assert [result for _, result, _ in run.job("job").outcome.steps if result != "skipped"].count("failure") == 1
    assert "Resource not accessible by integration (HTTP 403)" in str(run)
    assert "no secrets" not in str(run)


def test_dependabot_has_no_secrets(small: Small) -> None:
    github = small({"w.yml": workflow({"run": 'test -z "${{ secrets.KEY }}"'}, on="pull_request")})
    github.repository.secrets["KEY"] = "hidden"
    github.repository.open_pull_request("dependabot/pip/x", {"x": "1"}, author=DEPENDABOT)
    assert github.repository.runs[0].conclusion == "success", str(github.repository.runs[0])
    github.repository.open_pull_request("mine", {"y": "1"})
    assert github.repository.runs[1].conclusion == "failure"


@pytest.mark.parametrize(
    ("needed", "command"),
    [
        ({"issues": "write"}, "gh api repos/acme/my-app/issues -f title=x"),
        ({"issues": "read"}, "gh api repos/acme/my-app/issues --paginate --slurp"),
        ({"pull-requests": "read"}, "gh api repos/acme/my-app/pulls"),
        ({"actions": "read"}, "gh api repos/acme/my-app/actions/runs"),
        ({"actions": "read"}, "gh api repos/acme/my-app/environments"),
        ({"checks": "read"}, "gh api repos/acme/my-app/commits/main/check-runs"),
        ({"deployments": "read"}, "gh api repos/acme/my-app/deployments"),
        ({"contents": "read"}, "gh api repos/acme/my-app/commits/main"),
    ],
)
def test_a_call_needs_its_permission(small: Small, needed: dict[str, str], command: str) -> None:
    github = small({"w.yml": workflow({"run": command, "env": GH})})
    assert "Resource not accessible by integration (HTTP 403)" in str(run_of(github))
    github.repository.commit(
        "main", {".github/workflows/w.yml": workflow({"run": command, "env": GH}, permissions=needed)}
    )
    run = run_of(github)
    assert run.conclusion == "success", str(run)


def test_gh_refuses_without_a_token_and_jobs_cannot_administrate(small: Small) -> None:
    everything = dict.fromkeys(("actions", "contents", "issues", "deployments"), "write")
    steps = [
        {"run": "gh api repos/acme/my-app || echo status $?"},
        {"run": "gh api repos/acme/my-app/environments/prod --method PUT || echo refused", "env": GH},
        {"run": "gh api repos/acme/my-app/actions/variables || echo refused too", "env": GH},
        {"run": "gh repo view"},
    ]
    run = run_of(small({"w.yml": workflow(*steps, permissions=everything)}))
    text = "\n".join(output for _, _, output in run.job("job").outcome.steps)
    assert "set the GH_TOKEN environment variable" in text
    assert text.count("Resource not accessible by integration (HTTP 403)") == 2
    assert "no command repo view" in text


def test_artifacts_are_taken_once_hidden_files_stay_and_other_runs_need_a_permission(small: Small) -> None:
    steps = [
        {"run": "mkdir -p out/.hidden && touch out/a out/.hidden/b"},
        uses("actions/upload-artifact", name="one", path="out"),
        uses("actions/download-artifact", name="one", path="back"),
        {"run": "test -f back/a && test ! -e back/.hidden"},
        uses("actions/upload-artifact", name="one", path="out"),
    ]
    github = small({"w.yml": workflow(*steps)})
    assert "(409) Conflict" in str(run_of(github))
    file = ".github/workflows/w.yml"
    for step, says in (
        (uses("actions/upload-artifact", name="a/b", path="README.md"), "artifact name is not valid"),
        (uses("actions/upload-artifact", name="a", path="none", if_no_files_found="error"), "No files were found"),
        (uses("actions/download-artifact", name="none"), "Artifact not found for name: none"),
        (uses("actions/download-artifact", name="one", run_id=github.repository.runs[0].id), "github-token is needed"),
        (
            uses(
                "actions/download-artifact",
                name="one",
                run_id=github.repository.runs[0].id,
                github_token="${{ github.token }}",  # noqa: S106
            ),
            "Resource not accessible by integration",
        ),
    ):
        github.repository.commit("main", {file: workflow(step)})
        assert says in str(run_of(github))


def test_attestations_need_permissions_and_a_plan_that_has_them(small: Small) -> None:
    step = uses("actions/attest", subject_name="x", subject_digest=f"sha256:{'a' * 64}")
    allowed = {"id-token": "write", "attestations": "write"}
    github = small({"w.yml": workflow(step)})
    assert 'missing "id-token" permission' in str(run_of(github))
    file = ".github/workflows/w.yml"
    github.repository.commit("main", {file: workflow(step, permissions={"id-token": "write"})})
    assert "Resource not accessible by integration" in str(run_of(github))
    github.repository.commit("main", {file: workflow(step, permissions=allowed)})
    assert run_of(github).conclusion == "success"
    github.repository.attestations = False
    assert "Feature not available for the acme organization" in str(run_of(github))
    verify = {"run": f"gh attestation verify oci://x@sha256:{'a' * 64} --repo acme/my-app", "env": GH}
    github.repository.commit("main", {file: workflow(verify, permissions={"attestations": "read"})})
    assert run_of(github).conclusion == "success"
    other = {"run": f"gh attestation verify oci://x@sha256:{'b' * 64} --repo acme/my-app", "env": GH}
    github.repository.commit("main", {file: workflow(other, permissions={"attestations": "read"})})
    assert "HTTP 404" in str(run_of(github))


def test_code_scanning_and_dependency_review_need_permissions_and_code_security(small: Small) -> None:
    sarif = {"version": "2.1.0", "runs": []}
    upload = uses("github/codeql-action/upload-sarif") | {"with": {"sarif_file": "a.sarif"}}
    steps = [{"run": f"echo '{json.dumps(sarif)}' > a.sarif"}, upload]
    github = small({"w.yml": workflow(*steps, permissions={"security-events": "write"})})
    assert "Resource not accessible by integration" in str(run_of(github)), "a private repository needs actions: read"
    file = ".github/workflows/w.yml"
    allowed = {"security-events": "write", "actions": "read", "contents": "read"}
    github.repository.commit("main", {file: workflow(*steps, permissions=allowed)})
    assert run_of(github).conclusion == "success"
    github.repository.code_security = False
    assert "Code Security must be enabled" in str(run_of(github))
    review = uses("actions/dependency-review-action")
    github.repository.commit("main", {file: workflow(review, permissions={"contents": "read"}, on="pull_request")})
    github.repository.open_pull_request("one", {"one": "1"})
    assert "Dependency review is not supported on this repository" in str(github.repository.runs[-1])


def test_docker_wants_a_context_a_dockerfile_and_a_login(small: Small, bootstrapped: Account) -> None:
    account = bootstrapped(github_repository="acme/my-app")
    account.call("ecr", "create_repository", repositoryName="my-app")
    registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    github = small({"w.yml": workflow({"run": "true"})}, account=account, keys=True)
    github.repository.commit("main", {"app/Dockerfile": "FROM x\nCOPY app/there.txt /\n", "app/there.txt": "x"})
    build = f"docker build --file app/Dockerfile --tag {registry}/my-app:1"
    for command, says in (
        (f"{build} app", '"/app/there.txt": not found'),
        ("docker build --tag x .", "failed to read dockerfile"),
        (f"echo app > .dockerignore && {build} .", '"/app/there.txt": not found'),
        (f"{build} . && docker push {registry}/my-app:1", "no basic auth credentials"),
        (f"docker pull {registry}/my-app:none", "no basic auth credentials"),
        ("docker compose up", "no command compose up"),
        (f"{build} . && docker run --isolate {registry}/my-app:1", "unknown flag: --isolate"),
        (f"{build} . && docker run --volume=$PWD/none:/none:ro {registry}/my-app:1", "no such file to mount"),
        (f"{build} . && docker run {registry}/my-app:1", "no command specified"),
        ("docker run my-app:none", "Unable to find image"),
    ):
        steps = [CHECKOUT, {"run": command}]
        github.repository.commit(
            "main", {".github/workflows/w.yml": workflow(*steps, permissions={"contents": "read"})}
        )
        assert says in str(run_of(github)), command
    login = f"echo secret | docker login --username AWS --password-stdin {registry}"
    steps = [
        CHECKOUT,
        {"run": f"{build} . && {login} && docker push {registry}/my-app:1 && docker pull {registry}/my-app:1"},
    ]
    github.repository.commit("main", {".github/workflows/w.yml": workflow(*steps, permissions={"contents": "read"})})
    run = run_of(github)
    assert run.conclusion == "success", str(run)


def test_caches_are_found_by_their_key_and_not_by_another_pull_request(small: Small) -> None:
    steps = [
        uses("actions/cache", path="kept", key="k-${{ github.ref }}", restore_keys="k-"),
        {"run": "ls kept/* || (mkdir kept && touch kept/${{ github.event.number }})"},
    ]
    github = small({"w.yml": workflow(*steps, on=["pull_request", "push"])})
    github.repository.open_pull_request("one", {"one": "1"})
    github.repository.open_pull_request("two", {"two": "1"})
    outputs = [job.outcome.steps for run in github.repository.runs if run.event == "pull_request" for job in run.jobs()]
    assert all("Cache not found" in str(steps) for steps in outputs), "\n".join(map(str, github.repository.runs))
    github.repository.push({"three": "1"})
    github.repository.open_pull_request("four", {"four": "1"})
    last = [run for run in github.repository.runs if run.event == "pull_request"][-1]
    assert "Cache restored from key" in str(last.job("job").outcome.steps)
