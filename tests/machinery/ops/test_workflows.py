"""The workflows, read as data: what they may, what they run, in which order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.machinery import ROOT
from tests.workflows import expressions

WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
ACTION = yaml.safe_load((ROOT / ".github/actions/setup/action.yml").read_text())
FILES = [
    *(ROOT / ".github/workflows").glob("*.yml"),
    *(ROOT / ".github/actions").rglob("action.yml"),
]
NAMES = sorted(WORKFLOWS)


def triggers(workflow: dict[Any, Any]) -> dict[str, Any]:
    on = workflow[True]  # YAML 1.1 reads the key `on` as true
    return on if isinstance(on, dict) else {on: None}


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, workflow in WORKFLOWS.items():
        for job, body in workflow["jobs"].items():
            yield name, job, body


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job, body in jobs():
        for step in body.get("steps", []):
            yield f"{name}:{job}", step
    for step in ACTION["runs"]["steps"]:
        yield "setup", step


def called(uses: str) -> dict[Any, Any]:
    workflow: dict[Any, Any] = WORKFLOWS[uses.rsplit("/", 1)[1]]
    return workflow


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    names = set(re.findall(r"(?m)^([a-z][a-z0-9-]*):", text))
    for jobs_of_github in re.findall(r"(?m)^GITHUB_JOBS := (.*)$", text):
        names.update(jobs_of_github.split())
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    for line in path.read_text().splitlines():
        uses = re.search(r"uses:\s*(\S+)(.*)", line)
        if uses and not uses[1].startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", uses[1]), line
            assert re.match(r"\s+# v\d+\.\d+\.\d+$", uses[2]), line


def test_one_version_of_each_action() -> None:
    text = "\n".join(path.read_text() for path in FILES)
    pins: dict[str, set[str]] = {}
    for name, commit in re.findall(r"uses:\s*([\w./-]+)@([0-9a-f]{40})", text):
        pins.setdefault(name, set()).add(commit)
    assert {name: commits for name, commits in pins.items() if len(commits) > 1} == {}


def test_every_run_is_one_make_target() -> None:
    runs = [(place, step["run"]) for place, step in steps() if "run" in step]
    assert runs
    for place, run in runs:
        words = run.split()
        assert words[0] == "make", (place, run)
        assert words[1] in make_targets(), (place, run)
        assert all(re.fullmatch(r"[A-Z]+=[a-z]+", word) for word in words[2:]), (place, run)


def test_only_a_job_with_the_history_compares_with_another_commit() -> None:
    """GitHub's checkout has one commit; `git diff BASE...HEAD` fails in it."""
    comparing = []
    for name, workflow in WORKFLOWS.items():
        for job, body in workflow["jobs"].items():
            uses = body.get("steps", [])
            depth = [step.get("with", {}).get("fetch-depth") for step in uses if "checkout" in step.get("uses", "")]
            if any(step.get("with", {}).get("base") for step in uses):
                comparing.append((name, job))
                assert depth == [0], (name, job)
    assert comparing
    assert "github.event." not in str(ACTION), "which commit it compares with is said by the job"


@pytest.mark.parametrize("name", NAMES)
def test_permissions_are_empty_at_the_top_and_stated_for_each_job(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    for job, body in WORKFLOWS[name]["jobs"].items():
        assert isinstance(body["permissions"], dict), job
        assert "write-all" not in body["permissions"].values()
        # The update of the template pushes a branch of its own.
        assert body["permissions"].get("contents", "read") == "read" or name == "template-update.yml", job


def test_a_sign_in_lasts_as_long_as_its_job() -> None:
    default = ACTION["inputs"]["session-seconds"]["default"]
    lasts = {
        f"{name}:{job}": (body["timeout-minutes"] * 60, int(step["with"].get("session-seconds", default)))
        for name, job, body in jobs()
        for step in body.get("steps", [])
        if step.get("with", {}).get("role")
    }
    assert "deploy.yml:deploy" in lasts
    assert {place: (job, session) for place, (job, session) in lasts.items() if session < job} == {}


def test_jobs_that_run_have_a_time_limit() -> None:
    for name, job, body in jobs():
        assert "uses" in body or body["timeout-minutes"] <= 120, (name, job)


def test_no_secrets_and_no_privileged_trigger() -> None:
    for path in FILES:
        assert set(re.findall(r"secrets\.(\w+)", path.read_text())) <= {"TEMPLATE_UPDATE_TOKEN"}, path
    for name, workflow in WORKFLOWS.items():
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(triggers(workflow)), name


def test_forks_get_neither_writes_nor_credentials() -> None:
    """A job that a fork's pull request can start has read permissions only, or is kept from it by a condition."""
    guard = "github.event.pull_request.head.repo.full_name == github.repository"
    for name, workflow in WORKFLOWS.items():
        if "pull_request" not in triggers(workflow):
            continue
        for job, body in workflow["jobs"].items():
            writes = {scope for scope, level in body["permissions"].items() if level == "write"}
            # GitHub gives a fork no write token and no OIDC; code scanning accepts that from forks.
            if writes - {"security-events"}:
                assert all(guard in text or "schedule" in text for text in conditions(workflow, job)), (name, job)


def conditions(workflow: dict[Any, Any], job: str) -> list[str]:
    """Conditions of a job and of those it needs, of which one at least must keep forks out."""
    body = workflow["jobs"][job]
    own = str(body.get("if", ""))
    needed = [text for need in needs(body) for text in conditions(workflow, need)]
    guard = "head.repo.full_name"
    return [own] if guard in own or "schedule" in own or not needed else needed


def needs(body: dict[str, Any]) -> list[str]:
    value = body.get("needs", [])
    return [value] if isinstance(value, str) else list(value)


def test_references_between_jobs_steps_and_workflows_resolve() -> None:
    for name, job, body in jobs():
        workflow = WORKFLOWS[name]
        text = yaml.safe_dump(body)
        for need in needs(body):
            assert need in workflow["jobs"], (name, job, need)
        for need, output in re.findall(r"needs\.([\w-]+)\.outputs\.([\w-]+)", text):
            assert need in needs(body), (name, job, need)
            target = workflow["jobs"][need]
            outputs = (
                triggers(called(target["uses"]))["workflow_call"]["outputs"] if "uses" in target else target["outputs"]
            )
            assert output in outputs, (name, job, output)
        identifiers = {step.get("id"): step for step in body.get("steps", [])}
        for step, output in re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", text):
            assert step in identifiers, (name, job, step)
            if identifiers[step].get("uses") == "./.github/actions/setup":
                assert output in ACTION["outputs"], (name, job, output)
        if "uses" in body:
            inputs = (triggers(called(body["uses"]))["workflow_call"] or {}).get("inputs", {})
            given = set(body.get("with", {}))
            assert given <= set(inputs), (name, job)
            assert {key for key, value in inputs.items() if value.get("required")} <= given, (
                name,
                job,
            )
            for other in called(body["uses"])["jobs"].values():
                for scope, level in other["permissions"].items():
                    assert body["permissions"].get(scope) in (level, "write"), (name, job, scope)
        for step in body.get("steps", []):
            if step.get("uses") == "./.github/actions/setup":
                assert set(step.get("with", {})) <= set(ACTION["inputs"]), (name, job)


def test_setup_follows_a_checkout_without_stored_credentials() -> None:
    for name, job, body in jobs():
        seen = False
        for step in body.get("steps", []):
            uses = str(step.get("uses", ""))
            if uses.startswith("actions/checkout@"):
                pushes = name == "template-update.yml"  # its branch, with the token that the checkout was given
                assert step["with"]["persist-credentials"] is pushes, (name, job)
                seen = True
            if uses.startswith("./") or "run" in step:
                assert seen, (name, job)


def ancestors(workflow: dict[Any, Any], job: str) -> set[str]:
    found: set[str] = set()
    for need in needs(workflow["jobs"][job]):
        found |= {need} | ancestors(workflow, need)
    return found


def test_cd_delivers_what_ci_passed_from_environment_to_environment() -> None:
    cd = WORKFLOWS["cd.yml"]
    assert cd["jobs"]["checks"]["uses"] == "./.github/workflows/ci.yml"
    assert "push" not in triggers(WORKFLOWS["ci.yml"]), "CI of the main branch is part of CD: nothing is tested twice"
    assert "checks" in ancestors(cd, "build")
    assert ancestors(cd, "prod") >= {"checks", "build", "dev", "staging"}
    assert ancestors(cd, "staging") >= {"build", "dev"}
    assert "build" in ancestors(cd, "dev")
    for environment in ("dev", "staging", "prod"):
        body = cd["jobs"][environment]
        assert body["uses"] == "./.github/workflows/deploy.yml"
        assert body["with"] == {
            "environment": environment,
            "image": "${{ needs.build.outputs.digest }}",
            "built": "${{ needs.build.outputs.digest }}",
            "infrastructure": True,
        }
        assert f"'{environment}'" in body["if"]
        # After a skipped one, but never after one that failed or was stopped.
        assert "!failure()" in body["if"]
        assert "!cancelled()" in body["if"]
        # cancelled() speaks of the run: not of a job that lost its place in the queue, or whose time ran out.
        assert "!contains(needs.*.result, 'cancelled')" in body["if"]
        assert "always()" not in body["if"]
    assert any(path.endswith(".md") for path in triggers(cd)["push"]["paths-ignore"])


def test_a_gate_holds_up_its_environment_and_nothing_else() -> None:
    """One queue of CD's runs for each environment; what a person starts waits in none."""
    cd, deploy = WORKFLOWS["cd.yml"], WORKFLOWS["deploy.yml"]
    assert "github.run_id" in cd["concurrency"]["group"]
    assert "concurrency" not in deploy
    queue = deploy["jobs"]["deploy"]["concurrency"]
    assert "inputs.environment" in queue["group"]
    assert "github.workflow == 'Deploy' && github.run_id || 'cd'" in queue["group"]  # the workflow is the caller's
    assert queue["cancel-in-progress"] is False
    assert "github.run_id" in deploy["jobs"]["plan"]["concurrency"]["group"]
    # A run that waits for the approval ends before a newer one gets into its queue.
    assert "make github-supersede" in [step.get("run") for step in deploy["jobs"]["plan"]["steps"]]
    # By these names it sees whether a newer run is there before it.
    assert all(cd["jobs"][name]["name"] == name for name in ("dev", "staging", "prod"))
    assert deploy["jobs"]["deploy"]["name"] == "Deploy"


def test_what_is_planned_before_the_gate_is_handed_behind_it() -> None:
    jobs_of_deploy = WORKFLOWS["deploy.yml"]["jobs"]
    plan, deploy = jobs_of_deploy["plan"], jobs_of_deploy["deploy"]
    assert "environment" not in plan
    assert deploy["environment"] == "${{ inputs.environment }}"
    assert needs(deploy) == ["plan"]
    assert [step["run"] for step in plan["steps"] if "run" in step] == ["make github-review", "make github-supersede"]
    assert [step["run"] for step in deploy["steps"] if "run" in step] == ["make github-deploy", "make github-status"]
    given = next(step["env"] for step in deploy["steps"] if step.get("run") == "make github-deploy")
    assert given == {
        "IMAGE": "${{ needs.plan.outputs.digest }}",
        "APPROVED": "${{ needs.plan.outputs.approve }}",
        "GH_TOKEN": "${{ github.token }}",  # to ask where the main branch is
    }
    up, down = (
        next(step for step in job["steps"] if f"{word}-artifact" in step.get("uses", ""))
        for job, word in ((plan, "upload"), (deploy, "download"))
    )
    assert up["with"]["name"] == down["with"]["name"]
    assert not any("continue-on-error" in step for job in (plan, deploy) for step in job["steps"])
    assert "YES" not in str(WORKFLOWS["deploy.yml"])


def test_jobs_that_sign_in_wait_until_there_is_somebody_to_be() -> None:
    """Before bootstrap there are no roles: whatever takes one is skipped, or says so (sign-in.yml is for trying)."""
    for name, job, body in jobs():
        signs_in = [
            str(step["with"]["role"])
            for step in body.get("steps", [])
            if step.get("uses", "").startswith("./") and step.get("with", {}).get("role")
        ]
        if not signs_in or name in ("sign-in.yml", "build.yml"):  # whose callers wait
            continue
        conditions_ = [str(body.get("if", ""))]
        for need in ancestors(WORKFLOWS[name], job):
            other = WORKFLOWS[name]["jobs"][need]
            conditions_ += [str(other.get("if", "")), str(other.get("outputs", "")), str(other.get("steps", ""))]
        assert "BOOTSTRAPPED" in " ".join([*conditions_, *signs_in]), (name, job)


def test_previews_react_to_their_label_on_open_pull_requests() -> None:
    preview = WORKFLOWS["preview.yml"]["jobs"]
    assert "github.event.label.name || 'preview'" in preview["settings"]["if"]
    assert "pull_request.state == 'open'" in preview["build"]["if"]
    assert all("outputs.previews == 'true'" in preview[job]["if"] for job in ("build", "down", "sweep"))


def test_a_preview_that_has_to_go_is_not_forgotten_for_a_push_that_has_nothing_to_do() -> None:
    """Of the runs that wait in a group GitHub keeps the newest alone."""

    def group(action: str, labels: list[str], label: str = "") -> str:
        pull = {"number": 7, "labels": [{"name": name} for name in labels]}
        event = {"action": action, "pull_request": pull, **({"label": {"name": label}} if label else {})}
        contexts = {"github": {"event": event, "event_name": "pull_request", "run_id": "99"}}
        return str(expressions.interpolate(WORKFLOWS["preview.yml"]["concurrency"]["group"], contexts))

    up = group("labeled", ["preview"], "preview")
    assert up == "preview-7-preview"
    assert {up} == {group("synchronize", ["preview"]), group("closed", ["preview"]), group("unlabeled", [], "preview")}
    assert {group("synchronize", []), group("labeled", ["preview"], "bug"), group("closed", [])} == {"preview-7-99"}
    sweep = {"github": {"event": {"schedule": "43 2 * * *"}, "event_name": "schedule", "run_id": "99"}}
    assert expressions.interpolate(WORKFLOWS["preview.yml"]["concurrency"]["group"], sweep) == "preview-sweep-preview"


def test_the_image_that_is_delivered_is_scanned_before_it_is_attested() -> None:
    names = [
        step.get("uses", step.get("run", "")).split("@")[0] for step in WORKFLOWS["build.yml"]["jobs"]["build"]["steps"]
    ]
    assert names.index("make github-image") < names.index("aquasecurity/trivy-action") < names.index("actions/attest")
    scan = next(step for step in WORKFLOWS["build.yml"]["jobs"]["build"]["steps"] if "trivy" in step.get("uses", ""))
    assert scan["with"]["image-ref"] == "${{ steps.image.outputs.reference }}"
    assert scan["with"]["exit-code"] == "1"


def test_required_checks_report_for_every_pull_request() -> None:
    import json

    rules = json.loads((ROOT / ".github/rulesets/main.json").read_text())["rules"]
    parameters = next(rule["parameters"] for rule in rules if rule["type"] == "required_status_checks")
    reported = {
        body["name"]
        for name, job, body in jobs()
        if "pull_request" in triggers(WORKFLOWS[name]) and body.get("if") == "always()"
    }
    contexts = {check["context"] for check in parameters["required_status_checks"]}
    assert contexts == {"Required", "Planned"}
    assert contexts <= reported
    for name in ("ci.yml", "plan.yml"):
        assert not triggers(WORKFLOWS[name])["pull_request"], "no filter: a check that does not report blocks for ever"
        assert "merge_group" in triggers(WORKFLOWS[name]), "a merge queue waits for these checks"
        assert "github.run_id" in WORKFLOWS[name]["concurrency"]["group"], "without a number all would share one group"


def test_a_plan_that_is_repeated_is_of_the_merge_with_the_main_branch_of_now() -> None:
    """GitHub repeats a run with the commit of then: what was delivered since would be planned as undone."""
    plan = WORKFLOWS["plan.yml"]["jobs"]
    for job in ("settings", "plan"):
        checkout = next(step for step in plan[job]["steps"] if "checkout" in step.get("uses", ""))
        assert checkout["with"].get("ref") == "${{ github.ref }}", job
    bases = [step["with"]["base"] for step in plan["settings"]["steps"] if step.get("with", {}).get("base")]
    assert bases == ["HEAD^1"]


def test_no_job_installs_what_it_does_not_use() -> None:
    for name, job, body in jobs():
        runs = [step["run"].split()[1] for step in body.get("steps", []) if "run" in step]
        terraform = [
            str(step.get("with", {}).get("terraform", "true"))
            for step in body.get("steps", [])
            if step.get("uses", "").startswith("./.github/actions/setup")
        ]
        if runs and set(runs) <= {"lint", "test-app", "test-role-manager"}:
            assert terraform == ["false"], (name, job)


def test_required_stands_for_every_job_of_ci() -> None:
    ci = WORKFLOWS["ci.yml"]["jobs"]
    assert set(needs(ci["required"])) == set(ci) - {"required"}
    assert ci["required"]["if"] == "always()"
    plan = WORKFLOWS["plan.yml"]["jobs"]
    assert set(needs(plan["planned"])) == set(plan) - {"planned"}


def test_jobs_with_an_apply_role_run_in_a_github_environment() -> None:
    for name, job, body in jobs():
        roles = [
            step["with"].get("role")
            for step in body.get("steps", [])
            if step.get("uses", "").startswith("./") and "with" in step
        ]
        if "apply" in roles:
            assert body.get("environment"), (name, job)
            assert body["permissions"]["id-token"] == "write", (name, job)
        if not any(roles):
            assert "id-token" not in body["permissions"] or "uses" in body, (name, job)
