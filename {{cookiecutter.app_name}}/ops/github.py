"""What GitHub's jobs type, and what an administrator types about GitHub: `ops github-…`.

Workflows only name these commands, so that what they do can be run and tested without GitHub. GitHub is reached by its
own command-line program, `gh`, which a job has and signs in to with GH_TOKEN.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from ops import images, layers, processes
from ops.aws import Aws, connect
from ops.errors import OpsError, WrongUse
from ops.output import Step, say, warn
from ops.project import Project, load
from ops.terraform import SERVICE, layer_named

MAIN = "main"
PREVIEW_ENVIRONMENT = "dev"  # previews are services beside dev; infra/account trusts them so
PREVIEW_LABEL = "preview"
DRIFT_TITLE = "AWS is not as the main branch says"
COMMENT_MARK = "<!-- ops github-comment -->"
PREVIEW_MARK = "<!-- ops github-preview -->"
# https://github.com/orgs/community/discussions/27190: a comment has at most 65,536 characters.
COMMENT_CHARACTERS = 65_000

# Which paths each part of CI tests. A change of anything that is not listed tests everything.
PARTS: Mapping[str, tuple[str, ...]] = {
    "app": ("app/", "ops/laptop/", "role_manager/"),
    "role-manager": ("role_manager/", "ops/laptop/"),
    "ops": ("ops/", "infra/config/", "infra/account/", "project.yaml"),
    "infra": ("infra/", "project.yaml", "app/flags.json"),
    "rehearsal": ("app/", "infra/", "ops/", "role_manager/", "project.yaml"),
}
TESTS_NOTHING = ("docs/", ".github/ISSUE_TEMPLATE/")


@dataclass(frozen=True)
class Reviewed:
    """What a plan would change, in a form that a later plan of the same change equals."""

    layer: str
    environment: str
    summary: str
    fingerprint: str  # empty: no change
    changes: list[str]
    text: str
    error: str = ""

    @property
    def place(self) -> str:
        """`service of dev`, or `account`."""
        return f"{self.layer} of {self.environment}" if self.environment else self.layer


def folder(project: Project) -> Path:
    """Where plans are written for the next job, which gets them as an artifact."""
    return project.scratch("github", "plan.json").parent


def gh(*arguments: str, given: str | None = None) -> str:
    """Run `gh`. Raises OpsError with what it said."""
    program = shutil.which("gh")
    if program is None:
        raise OpsError(
            "gh, GitHub's command-line program, is not installed.",
            next_step="https://cli.github.com",
        )
    process = processes.run([program, *arguments], given=given)
    if not process.ok:
        raise OpsError(
            f"gh {' '.join(arguments[:2])}: {process.err.strip()}",
            next_step="gh auth status tells who you are.",
        )
    return process.out


def api(path: str, *, method: str = "GET", body: Mapping[str, Any] | None = None) -> Any:
    """Call GitHub's REST API; lists are read to their last page."""
    if body is not None:
        return json.loads(gh("api", path, "--method", method, "--input", "-", given=json.dumps(body)) or "null")
    if method != "GET":
        return json.loads(gh("api", path, "--method", method) or "null")
    pages = json.loads(gh("api", path, "--paginate", "--slurp"))
    return [item for page in pages for item in page] if pages and isinstance(pages[0], list) else pages[0]


def changed_files(root: Path, base: str) -> list[str]:
    """Paths that differ from the commit where this branch left `base`."""
    process = processes.run(["git", "diff", "--name-only", "-z", f"{base}...HEAD", "--"], folder=root)
    if not process.ok:
        raise OpsError(
            f"git diff with {base}: {process.err.strip()}",
            next_step="The checkout needs its history.",
        )
    return [path for path in process.out.split("\0") if path]


def parts(root: Path, files: Iterable[str] | None) -> list[str]:
    """Parts of CI that these files concern; all of them for None."""
    here = [part for part in PARTS if part != "role-manager" or (root / "role_manager").is_dir()]
    if files is None:
        return here
    known = {prefix for prefixes in PARTS.values() for prefix in prefixes}
    wanted: set[str] = set()
    for path in files:
        if path.startswith(TESTS_NOTHING) or path.endswith(".md"):
            continue
        if not path.startswith(tuple(known)):
            return here
        wanted.update(part for part in here if path.startswith(PARTS[part]))
    return [part for part in here if part in wanted]


def plans(project: Project, files: Iterable[str] | None) -> list[dict[str, str]]:
    """Layers and environments whose plan these files can change, in the order of their apply; all for None."""
    every = [
        {"layer": layer.name, "environment": environment}
        for layer in layers.present(project)
        for environment in (project.environments if layer.per_environment else [""])
    ]
    if files is None:
        return every
    wanted: set[str] = set()
    for path in files:
        inside = re.match(r"infra/([^/]+)/", path)
        if path == "project.yaml" or (inside and inside[1] in ("config", "modules")):
            return every
        if inside and not re.search(r"/tests/", path):
            wanted.add(inside[1])
        elif path.startswith("role_manager/") and "/tests/" not in path:
            wanted.add("database")
        elif path == "app/flags.json":
            wanted.add("service")
    return [plan for plan in every if plan["layer"] in wanted]


def fingerprint(planned: Mapping[str, Any]) -> str:
    """Hash of what a plan (`terraform show -json`) would do; empty where it would do nothing.

    The image is left out: which one runs differs between review and merge, and is no infrastructure.
    """
    changes = (
        sorted(
            (
                change["address"],
                change["change"]["actions"],
                change["change"].get("after"),
                change["change"].get("after_unknown"),
            )
            for change in planned.get("resource_changes", [])
            if change["change"]["actions"] not in (["no-op"], ["read"])
        )
        if planned.get("resource_changes")
        else []
    )
    if not changes:
        return ""
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:image", json.dumps(changes, sort_keys=True))
    return hashlib.sha256(text.encode()).hexdigest()


def plan(project: Project, layer: str) -> tuple[Reviewed, Path]:
    """Plan a layer. The error of a plan that failed is part of the answer."""
    name = f"{layer}-{project.environment or 'shared'}"
    path = project.scratch("plans", f"github-{name}.tfplan")
    kind = layer_named(layer)
    try:
        terraform, planned = layers.plan(project, connect(project), kind, out=path, step=Step(name))
        found = Reviewed(
            layer=layer,
            environment=project.environment or "",
            summary=str(planned),
            fingerprint=fingerprint(terraform.planned(path)),
            changes=[f"{action} {address}" for action, address in planned.changes],
            text=terraform.show(path),
        )
    except OpsError as error:
        found = Reviewed(layer, project.environment or "", "failed", "", [], "", error=str(error))
    return found, path


def read_plans(project: Project) -> list[Reviewed]:
    """The plans that the jobs before this one left."""
    found = [
        Reviewed(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder(project).glob("*.json"))
    ]
    order = [(plan["layer"], plan["environment"]) for plan in plans(project, None)]
    return sorted(found, key=lambda plan: order.index((plan.layer, plan.environment)))


def render(found: list[Reviewed], *, limit: int = COMMENT_CHARACTERS) -> str:
    """Markdown: a table of all plans, then each one that changes something, shortened to fit `limit` characters."""
    rows = [
        f"| {item.layer} | {item.environment or 'all'} | {'**failed**' if item.error else item.summary} |"
        for item in found
    ]
    head = "\n".join(["| layer | environment | plan |", "| --- | --- | --- |", *rows])
    shared = [item.layer for item in found if item.fingerprint and not item.environment]
    if shared:
        head += f"\n\nAn administrator applies {' and '.join(shared)}: `make apply LAYER=…`."
    texts = [item for item in found if item.error or item.fingerprint]
    room = (limit - len(head)) // max(len(texts), 1)
    blocks = []
    for item in texts:
        text = (item.error or item.text).strip().replace("```", "'''")
        frame = f"\n\n<details><summary>{item.place}</summary>\n\n```\n\n```\n\n</details>"
        cut = "\n… shortened: the whole plan is in the job's log"
        if len(text) > room - len(frame):
            text = text[: max(room - len(frame) - len(cut), 0)] + cut
        blocks.append(frame.replace("```\n\n```", f"```\n{text}\n```"))
    return head + "".join(blocks)


def comment(repository: str, number: str, mark: str, text: str) -> None:
    """Write a comment on a pull request, or write it anew where it was."""
    body = {"body": f"{mark}\n{text}"}
    for old in api(f"repos/{repository}/issues/{number}/comments"):
        if old["body"].startswith(mark):
            api(f"repos/{repository}/issues/comments/{old['id']}", method="PATCH", body=body)
            return
    api(f"repos/{repository}/issues/{number}/comments", method="POST", body=body)


def reviewed_plans(project: Project) -> list[Reviewed]:
    """The plans of the pull request whose merge is checked out; none where it changed no infrastructure.

    Raises OpsError where the newest commit came by no pull request, or its plans are gone.
    """
    repository = project.settings["github_repository"]
    commit = os.environ.get("GITHUB_SHA", "HEAD")
    merged = [pull for pull in api(f"repos/{repository}/commits/{commit}/pulls") if pull.get("merged_at")]
    if not merged:
        raise OpsError(
            f"Commit {commit[:12]} came by no pull request, so nobody reviewed what it changes in AWS.",
            next_step="Open a pull request, or apply by hand: make apply LAYER=… ENV=….",
        )
    head = merged[0]["head"]["sha"]
    files = [item["filename"] for item in api(f"repos/{repository}/pulls/{merged[0]['number']}/files")]
    if not plans(project, files):
        return []
    runs = api(f"repos/{repository}/actions/workflows/plan.yml/runs?head_sha={head}&status=success")["workflow_runs"]
    if not runs:
        raise OpsError(
            f"Pull request {merged[0]['number']} has no finished plan of its last commit {head[:12]}.",
            next_step="Run its Plan workflow again, or apply by hand: make apply LAYER=… ENV=….",
        )
    with tempfile.TemporaryDirectory() as temporary:
        gh(
            "run",
            "download",
            str(runs[0]["id"]),
            "--repo",
            repository,
            "--pattern",
            "plan-*",
            "--dir",
            temporary,
        )
        return [
            Reviewed(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(Path(temporary).rglob("*.json"))
        ]


def write_outputs(values: Mapping[str, str]) -> None:
    """Give values to the job's next steps, and show them."""
    lines = [f"{name}={value}" for name, value in values.items()]
    target = os.environ.get("GITHUB_OUTPUT")
    if target:
        with Path(target).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    for line in lines:
        say(line)


@click.group()
def commands() -> None:
    """Commands of GitHub's jobs; ops/cli.py lists them beside the others."""


environment_option = click.option("--env", "environment", envvar="ENV", default=None, help="Environment.")
pull_request_option = click.option(
    "--pull-request",
    envvar="PULL_REQUEST",
    required=True,
    metavar="N",
    help="Number of the pull request.",
)


@commands.command("github-settings")
@environment_option
@click.option("--role", envvar="ROLE", default="", help="plan, build, apply or preview: whose ARN is wanted.")
@click.option(
    "--base",
    envvar="BASE",
    default="",
    help="Commit to compare with: only what changed since is listed.",
)
def github_settings(environment: str | None, role: str, base: str) -> None:
    """Write settings of project.yaml as outputs of a job's step."""
    project = load(environment or None)
    if role not in ("", "plan", "build", "apply", "preview"):
        raise WrongUse(f"There is no role {role!r}.", next_step="plan, build, apply or preview.")
    if role == "apply" and not environment:
        raise WrongUse("The apply role is of an environment.", next_step="Say which with ENV=….")
    files = changed_files(project.root, base) if base else None
    arm = project.settings["cpu_architecture"] == "arm64"
    write_outputs(
        {
            "region": project.region,
            "account_id": project.account,
            "audience": f"sts.{project.dns_suffix}",
            "role_arn": f"arn:{project.partition}:iam::{project.account}:role{project.names['github_path']}{project.names[f'{role}_role']}"
            if role
            else "",
            "environments": json.dumps(project.environments),
            "database": str(project.settings["database"]),
            "plans": json.dumps(plans(project, files)),
            "parts": json.dumps(parts(project.root, files)),
            "runner": "ubuntu-24.04-arm" if arm else "ubuntu-24.04",
        }
    )


@commands.command("github-image")
def github_image() -> None:
    """Build and push the image of this commit, unless it is there, and write its digest as an output."""
    project = load()
    aws = connect(project)
    tag, origin = images.current_tag(project.root)
    step = Step("image")
    image = images.find(aws, project, tag)
    if image is None:
        image = images.build_and_push(aws, project, tag, step)
    else:
        step.say(f"of {origin}: is in the build repository already")
    repository = project.names["build_repository"]
    name = f"{project.account}.dkr.ecr.{project.region}.{project.dns_suffix}/{repository}"
    write_outputs({"digest": image.digest, "name": name, "reference": f"{name}@{image.digest}"})


@commands.command("github-plan")
@click.option("--layer", envvar="LAYER", required=True, help="Layer.")
@environment_option
def github_plan(layer: str, environment: str | None) -> None:
    """Plan a layer and leave the plan for the job that tells about it."""
    project = load(environment or None)
    found, path = plan(project, layer)
    target = folder(project) / f"{layer}-{project.environment or 'shared'}.json"
    target.write_text(json.dumps(asdict(found), indent=2), encoding="utf-8")
    path.unlink(missing_ok=True)  # may hold secrets; what was reviewed is the fingerprint
    say(found.text or found.summary)
    if found.error:
        raise OpsError(found.error)


@commands.command("github-comment")
@pull_request_option
def github_comment(pull_request: str) -> None:
    """Write all plans into one comment of the pull request."""
    project = load()
    found = read_plans(project)
    comment(
        str(project.settings["github_repository"]),
        pull_request,
        COMMENT_MARK,
        "### Plan\n\n" + render(found),
    )
    say(f"{len(found)} plans in the comment of pull request {pull_request}")


@commands.command("github-apply")
@environment_option
def github_apply(environment: str | None) -> None:
    """Apply to an environment what was reviewed in the merged pull request, and only that."""
    if not environment:
        raise WrongUse("Say which environment: ENV=….")
    project = load(environment)
    wanted = {
        item.layer: item for item in reviewed_plans(project) if item.environment == environment and item.fingerprint
    }
    if not wanted:
        say(f"The merged pull request changes no infrastructure of {environment}.")
        return
    aws = connect(project)
    for layer in (layer for layer in layers.present(project) if layer.name in wanted):
        found, path = plan(project, layer.name)
        if found.error:
            raise OpsError(found.error)
        if not found.fingerprint:
            say(f"{found.place}: already as reviewed")
            continue
        if found.fingerprint != wanted[layer.name].fingerprint:
            raise OpsError(
                f"The plan of {found.place} is no longer the one that was reviewed.\n"
                f"Reviewed: {', '.join(wanted[layer.name].changes)}\nNow: {', '.join(found.changes)}",
                next_step="Open a pull request that plans anew, or apply by hand after a look: "
                f"make apply LAYER={layer.name} ENV={environment}. Nothing was changed.",
            )
        layers.apply_saved(project, aws, layer, path)
        path.unlink(missing_ok=True)


@commands.command("github-drift")
@click.option("--result", envvar="RESULT", default="success", help="Result of the planning jobs.")
def github_drift(result: str) -> None:
    """Open, update or close the issue about what differs from the main branch."""
    project = load()
    repository = str(project.settings["github_repository"])
    found = read_plans(project)
    differs = [item for item in found if item.error or item.fingerprint]
    open_issues = [
        issue
        for issue in api(f"repos/{repository}/issues?state=open&labels=drift")
        if issue["title"] == DRIFT_TITLE and "pull_request" not in issue
    ]
    missing = len(plans(project, None)) - len(found)
    if not differs and not missing and result == "success":
        for issue in open_issues:
            api(
                f"repos/{repository}/issues/{issue['number']}/comments",
                method="POST",
                body={"body": "All is as the main branch says again."},
            )
            api(
                f"repos/{repository}/issues/{issue['number']}",
                method="PATCH",
                body={"state": "closed"},
            )
        say("no drift")
        return
    text = render(found)
    if missing:
        text = f"{missing} plans could not be made: see the run of the workflow Drift.\n\n{text}"
    body = {"title": DRIFT_TITLE, "body": text, "labels": ["drift"]}
    if open_issues:
        api(f"repos/{repository}/issues/{open_issues[0]['number']}", method="PATCH", body=body)
    else:
        api(f"repos/{repository}/issues", method="POST", body=body)
    say(f"drift in {', '.join(item.place for item in differs) or 'plans that could not be made'}")


@commands.command("github-preview")
@pull_request_option
@click.option("--image", envvar="IMAGE", required=True, help="Digest of the image.")
def github_preview(pull_request: str, image: str) -> None:
    """Bring up the service of a pull request and write its address into a comment."""
    workspace = f"pr-{int(pull_request)}"
    _ops("up", "--env", PREVIEW_ENVIRONMENT, "--workspace", workspace, "--image", image, "--yes")
    project = load(PREVIEW_ENVIRONMENT, workspace)
    service = layers.of(project, SERVICE)
    service.init()
    url = str(service.output()["url"])
    write_outputs({"url": url})
    comment(
        str(project.settings["github_repository"]),
        pull_request,
        PREVIEW_MARK,
        f"Preview: {url}\n\nIt goes when this pull request is closed or the label `{PREVIEW_LABEL}` is removed.",
    )


@commands.command("github-sweep")
def github_sweep() -> None:
    """Remove previews whose pull request is closed or has lost its label."""
    project = load(PREVIEW_ENVIRONMENT)
    pulls = api(f"repos/{project.settings['github_repository']}/pulls?state=open")
    wanted = {f"pr-{pull['number']}" for pull in pulls if PREVIEW_LABEL in [label["name"] for label in pull["labels"]]}
    orphans = [workspace for workspace in workspaces(connect(project), project) if workspace not in wanted]
    failed = []
    for workspace in orphans:
        try:
            _ops(
                "down",
                "--env",
                PREVIEW_ENVIRONMENT,
                "--workspace",
                workspace,
                "--confirm",
                workspace,
            )
        except OpsError as error:
            warn(str(error))
            failed.append(workspace)
    if failed:
        raise OpsError(f"Not removed: {', '.join(failed)}.")
    say(f"{len(orphans)} previews removed")


def workspaces(aws: Aws, project: Project) -> list[str]:
    """Temporary environments of pull requests that have a state."""
    key = layers.of(project, SERVICE).state_key
    found = set()
    for page in (
        aws.client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=project.names["state_bucket"], Prefix="env:/pr-")
    ):
        for item in page.get("Contents", []):
            match = re.fullmatch(rf"env:/(pr-\d+)/{re.escape(key)}", item["Key"])
            if match:
                found.add(match[1])
    return sorted(found)


@commands.command("github-subject")
@click.option(
    "--check",
    is_flag=True,
    help="Change nothing; exit with 1 where project.yaml says something else.",
)
def github_subject(check: bool) -> None:
    """Read from GitHub how the subject of this repository's OIDC tokens begins, and write it into project.yaml."""
    project = load()
    repository = str(project.settings["github_repository"])
    actual = subject_prefix(repository)
    stated = str(project.settings["github_oidc_subject_prefix"])
    if actual == stated:
        say(f"project.yaml says {stated}, and so does GitHub.")
        return
    if check:
        raise OpsError(
            f"project.yaml says {stated}, but GitHub says {actual}.",
            next_step="make github-subject writes it.",
        )
    path = project.root / "project.yaml"
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(r"(?m)^(github_oidc_subject_prefix:\s*).*$", lambda match: f"{match[1]}'{actual}'", text)
    if count != 1:
        raise OpsError("project.yaml has no line github_oidc_subject_prefix.", next_step=f"Add it: '{actual}'.")
    path.write_text(changed, encoding="utf-8")
    say(f"project.yaml now says {actual}. An administrator applies it: make apply LAYER=account.")


def subject_prefix(repository: str) -> str:
    """How the subject of a repository's OIDC tokens begins.

    GitHub says it in `sub_claim_prefix`; where it says nothing the repository emits names alone.
    https://docs.github.com/en/rest/actions/oidc
    """
    settings = api(f"repos/{repository}/actions/oidc/customization/sub")
    if settings.get("use_default") is False:
        raise OpsError(
            f"{repository} has subjects of its own making ({', '.join(settings.get('include_claim_keys', []))}); the roles here trust GitHub's default.",
            next_step="Go back to the default in the repository's settings: Actions, OIDC.",
        )
    return str(settings.get("sub_claim_prefix") or f"repo:{repository}").rstrip(":")


@commands.command("github-environments")
@click.option(
    "--reviewer",
    "reviewers",
    multiple=True,
    metavar="LOGIN",
    help="Who may let a deployment to prod start; can be repeated.",
)
@click.option("--plan", "dry", is_flag=True, help="Show what would be set, and change nothing.")
def github_environments(reviewers: tuple[str, ...], dry: bool) -> None:
    """Create GitHub's environments and the rule of the main branch."""
    project = load()
    repository = str(project.settings["github_repository"])
    protected = [name for name in project.environments if load(name).protected]
    if protected and not reviewers:
        raise WrongUse(
            f"{' and '.join(protected)} is protected: somebody must let its deployments start.",
            next_step="make github-environments REVIEWERS='login login'",
        )
    previews = ["preview"] if PREVIEW_ENVIRONMENT in project.environments else []
    for name in [*project.environments, *previews]:
        needs = list(reviewers) if name in protected else []
        say(
            f"environment {name}: {'main branch only' if name not in previews else 'any branch'}"
            f"{', reviewed by ' + ', '.join(needs) if needs else ''}"
        )
        if dry:
            continue
        api(
            f"repos/{repository}/environments/{name}",
            method="PUT",
            body={
                "reviewers": [{"type": "User", "id": api(f"users/{login}")["id"]} for login in needs] or None,
                "prevent_self_review": bool(needs),
                "deployment_branch_policy": None
                if name in previews
                else {"protected_branches": False, "custom_branch_policies": True},
            },
        )
        if name not in previews:
            policies = api(f"repos/{repository}/environments/{name}/deployment-branch-policies")["branch_policies"]
            if MAIN not in [policy["name"] for policy in policies]:
                api(
                    f"repos/{repository}/environments/{name}/deployment-branch-policies",
                    method="POST",
                    body={"name": MAIN},
                )
    say(f"branch {MAIN}: pull request with one review, check Required, no force push, no deletion")
    if dry:
        return
    rules = {
        "name": MAIN,
        "target": "branch",
        "enforcement": "active",
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [
            {"type": "deletion"},
            {"type": "non_fast_forward"},
            {
                "type": "pull_request",
                "parameters": {
                    "required_approving_review_count": 1,
                    "dismiss_stale_reviews_on_push": True,
                    "require_code_owner_review": False,
                    "require_last_push_approval": True,
                    "required_review_thread_resolution": True,
                },
            },
            {
                "type": "required_status_checks",
                "parameters": {
                    "strict_required_status_checks_policy": False,
                    "required_status_checks": [{"context": "Required"}],
                },
            },
        ],
    }
    existing = [item for item in api(f"repos/{repository}/rulesets") if item["name"] == MAIN]
    if existing:
        api(f"repos/{repository}/rulesets/{existing[0]['id']}", method="PUT", body=rules)
    else:
        api(f"repos/{repository}/rulesets", method="POST", body=rules)


def _ops(*arguments: str) -> None:
    """Run another command as a person would."""
    process = subprocess.run([sys.executable, "-m", "ops", *arguments], check=False)  # noqa: S603
    if process.returncode != 0:
        raise OpsError(f"ops {' '.join(arguments)} ended with {process.returncode}.")
