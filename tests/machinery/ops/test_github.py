"""What GitHub's jobs type, with a `gh` on the PATH that answers from a file and writes down what it was asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from ops import github
from ops.cli import cli

from tests.machinery import ROOT
from tests.machinery.ops.conftest import Ops, Settings

GH = f"""#!{sys.executable}
import json, os, pathlib, shutil, sys
here = pathlib.Path(os.environ["GH_FAKE"])
arguments = sys.argv[1:]
method = arguments[arguments.index("--method") + 1] if "--method" in arguments else "GET"
body = json.loads(sys.stdin.read()) if "--input" in arguments else None
with (here / "calls").open("a") as file:
    file.write(json.dumps([method, arguments[1], body]) + "\\n")
if arguments[:2] == ["run", "download"]:
    shutil.copytree(here / "artifact", arguments[arguments.index("--dir") + 1], dirs_exist_ok=True)
if arguments[0] != "api":
    sys.exit(0)
if method != "GET":
    print("{{}}")
    sys.exit(0)
answers = json.loads((here / "answers").read_text())
if arguments[1] not in answers:
    sys.exit(f"HTTP 404: {{arguments[1]}}")
print(json.dumps([answers[arguments[1]]]))
"""


class GitHub:
    """The `gh` of the tests: what it answers, and what it was asked to change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, Any] = {}

    def answer(self, path: str, value: Any) -> None:
        self.answers[path] = value
        (self.folder / "answers").write_text(json.dumps(self.answers))

    @property
    def changes(self) -> list[list[Any]]:
        calls = (self.folder / "calls").read_text().splitlines()
        return [call for call in map(json.loads, calls) if call[0] != "GET"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project's settings, as the current folder."""
    copy = tmp_path / "repository"
    copy.mkdir()
    shutil.copy(ROOT / "project.yaml", copy)
    shutil.copytree(ROOT / "infra/config", copy / "infra/config")
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
    folder = tmp_path / "gh"
    folder.mkdir()
    program = folder / "gh"
    program.write_text(GH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GH_FAKE", str(folder))
    (folder / "calls").touch()
    github_ = GitHub(folder)
    github_.answers = {}
    return github_


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
    every = json.loads(found["plans"])
    assert {"layer": "account", "environment": ""} in every
    assert {"layer": "service", "environment": "prod"} in every
    assert set(json.loads(found["parts"])) >= {"app", "ops", "infra", "rehearsal"}


def test_the_subjects_that_jobs_emit_are_those_that_the_account_trusts(repository: Path) -> None:
    """Both forms of GitHub's subjects, for every job that signs in, against infra/account as Terraform evaluates it."""
    import yaml

    trusted = _trusted_subjects()
    project = yaml.safe_load((ROOT / "project.yaml").read_text())
    prefix = project["github_oidc_subject_prefix"]
    emitted: dict[str, set[str]] = {}
    for workflow in ("ci", "plan", "cd", "drift", "preview", "security"):
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
        return [
            (
                job["with"].get("role", "build") if "inputs.role" in role else role,
                str(job["with"].get("environment", "")),
            )
            for inner in called["jobs"].values()
            for role, _ in _signs_in(inner)
        ]
    environment = job.get("environment", "")
    name = environment["name"] if isinstance(environment, dict) else environment
    return [
        (step["with"]["role"], name)
        for step in job.get("steps", [])
        if step.get("uses", "").startswith("./") and step.get("with", {}).get("role")
    ]


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
        (["app/main.py"], {"app", "rehearsal"}),
        (["docs/runbooks/deploy.md", "README.md"], set()),
        (["infra/network/main.tf"], {"infra", "rehearsal"}),
        (["ops/cli.py"], {"ops", "rehearsal"}),
        (["Makefile"], None),
        ([".github/workflows/ci.yml"], None),
        (["something/new.txt"], None),
    ],
)
def test_ci_tests_what_changed(files: list[str], expected: set[str] | None) -> None:
    every = set(github.parts(ROOT, None))
    assert set(github.parts(ROOT, files)) == (every if expected is None else expected & every)


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
    assert {plan["layer"] for plan in json.loads(found["plans"])} == {"network"}
    assert json.loads(found["parts"]) == ["infra", "rehearsal"]
    assert run("github-settings", "--base", "0" * 40).exit_code == 1


def change(address: str, actions: list[str], **after: Any) -> dict[str, Any]:
    return {"address": address, "change": {"actions": actions, "after": after, "after_unknown": {}}}


def test_a_fingerprint_is_of_the_change_and_not_of_the_image() -> None:
    one = {"resource_changes": [change("a.b", ["update"], image=f"x@sha256:{'1' * 64}", cpu=256)]}
    other_image = {"resource_changes": [change("a.b", ["update"], image=f"x@sha256:{'2' * 64}", cpu=256)]}
    other_size = {"resource_changes": [change("a.b", ["update"], image=f"x@sha256:{'1' * 64}", cpu=512)]}
    nothing = {"resource_changes": [change("a.b", ["no-op"], cpu=1), change("data.c.d", ["read"])]}
    assert github.fingerprint(one) == github.fingerprint(other_image) != ""
    assert github.fingerprint(one) != github.fingerprint(other_size)
    assert github.fingerprint(nothing) == github.fingerprint({}) == ""


@given(st.permutations([change("a.a", ["create"], n=1), change("b.b", ["delete"]), change("c.c", ["update"], n=2)]))
def test_a_fingerprint_does_not_depend_on_order(changes: list[dict[str, Any]]) -> None:
    expected = github.fingerprint(
        {
            "resource_changes": [
                change("a.a", ["create"], n=1),
                change("b.b", ["delete"]),
                change("c.c", ["update"], n=2),
            ]
        }
    )
    assert github.fingerprint({"resource_changes": changes}) == expected


@given(st.lists(st.text(max_size=90_000), max_size=8), st.booleans())
def test_a_comment_fits_and_names_every_plan(texts: list[str], failed: bool) -> None:
    found = [
        github.Reviewed("network", f"e{number}", "1 to add", "x", [], text, error="broken" if failed else "")
        for number, text in enumerate(texts)
    ]
    written = github.render(found)
    assert len(written) <= github.COMMENT_CHARACTERS
    for number in range(len(texts)):
        assert f"| network | e{number} |" in written
        assert f"<summary>network of e{number}</summary>" in written
    assert written.count("```") == 2 * len(texts)


def left(repository: Path, *found: github.Reviewed) -> None:
    folder = repository / ".ops/github"
    folder.mkdir(parents=True, exist_ok=True)
    for item in found:
        (folder / f"{item.layer}-{item.environment}.json").write_text(json.dumps(item.__dict__))


CHANGED = github.Reviewed("network", "prod", "1 to add, 0 to change, 0 to remove", "abc", ["create a.b"], "+ a.b")
SAME = github.Reviewed("account", "", "no changes", "", [], "")


def test_one_comment_is_written_and_then_written_anew(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    left(repository, CHANGED, SAME)
    fake.answer(f"repos/{name}/issues/7/comments", [{"id": 1, "body": "somebody else's"}])
    assert run("github-comment", "--pull-request", "7").exit_code == 0
    fake.answer(
        f"repos/{name}/issues/7/comments",
        [{"id": 1, "body": "other"}, {"id": 2, "body": fake.changes[0][2]["body"]}],
    )
    assert run("github-comment", "--pull-request", "7").exit_code == 0
    assert [call[:2] for call in fake.changes] == [
        ["POST", f"repos/{name}/issues/7/comments"],
        ["PATCH", f"repos/{name}/issues/comments/2"],
    ]
    assert "+ a.b" in fake.changes[1][2]["body"]


def every(repository: Path) -> list[github.Reviewed]:
    from ops.project import load

    return [
        github.Reviewed(plan["layer"], plan["environment"], "no changes", "", [], "")
        for plan in github.plans(load(), None)
    ]


def test_drift_opens_updates_and_closes_one_issue(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    left(repository, *every(repository), CHANGED)
    issues = f"repos/{name}/issues?state=open&labels=drift"
    fake.answer(issues, [])
    assert run("github-drift").exit_code == 0
    fake.answer(issues, [{"number": 5, "title": github.DRIFT_TITLE}])
    assert run("github-drift").exit_code == 0
    left(repository, *every(repository))
    assert run("github-drift").exit_code == 0
    assert [call[:2] for call in fake.changes] == [
        ["POST", f"repos/{name}/issues"],
        ["PATCH", f"repos/{name}/issues/5"],
        ["POST", f"repos/{name}/issues/5/comments"],
        ["PATCH", f"repos/{name}/issues/5"],
    ]
    assert "+ a.b" in fake.changes[0][2]["body"]
    assert fake.changes[3][2] == {"state": "closed"}


def test_plans_that_could_not_be_made_are_drift_too(
    run: Callable[..., Result], repository: Path, fake: GitHub, name: str
) -> None:
    left(repository, *every(repository)[1:])
    fake.answer(f"repos/{name}/issues?state=open&labels=drift", [])
    assert run("github-drift", "--result", "failure").exit_code == 0
    assert "1 plans could not be made" in fake.changes[0][2]["body"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"use_default": True}, "repo:{name}"),
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
    fake.answer(f"repos/{name}/rulesets", [])
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


@pytest.fixture
def reviewed(deployed: Settings, ops: Ops, fake: GitHub, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """A pull request that adds something to dev's network: planned, reviewed and merged."""
    monkeypatch.setenv("GITHUB_SHA", "b" * 40)
    network = Path("infra/network/main.tf")
    network.write_text(network.read_text() + '\nresource "terraform_data" "extra" {\n  input = "1"\n}\n')
    result = ops("github-plan", "--layer", "network", "--env", "dev")
    assert result.code == 0, result.text
    shutil.copytree(".ops/github", fake.folder / "artifact/plan-network-dev")
    fake.answer(
        f"repos/acme/shop/commits/{'b' * 40}/pulls",
        [{"number": 7, "merged_at": "2026-01-01", "head": {"sha": "a" * 40}}],
    )
    fake.answer("repos/acme/shop/pulls/7/files", [{"filename": "infra/network/main.tf"}])
    fake.answer(
        f"repos/acme/shop/actions/workflows/plan.yml/runs?head_sha={'a' * 40}&status=success",
        {"workflow_runs": [{"id": 1}]},
    )
    return fake


def changed(ops: Ops) -> int:
    """5 while the network of dev is not as its code says, else 0."""
    return ops("plan", "--layer", "network", "--env", "dev", "--detailed-exitcode").code


def test_what_was_reviewed_is_applied(reviewed: GitHub, ops: Ops) -> None:
    assert changed(ops) == 5
    result = ops("github-apply", "--env", "dev")
    assert result.code == 0, result.text
    assert changed(ops) == 0
    again = ops("github-apply", "--env", "dev")
    assert again.code == 0
    assert "already as reviewed" in again.out


def test_what_was_not_reviewed_is_not_applied(reviewed: GitHub, ops: Ops) -> None:
    network = Path("infra/network/main.tf")
    network.write_text(network.read_text().replace('input = "1"', 'input = "2"'))
    result = ops("github-apply", "--env", "dev")
    assert result.code == 1
    assert "no longer the one that was reviewed" in result.err
    assert changed(ops) == 5


def test_a_merge_without_infrastructure_applies_nothing(reviewed: GitHub, ops: Ops) -> None:
    reviewed.answer("repos/acme/shop/pulls/7/files", [{"filename": "README.md"}])
    result = ops("github-apply", "--env", "dev")
    assert result.code == 0
    assert "changes no infrastructure" in result.out
    assert changed(ops) == 5


def test_a_commit_without_pull_request_or_plan_applies_nothing(reviewed: GitHub, ops: Ops) -> None:
    runs = f"repos/acme/shop/actions/workflows/plan.yml/runs?head_sha={'a' * 40}&status=success"
    reviewed.answer(runs, {"workflow_runs": []})
    assert "no finished plan" in ops("github-apply", "--env", "dev").err
    reviewed.answer(f"repos/acme/shop/commits/{'b' * 40}/pulls", [])
    assert "nobody reviewed" in ops("github-apply", "--env", "dev").err
    assert changed(ops) == 5


def test_a_plan_that_fails_is_told_in_the_comment(deployed: Settings, ops: Ops, fake: GitHub) -> None:
    Path("infra/network/main.tf").write_text("resource broken")
    assert ops("github-plan", "--layer", "network", "--env", "dev").code == 1
    fake.answer("repos/acme/shop/issues/7/comments", [])
    assert ops("github-comment", "--pull-request", "7").code == 0
    assert "**failed**" in fake.changes[0][2]["body"]
