"""What GitHub's jobs type: settings, what changed, comments and drift; and what an administrator sets in GitHub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from ops.cli import cli
from ops.github import changes, plans, pulls
from ops.project import load
from ops.review import Change

from tests.machinery import ROOT
from tests.machinery.ops.conftest import BUCKET, Ops, Settings, bash
from tests.machinery.ops.fake_github import GitHub, install


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project's settings, as the current folder."""
    copy = tmp_path / "repository"
    copy.mkdir()
    shutil.copy(ROOT / "project.yaml", copy)
    shutil.copytree(ROOT / "infra/config", copy / "infra/config")
    shutil.copytree(ROOT / ".github/rulesets", copy / ".github/rulesets")
    for layer in ("account", "network", "build-repository", "database", "service"):
        if (ROOT / "infra" / layer).is_dir():
            (copy / "infra" / layer).mkdir()
    if (ROOT / "role_manager").is_dir():
        (copy / "role_manager").mkdir()
    monkeypatch.chdir(copy)
    for name in ("GITHUB_OUTPUT", "ENV", "ROLE", "BASE", "PULL_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    return copy


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    return install(tmp_path, monkeypatch)


@pytest.fixture
def run(repository: Path) -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    return call


@pytest.fixture
def name(repository: Path) -> str:
    text = (repository / "project.yaml").read_text()
    return next(line.split("'")[1] for line in text.splitlines() if line.startswith("github_repository:"))


def outputs(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_settings_become_outputs(
    run: Callable[..., Result], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    result = run("github-settings", "--env", "prod", "--role", "apply")
    assert result.exit_code == 0, result.output
    found = outputs(tmp_path / "output")
    assert found["role_arn"].endswith("-github-apply-prod")
    assert "prod" in json.loads(found["environments"])
    planned = {job["environment"]: job["layers"].split() for job in json.loads(found["plans"])}
    assert planned[""] == ["account", "build-repository"]
    assert planned["prod"][0] == "network"
    assert planned["prod"][-1] == "service"
    assert set(json.loads(found["parts"])) >= {"app", "ops", "infra", "rehearsal"}


def test_the_subjects_that_jobs_emit_are_those_that_the_account_trusts(repository: Path) -> None:
    """Both forms of GitHub's subjects, for every job that signs in, against infra/account as Terraform evaluates it."""
    import yaml

    trusted = _trusted_subjects()
    project = yaml.safe_load((ROOT / "project.yaml").read_text())
    prefix = project["github_oidc_subject_prefix"]
    emitted: dict[str, set[str]] = {}
    for workflow in ("ci", "plan", "cd", "drift", "preview", "security", "sign-in"):
        body = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text())
        contexts = []
        if "pull_request" in body[True]:
            contexts.append("pull_request")
        if {"push", "schedule"} & set(body[True]):
            contexts.append("ref:refs/heads/main")
        for job in body["jobs"].values():
            for role, environment in _signs_in(job):
                if environment:
                    emitted.setdefault(role, set()).add(f"{prefix}:environment:{environment}")
                else:
                    emitted.setdefault(role, set()).update(f"{prefix}:{context}" for context in contexts)
    app = project["app_name"]
    assert emitted["plan"] == set(trusted[f"{app}-github-plan"])
    assert emitted["build"] == set(trusted[f"{app}-github-build"])
    assert emitted["preview"] == {f"{prefix}:environment:preview"}
    assert set(trusted.get(f"{app}-github-preview", [])) == (
        emitted["preview"] if "dev" in project["environments"] else set()
    )
    for environment in project["environments"]:
        wanted = {f"{prefix}:environment:{environment}"}
        assert wanted == set(trusted[f"{app}-github-apply-{environment}"])
        assert wanted <= emitted["apply"]


def _signs_in(job: dict[str, Any]) -> list[tuple[str, str]]:
    """Roles and GitHub environments with which a job, or the workflow it calls, signs in."""
    import yaml

    if "uses" in job:
        called = yaml.safe_load((ROOT / job["uses"].removeprefix("./")).read_text())
        given = str(job.get("with", {}).get("environment", ""))
        return [
            (
                job["with"].get("role", "build") if "inputs.role" in role else role,
                given if "inputs.environment" in name else name,
            )
            for inner in called["jobs"].values()
            for role, name in _signs_in(inner)
        ]
    environment = job.get("environment", "")
    name = environment["name"] if isinstance(environment, dict) else environment
    names = list(load().environments) if name == "${{ matrix.environment }}" else [name]
    roles: list[str] = []
    for step in job.get("steps", []):
        role = str(step.get("with", {}).get("role", "")) if step.get("uses", "").startswith("./") else ""
        matrix = job.get("strategy", {}).get("matrix", {})
        roles += (
            matrix["role"] if role == "${{ matrix.role }}" else re.findall(r"^\w+$|inputs\.role|(?<=')plan(?=')", role)
        )
    return [(role, name) for role in roles for name in names]


def _trusted_subjects() -> dict[str, list[str]]:
    """Subjects in infra/account/github.tf, evaluated without the provider: its locals in a module of their own."""
    import tempfile

    text = (ROOT / "infra/account/github.tf").read_text()
    locals_and_module = text[text.index("locals {") : text.index('resource "aws_iam_openid_connect_provider"')]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "infra/account")
        folder.mkdir(parents=True)
        shutil.copytree(ROOT / "infra/config", folder.parent / "config")
        shutil.copy(ROOT / "project.yaml", temporary)
        main = (ROOT / "infra/account/main.tf").read_text()
        kept = main[: main.index('provider "aws"')] + main[main.index("locals {") :]
        (folder / "main.tf").write_text(
            kept
            + locals_and_module
            + (ROOT / "infra/account/owners.tf").read_text()
            + 'output "subjects" {\n  value = { for role, trusted in local.trust : role => flatten(trusted[*].subjects) }\n}\n'
        )
        shutil.copy(ROOT / "infra/account/variables.tf", folder)
        for arguments in (["init", "-backend=false"], ["plan", "-out=plan"]):
            done = subprocess.run(["terraform", *arguments], cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        shown = subprocess.run(
            ["terraform", "show", "-json", "plan"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    subjects: dict[str, list[str]] = json.loads(shown.stdout)["planned_values"]["outputs"]["subjects"]["value"]
    return subjects


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["app/main.py"], {"app", "image", "rehearsal"}),
        (["docs/runbooks/deploy.md", "README.md"], set()),
        (["infra/network/main.tf"], {"infra", "rehearsal"}),
        (["ops/cli.py"], {"ops", "rehearsal"}),
        (["Makefile"], None),
        ([".github/workflows/ci.yml"], None),
        (["something/new.txt"], None),
    ],
)
def test_ci_tests_what_changed(files: list[str], expected: set[str] | None) -> None:
    every = set(changes.parts(ROOT, None))
    assert set(changes.parts(ROOT, files)) == (every if expected is None else expected & every)


def test_settings_of_a_pull_request_list_only_what_changed(run: Callable[..., Result], repository: Path) -> None:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=repository,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "one")
    base = git("rev-parse", "HEAD")
    (repository / "infra/network/main.tf").write_text("# changed\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "two")
    result = run("github-settings", "--base", base)
    assert result.exit_code == 0, result.output
    found = dict(line.split("=", 1) for line in result.output.splitlines())
    assert {job["layers"] for job in json.loads(found["plans"])} == {"network"}
    assert json.loads(found["parts"]) == ["infra", "rehearsal"]
    # What moves out of a folder is a change of that folder.
    git("mv", "infra/network/main.tf", "docs.txt")
    git("commit", "--quiet", "--message", "three")
    moved = changes.changed_files(repository, "HEAD~1")
    assert sorted(moved) == ["docs.txt", "infra/network/main.tf"]
    assert run("github-settings", "--base", "0" * 40).exit_code == 1


@given(st.lists(st.text(max_size=90_000), max_size=8), st.booleans())
def test_a_comment_fits_and_names_every_plan(texts: list[str], failed: bool) -> None:
    found = [
        plans.Planned(
            "network",
            f"e{number}",
            "1 to add",
            changes={"a.b": Change("create")},
            text=text,
            error="broken" if failed else "",
        )
        for number, text in enumerate(texts)
    ]
    written = plans.markdown(found)
    assert len(written) <= plans.COMMENT_CHARACTERS
    for number in range(len(texts)):
        assert f"| network | e{number} |" in written
        assert f"<summary>network of e{number}</summary>" in written
    assert written.count("```") == 2 * len(texts)


@pytest.mark.parametrize("character", ["x", "ü", "日", "🚀"])
def test_a_summary_is_never_larger_than_github_takes(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    """GitHub counts its bytes, and drops the whole of one that is too large."""
    planned = [plans.Planned("network", "prod", "1 to add", CHANGED.changes, text=character * 2_000_000)] * 2
    monkeypatch.setattr(plans, "make", lambda *_: planned)
    monkeypatch.setattr(pulls, "connect", lambda _project: None)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    assert run("github-plan", "--env", "prod", "--layers", "network network").exit_code == 0
    assert 990_000 < (tmp_path / "summary").stat().st_size < 1024 * 1024
    assert (tmp_path / "summary").read_text(encoding="utf-8").count("shortened") == 2


def left(*found: plans.Planned) -> None:
    plans.write(load(), found)


CHANGED = plans.Planned("network", "prod", "1 to add", changes={"a.b": Change("create", {"x": "1"})}, text="+ a.b")
SAME = plans.Planned("account", "", "no changes")


def test_one_comment_is_written_and_then_written_anew(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    left(CHANGED, SAME)
    people = [
        {"id": 1, "user": {"type": "User"}, "body": "somebody else's"},
        {"id": 3, "user": {"type": "User"}, "body": f"{pulls.COMMENT_MARK}\nwhoever writes this can change it later"},
        {"id": 4, "user": None, "body": f"{pulls.COMMENT_MARK}\nof somebody who is gone"},
    ]
    fake.answer(f"repos/{name}/issues/7/comments", people)
    assert run("github-comment", "--pull-request", "7").exit_code == 0
    fake.answer(
        f"repos/{name}/issues/7/comments",
        [*people, {"id": 2, "user": {"type": "Bot"}, "body": fake.changes[0][2]["body"]}],
    )
    assert run("github-comment", "--pull-request", "7").exit_code == 0
    assert [call[:2] for call in fake.changes] == [
        ["POST", f"repos/{name}/issues/7/comments"],
        ["PATCH", f"repos/{name}/issues/comments/2"],
    ]
    assert "+ a.b" in fake.changes[1][2]["body"]


def every() -> list[plans.Planned]:
    return [
        plans.Planned(layer, job["environment"], "no changes")
        for job in changes.plans(load(), None)
        for layer in job["layers"].split()
    ]


def test_drift_opens_updates_and_closes_one_issue(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    left(*every(), CHANGED)
    issues = f"repos/{name}/issues?state=open&labels=drift"
    fake.answer(issues, [])
    assert run("github-drift").exit_code == 0
    fake.answer(issues, [{"number": 5, "title": pulls.DRIFT_TITLE}])
    assert run("github-drift").exit_code == 0
    left(*every())
    assert run("github-drift").exit_code == 0
    assert [call[:2] for call in fake.changes] == [
        ["POST", f"repos/{name}/issues"],
        ["PATCH", f"repos/{name}/issues/5"],
        ["POST", f"repos/{name}/issues/5/comments"],
        ["PATCH", f"repos/{name}/issues/5"],
    ]
    assert "+ a.b" in fake.changes[0][2]["body"]
    assert fake.changes[0][2]["labels"] == ["drift"]
    assert "labels" not in fake.changes[1][2], "GitHub takes them for all, and those of a person are gone"
    assert fake.changes[3][2] == {"state": "closed"}


def test_the_sweep_keeps_the_preview_of_a_label_in_other_letters(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that had a label Preview keeps it: the workflow takes it for ours, and so must the sweep."""
    if "dev" not in load().environments:
        pytest.skip("no previews without dev")
    removed: list[str] = []
    monkeypatch.setattr("ops.github.previews.workspaces", lambda *_: ["pr-1", "pr-2", "pr-3"])
    monkeypatch.setattr("ops.github.previews._down", removed.append)
    fake.answer(
        f"repos/{name}/pulls?state=open",
        [{"number": 1, "labels": [{"name": "Preview"}]}, {"number": 2, "labels": [{"name": "previews"}]}],
    )
    result = run("github-sweep")
    assert result.exit_code == 0, result.exception
    assert removed == ["pr-2", "pr-3"]


def test_plans_that_could_not_be_made_are_drift_too(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    left(*every()[1:])
    fake.answer(f"repos/{name}/issues?state=open&labels=drift", [])
    assert run("github-drift", "--result", "failure").exit_code == 0
    assert "1 plans could not be made" in fake.changes[0][2]["body"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"use_default": True, "sub_claim_prefix": ""}, "repo:{name}"),
        ({"use_default": True, "sub_claim_prefix": "repo:o@1/r@2"}, "repo:o@1/r@2"),
        ({"use_default": True, "sub_claim_prefix": "repo:o@1/r@2:"}, "repo:o@1/r@2"),
    ],
)
def test_the_subject_is_read_from_github_and_written(
    run: Callable[..., Result],
    repository: Path,
    fake: GitHub,
    name: str,
    answer: dict[str, Any],
    expected: str,
) -> None:
    import yaml

    before = yaml.safe_load((repository / "project.yaml").read_text())
    fake.answer(f"repos/{name}/actions/oidc/customization/sub", answer)
    fake.answer(f"repos/{name}", {"full_name": name})
    result = run("github-subject")
    assert result.exit_code == 0, result.output
    after = yaml.safe_load((repository / "project.yaml").read_text())
    assert after == before | {"github_oidc_subject_prefix": expected.format(name=name)}


def test_a_subject_of_the_repositorys_own_making_is_refused(
    run: Callable[..., Result], fake: GitHub, name: str
) -> None:
    fake.answer(
        f"repos/{name}/actions/oidc/customization/sub",
        {"use_default": False, "include_claim_keys": ["ref"]},
    )
    result = run("github-subject")
    assert result.exit_code == 1
    assert "own making" in str(result.exception)


def test_environments_are_made_with_reviewers_and_branch(run: Callable[..., Result], fake: GitHub, name: str) -> None:
    assert run("github-environments").exit_code != 0  # prod is protected, so somebody must be named
    fake.answer("users/ada", {"id": 42})
    fake.answer(f"repos/{name}/rulesets", [{"id": 1, "name": "main", "source_type": "Organization"}])
    fake.answer(f"repos/{name}/rulesets?includes_parents=false", [])
    from ops.project import load

    for environment in load().environments:
        fake.answer(
            f"repos/{name}/environments/{environment}/deployment-branch-policies",
            {"branch_policies": []},
        )
    assert run("github-environments", "--reviewer", "ada", "--plan").exit_code == 0
    assert fake.changes == []
    result = run("github-environments", "--reviewer", "ada")
    assert result.exit_code == 0, result.output
    made = {path: body for method, path, body in fake.changes if method == "PUT"}
    prod = made[f"repos/{name}/environments/prod"]
    assert prod["reviewers"] == [{"type": "User", "id": 42}]
    rules = next(body for method, path, body in fake.changes if path == f"repos/{name}/rulesets")
    assert {"context": "Required"} in next(
        rule["parameters"]["required_status_checks"]
        for rule in rules["rules"]
        if rule["type"] == "required_status_checks"
    )


def test_without_gh_the_message_says_what_to_install(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    terraform = shutil.which("terraform")
    assert terraform
    monkeypatch.setenv("PATH", str(Path(terraform).parent))
    if shutil.which("gh"):
        pytest.skip("gh stands beside terraform here, so it cannot be hidden")
    result = run("github-subject")
    assert result.exit_code == 1
    assert "not installed" in str(result.exception)


def test_a_plan_that_fails_is_told_in_the_comment(deployed: Settings, ops: Ops, fake: GitHub) -> None:
    Path("infra/network/main.tf").write_text("resource broken")
    assert ops("github-plan", "--layers", "network service", "--env", "dev").code == 1
    fake.answer("repos/acme/shop/issues/7/comments", [])
    assert ops("github-comment", "--pull-request", "7").code == 0
    assert "| network | dev | **failed** |" in fake.changes[0][2]["body"]
    assert "| service | dev | no changes |" in fake.changes[0][2]["body"]


def test_what_is_not_there_yet_is_a_result_and_no_error(
    account_ready: Settings, ops: Ops, fake: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between bootstrap and the first `up` every plan is green, nothing is drift, and nothing is deployed to."""
    for job in changes.plans(load(), None):
        names = job["layers"].replace("account ", "")  # which this fixture made in a way of its own
        result = ops("github-plan", "--layers", names, *(["--env", job["environment"]] if job["environment"] else []))
        assert result.code == 0, result.text
        assert "not applied yet" in result.out
    plans.write(load(), [SAME])
    fake.answer("repos/acme/shop/issues?state=open&labels=drift", [])
    result = ops("github-drift")
    assert result.code == 0, result.text
    assert "no drift" in result.out
    assert fake.changes == []
    ready = ops("github-ready")
    assert "environments=[]" in ready.out
    assert "make up" in ready.out


def test_a_layer_that_went_missing_below_a_service_is_an_error(deployed: Settings, ops: Ops, client: Any) -> None:
    client("s3").delete_object(Bucket=BUCKET, Key="network/dev.tfstate")
    result = ops("github-plan", "--layers", "network", "--env", "dev")
    assert result.code == 1
    assert "not applied, although its service is" in result.err


def test_plans_take_no_locks(deployed: Settings, ops: Ops, client: Any) -> None:
    lock = {"ID": "1", "Operation": "OperationTypeApply", "Who": "maria@laptop", "Created": "2026-01-31T08:00:00Z"}
    client("s3").put_object(Bucket=BUCKET, Key="network/dev.tfstate.tflock", Body=json.dumps(lock).encode())
    assert ops("github-plan", "--layers", "network", "--env", "dev").code == 0
    assert ops("plan", "--layer", "network", "--env", "dev").code == 0


def test_only_environments_that_are_there_are_deployed_to(deployed: Settings, ops: Ops) -> None:
    assert 'environments=["dev"]' in ops("github-ready").out


@pytest.mark.parametrize(
    ("says", "status", "next_step"),
    [
        ("Bad credentials", 401, "gh auth login"),
        ("Not Found", 404, "github_repository in project.yaml"),
        ("Must have admin rights", 403, "administrator"),
        ("API rate limit exceeded", 403, "wait some minutes"),
        ("Upgrade to GitHub Pro", 403, "GitHub's plan"),
        ("Validation Failed", 422, "the reason stands above"),
        ("Server Error", 502, "could not be reached"),
    ],
)
def test_a_refusal_is_explained_by_its_cause(
    run: Callable[..., Result], fake: GitHub, name: str, says: str, status: int, next_step: str
) -> None:
    fake.refuse(f"repos/{name}/actions/oidc/customization/sub", status, says)
    result = run("github-subject")
    assert says in str(result.exception)
    assert next_step in result.exception.next_step  # type: ignore[union-attr]
    assert "gh auth status" not in result.exception.next_step or status == 403  # type: ignore[union-attr]


def test_a_terminal_that_wants_colours_everywhere_gets_none_in_what_is_read(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    monkeypatch.setenv("GH_FORCE_TTY", "100%")
    fake.answer(f"repos/{name}/actions/oidc/customization/sub", {"sub_claim_prefix": "repo:acme@1/shop@2:"})
    result = run("github-subject")
    assert result.exit_code == 0, result.exception
    assert "repo:acme@1/shop@2" in (repository / "project.yaml").read_text()


def test_the_subject_has_githubs_letters_and_not_those_that_were_typed(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    fake.answer(f"repos/{name}/actions/oidc/customization/sub", {"use_default": True})
    fake.answer(f"repos/{name}", {"full_name": name.upper()})
    assert run("github-subject").exit_code == 0
    assert f"github_oidc_subject_prefix: 'repo:{name.upper()}'" in (repository / "project.yaml").read_text()


def test_what_githubs_plan_does_not_have_is_told_at_the_end_and_the_rest_is_set(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    """Private repositories have no required reviewers on most plans: GitHub answers 422."""
    fake.answer("users/ada", {"id": 42})
    fake.answer(f"repos/{name}/rulesets?includes_parents=false", [])
    for environment in load().environments:
        fake.answer(f"repos/{name}/environments/{environment}/deployment-branch-policies", {"branch_policies": []})
    fake.refuse(
        f"PUT repos/{name}/environments/prod",
        422,
        "Failed to create the environment protection rule",
        where='"reviewers"',
    )
    fake.refuse(f"POST repos/{name}/rulesets", 403, "Upgrade to GitHub Pro or make this repository public")
    fake.refuse(f"POST repos/{name}/labels", 422, "already_exists")
    result = run("github-environments", "--reviewer", "ada")
    assert result.exit_code == 1
    assert "Upgrade to GitHub Pro" in str(result.exception)
    assert "github_unprotected_environments" in result.exception.next_step  # type: ignore[union-attr]
    labels = [body["name"] for method, path, body in fake.changes if path.endswith("/labels")]
    assert labels == ["preview", "drift"]


def test_an_environment_that_is_meant_to_be_unprotected_needs_no_reviewer(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    path = repository / "project.yaml"
    text = path.read_text().replace("github_unprotected_environments: []", "github_unprotected_environments: [prod]")
    path.write_text(text)
    fake.answer(f"repos/{name}/rulesets?includes_parents=false", [])
    for environment in load().environments:
        fake.answer(f"repos/{name}/environments/{environment}/deployment-branch-policies", {"branch_policies": []})
    result = run("github-environments")
    assert result.exit_code == 0, result.output
    made = {path: body for method, path, body in fake.changes if method == "PUT"}
    assert made[f"repos/{name}/environments/prod"]["reviewers"] is None


def test_a_dependency_review_that_github_does_not_offer_passes_and_a_finding_does_not(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    compare = f"repos/{name}/dependency-graph/compare/a...b"
    fake.refuse(compare, 403, "Dependency review is not supported")
    assert run("github-dependencies", "--base", "a", "--head", "b").exit_code == 0
    for says in ("API rate limit exceeded for installation", "You have exceeded a secondary rate limit"):
        fake.refuse(compare, 403, says)
        assert run("github-dependencies", "--base", "a", "--head", "b").exit_code == 1, "nobody looked"
    fake.answer(compare, [{"vulnerabilities": [{"severity": "high"}]}])
    assert run("github-dependencies", "--base", "a", "--head", "b").exit_code == 1


@pytest.mark.parametrize("attested", [True, False])
def test_the_image_of_a_commit_is_built_by_this_workflow_and_its_registry_is_signed_in_to(
    attested: bool, deployed: Settings, ops: Ops, fake: GitHub, docker: Path, push: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there already was read without a login; and an image that somebody pushed was attested as CD's own."""
    root = deployed.path.parent
    commit = bash(
        "git init -q . && git add app .dockerignore && git -c user.name=n -c user.email=e@e commit -qm one && git rev-parse HEAD",
        root,
    ).stdout.strip()
    push(commit, f"sha256:{'3' * 64}")
    fake.answer("attested", [f"sha256:{'3' * 64}"] if attested else [])
    monkeypatch.setenv("GITHUB_RUN_ID", "77")
    result = ops("github-image")
    assert result.code == 0, result.text
    calls = [line.split()[0] for line in docker.read_text().splitlines()]
    assert calls[0] == "login"
    if attested:
        assert calls == ["login"]
        assert f"digest=sha256:{'3' * 64}" in result.out
        assert "built=false" in result.out
    else:
        assert "push" in calls
        assert f"{commit}-77.1" in docker.read_text()
        assert "built=true" in result.out


def test_a_sign_in_that_is_another_role_fails(deployed: Settings, ops: Ops) -> None:
    result = ops("github-sign-in", "--role", "plan")
    assert result.code == 1
    assert "and not shop-github-plan" in result.err


def test_bootstrap_asks_how_tokens_begin_and_tells_that_there_are_roles(
    project: Settings, ops: Ops, fake: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_GITHUB", "1")
    monkeypatch.setattr("ops.bootstrap.run", lambda *_arguments, **_options: None)
    text = project.path.read_text()
    fake.answer("repos/acme/shop/actions/oidc/customization/sub", {"sub_claim_prefix": "repo:acme@1/shop@2"})
    result = ops("bootstrap", "--yes")
    assert result.code == 0, result.text
    assert "repo:acme@1/shop@2" in project.path.read_text()
    assert fake.changes == [["POST", "repos/acme/shop/actions/variables", {"name": "BOOTSTRAPPED", "value": "true"}]]
    # It is there already; and a second time.
    fake.refuse("POST repos/acme/shop/actions/variables", 409, "Already exists")
    assert ops("bootstrap", "--yes").code == 0
    assert fake.changes[-1][:2] == ["PATCH", "repos/acme/shop/actions/variables/BOOTSTRAPPED"]
    # GitHub does not answer: the roles are made as project.yaml says, and the words say what to do.
    project.path.write_text(text)
    for call in ("repos/acme/shop/actions/oidc/customization/sub", "POST repos/acme/shop/actions/variables"):
        fake.refuse(call, 401, "Bad credentials")
    result = ops("bootstrap", "--yes")
    assert result.code == 0, result.text
    assert "gh auth login" in result.err
    assert project.path.read_text() == text
