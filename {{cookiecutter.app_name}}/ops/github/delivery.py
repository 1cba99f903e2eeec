"""A delivery to one environment: what is planned before its gate is what is applied behind it, and nothing else.

Before the gate (`github-review`, with the role that reads): is the environment protected, is there nothing newer in it,
may the image be deployed, and what would change. Somebody approves that with the environment. Behind the gate
(`github-deploy`, with the role that changes): each layer is planned again under its lock, and applied where that is what
was approved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import click

from ops import images, layers, releases, review, roles, smoke, status
from ops import up as up_module
from ops.aws import Aws, connect
from ops.errors import OpsError, WrongUse
from ops.github import options, plans, provenance
from ops.github.api import GitHubError, api, gh, summarize, write_outputs
from ops.output import Step, say, warn
from ops.project import Project, load
from ops.terraform import SERVICE, Layer

MAIN = "main"
WORKFLOW = "cd.yml"


# ---------------------------------------------------------------------- before the gate


@click.command("github-review")
@options.environment
@options.image
@click.option(
    "--infrastructure",
    envvar="INFRASTRUCTURE",
    type=bool,
    default=True,
    help="Whether all layers, or only the service.",
)
@click.option("--built", envvar="BUILT", default="", help="Digest that a job of this run built.")
def review_command(environment: str | None, image: str, infrastructure: bool, built: str) -> None:
    """Plan a deployment for the approval of its environment: checks, plans, and a page that shows them."""
    project = _project(environment)
    require_protection(project)
    aws = connect(project)
    if not layers.bootstrapped(aws, project) or not layers.is_applied(aws, project, SERVICE):
        text = f"{project.environment} is not there yet: `{project.make('up')}` brings it up."
        say(text)
        summarize(text)
        write_outputs({"there": "false", "approve": ""})
        return
    require_newest(aws, project)
    found = images.resolve(aws, project, image)
    why = provenance.admit(aws, project, found, built=built)
    names = [layer.name for layer in _layers(project) if infrastructure or layer is SERVICE]
    planned = plans.make(project, aws, names, image=found.digest)
    summarize(
        f"## {project.environment}: {found}\n\n{_commit()[:12]}; {why}.\n\n" + plans.markdown(planned, summary=True)
    )
    plans.refuse_failed(planned)
    absent = [item.absent for item in planned if item.absent]
    if absent:
        raise OpsError(" ".join(absent))
    write_outputs({"there": "true", "digest": found.digest, "approve": plans.write(project, planned)})


def _project(environment: str | None) -> Project:
    if not environment:
        raise WrongUse("Say which environment: ENV=….")
    return load(environment)


def _layers(project: Project) -> list[Layer]:
    """The layers of an environment; an administrator applies the others."""
    return [layer for layer in layers.present(project) if layer.per_environment]


def _commit() -> str:
    return os.environ.get("GITHUB_SHA") or images.head(load().root)


def require_protection(project: Project) -> None:
    """Raises OpsError where GitHub would let anybody deploy to a protected environment.

    GitHub makes an environment that does not exist at its first use, without any protection.
    """
    name = str(project.environment)
    if not project.protected or name in project.settings.get("github_unprotected_environments", []):
        return
    repository = project.settings["github_repository"]
    next_step = (
        f"make github-environments REVIEWERS='login login'. If GitHub's plan has no required reviewers and that is meant:"
        f" github_unprotected_environments: [{name}] in project.yaml."
    )
    try:
        found = api(f"repos/{repository}/environments/{name}")
    except GitHubError as error:
        if error.status != 404:
            raise
        raise OpsError(
            f"{name} is protected in project.yaml, and {repository} has no environment {name} in GitHub.",
            next_step=next_step,
        ) from error
    reviewed = any(
        rule["type"] == "required_reviewers" and rule.get("reviewers") for rule in found.get("protection_rules", [])
    )
    lacking = [] if reviewed else ["required reviewers"]
    if not found.get("deployment_branch_policy"):
        lacking.append("a rule for branches")
    if lacking:
        raise OpsError(
            f"{name} is protected in project.yaml, and GitHub's environment {name} has no {' and no '.join(lacking)}.",
            next_step=next_step,
        )


def require_newest(aws: Aws, project: Project) -> None:
    """Raises OpsError where a newer commit of this branch was delivered here: a run that is repeated is an older one.

    Where the main branch is at this run's commit nothing is newer: somebody moved it back.
    """
    ours, theirs = _commit(), releases.begun(aws, project)
    if not theirs or theirs == ours:
        return
    newer = images.is_ancestor(project.root, ours, theirs)
    if newer is None:
        warn(f"the commit {theirs[:12]} that was delivered to {project.environment} is not in this history")
    elif newer and _tip(project) == ours:
        warn(f"{MAIN} was moved back to {ours[:12]}, which takes the place of {theirs[:12]} in {project.environment}")
    elif newer:
        raise OpsError(
            f"{project.environment} has {theirs[:12]} already, which is newer than this run's {ours[:12]}."
            " Nothing was changed.",
            next_step="Run the newest CD again (Actions, CD, Run workflow). To go back to an older version:"
            " the workflow Deploy, with its digest.",
        )


def _tip(project: Project) -> str:
    """The commit at which the main branch is now: a checkout has it where the run's own commit is."""
    return str(api(f"repos/{project.settings['github_repository']}/commits/{MAIN}")["sha"])


@click.command("github-supersede")
@options.environment
def supersede(environment: str | None) -> None:
    """End older runs of CD that wait for the approval of this environment: the newest commit wins."""
    project = _project(environment)
    repository = project.settings["github_repository"]
    number = int(os.environ["GITHUB_RUN_NUMBER"])
    _give_way(project, number)
    waiting = api(f"repos/{repository}/actions/workflows/{WORKFLOW}/runs?status=waiting&per_page=100")["workflow_runs"]
    ended = 0
    for run in waiting:
        place = f"repos/{repository}/actions/runs/{run['id']}"
        if run["run_number"] >= number or not _waits_for(place, str(project.environment)):
            continue
        try:
            api(f"{place}/cancel", method="POST")
        except GitHubError as error:
            if error.status != 409:  # it ended in the meantime
                raise
        say(f"run {run['run_number']} of {run['head_sha'][:12]} was waiting, and is superseded by this one")
        ended += 1
    say(f"{ended} older runs were waiting for {project.environment}")


def _give_way(project: Project, number: int) -> None:
    """Raises OpsError where a newer run is in this environment's queue already.

    Of those that wait there GitHub keeps the one that came last, and ends the others: a run that was slower on its way
    here would take a newer one's place. https://docs.github.com/en/actions/concepts/workflows-and-actions/concurrency
    """
    runs = f"repos/{project.settings['github_repository']}/actions"
    for run in api(f"{runs}/workflows/{WORKFLOW}/runs?per_page=50")["workflow_runs"]:
        if run["run_number"] <= number or run["status"] == "completed":
            continue
        jobs = {job["name"]: job for job in api(f"{runs}/runs/{run['id']}/jobs?per_page=100")["jobs"]}
        if jobs.get(f"{project.environment} / Deploy", {"status": "completed"})["status"] != "completed":
            raise OpsError(
                f"Run {run['run_number']} of {run['head_sha'][:12]} is newer than this one, and in line for"
                f" {project.environment} already. Nothing was changed.",
                next_step="Nothing needs to be done: it brings this commit too.",
            )


def _waits_for(run: str, environment: str) -> bool:
    return environment in [item["environment"]["name"] for item in api(f"{run}/pending_deployments")]


# ---------------------------------------------------------------------- behind the gate


@click.command("github-deploy")
@options.environment
@options.image
@click.option("--approved", envvar="APPROVED", required=True, help="Hash of the plans that were approved.")
def deploy(environment: str | None, image: str, approved: str) -> None:
    """Apply the plans that were approved, migrate, bring the service to its image, and look at it from outside."""
    project = _project(environment)
    found = plans.read(project)
    if plans.hash_of(found) != approved:
        raise OpsError(
            "The plans in this job are not those that were approved.",
            next_step="Run all jobs again, so that they are planned and approved anew. Nothing was changed.",
        )
    aws = connect(project)
    require_newest(aws, project)
    releases.begin(aws, project, _commit())
    by_layer = {item.layer: item for item in found}
    for item in found:
        plans.use_providers(project, item)
    for layer in _layers(project):
        if layer is not SERVICE and layer.name in by_layer and by_layer[layer.name].changes:
            apply(project, aws, layer, by_layer[layer.name])
    if project.database:
        step = Step("roles")
        report = roles.run(aws, project, "check", step, brief=True)
        step.done(str(report.get("summary", "every role is as project.yaml says")))
    run = up_module.Up(project, aws, image=image, approved=by_layer[SERVICE.name].changes)
    run.deploy()
    smoke.check(aws, project, Step("from outside"))
    say(f"URL: {run.url} ({run.elapsed()})")


def apply(project: Project, aws: Aws, layer: Layer, approved: plans.Planned) -> None:
    """Plan a layer again and apply it where that is what was approved. Raises OpsError with the difference."""
    step = Step(layer.name)
    terraform, plan = layers.plan(project, aws, layer, lock=True, step=step)
    try:
        changes = review.changes(terraform.planned(plan.path))
        if not changes:
            step.done("already as approved")
            return
        up_module.require_approved(approved.place, approved.changes, changes)
        terraform.apply(plan)
        step.done(f"as approved: {plan}")
    finally:
        plan.path.unlink(missing_ok=True)


@click.command("github-status")
@options.environment
def show_status(environment: str | None) -> None:
    """Show what runs now, in the log and on the run's page."""
    project = _project(environment)
    aws = connect(project)
    if not layers.bootstrapped(aws, project):
        return
    text = status.text(status.read(aws, project, drift=False))
    say(text)
    summarize(f"### What runs now\n\n```\n{text}\n```")


# ---------------------------------------------------------------------- afterwards


@click.command("github-replan")
def replan() -> None:
    """Plan open pull requests again that were planned before: what was delivered since may change what they do."""
    repository = load().settings["github_repository"]
    again: list[str] = []
    for pull in api(f"repos/{repository}/pulls?state=open&base={MAIN}"):
        head = pull["head"]["sha"]
        runs: Sequence[dict[str, object]] = api(f"repos/{repository}/actions/workflows/plan.yml/runs?head_sha={head}")[
            "workflow_runs"
        ]
        done = [run for run in runs if run["status"] == "completed"]
        if done and _planned_something(repository, pull["number"]) and _run_again(repository, pull["number"], done[0]):
            again.append(f"#{pull['number']}")
    say(f"planned again: {', '.join(again) or 'none'}")


def _run_again(repository: str, number: int, run: Mapping[str, object]) -> bool:
    """Repeat the plan of a pull request; False, with a warning, where GitHub does not repeat this run any more.

    https://docs.github.com/en/actions/how-tos/manage-workflow-runs/re-run-workflows-and-jobs: 30 days, 50 times.
    """
    try:
        api(f"repos/{repository}/pulls/{number}")  # whoever asks has GitHub merge it with the main branch of now
        gh("api", f"repos/{repository}/actions/runs/{run['id']}/rerun", "--method", "POST")
    except GitHubError as error:
        if error.status != 403 or "not accessible" in error.message:  # what a job without the permission is told
            raise
        warn(f"#{number} is not planned again: {error.message} A new commit or `Update branch` plans it.")
        return False
    return True


def _planned_something(repository: str, number: int) -> bool:
    from ops.github.pulls import COMMENT_MARK

    comments = api(f"repos/{repository}/issues/{number}/comments")
    return any(item["body"].startswith(COMMENT_MARK) for item in comments)


COMMANDS = (review_command, supersede, deploy, show_status, replan)
