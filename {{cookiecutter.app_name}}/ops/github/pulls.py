"""Plans for people: in the comment of a pull request, and in the issue about drift."""

from __future__ import annotations

import click

from ops.aws import connect
from ops.errors import OpsError
from ops.github import changes, options, plans
from ops.github.api import api, comment, summarize
from ops.output import say
from ops.project import load

COMMENT_MARK = "<!-- ops github-comment -->"
DRIFT_TITLE = "AWS is not as the main branch says"
DRIFT_LABEL = "drift"


@click.command("github-plan")
@options.environment
@click.option("--layers", "names", envvar="LAYERS", required=True, help="Layers, separated by spaces.")
def plan(environment: str | None, names: str) -> None:
    """Plan layers without locks, and leave the plans for the job that tells about them. Fails where one failed."""
    project = load(environment or None)
    found = plans.make(project, connect(project), names.split())
    plans.write(project, found)
    summarize(plans.markdown(found, summary=True))
    plans.refuse_failed(found)


@click.command("github-comment")
@options.pull_request
def comment_command(pull_request: int) -> None:
    """Write all plans into one comment of the pull request."""
    project = load()
    found = plans.read(project)
    repository = str(project.settings["github_repository"])
    comment(repository, str(pull_request), COMMENT_MARK, "### Plan\n\n" + plans.markdown(found))
    say(f"{len(found)} plans in the comment of pull request {pull_request}")


@click.command("github-drift")
@click.option("--result", envvar="RESULT", default="success", help="Result of the planning jobs.")
def drift(result: str) -> None:
    """Open, update or close the issue about what differs from the main branch."""
    project = load()
    repository = str(project.settings["github_repository"])
    found = plans.read(project)
    differs = plans.differing(found)
    open_issues = [
        issue
        for issue in api(f"repos/{repository}/issues?state=open&labels={DRIFT_LABEL}")
        if issue["title"] == DRIFT_TITLE and "pull_request" not in issue
    ]
    wanted = {(job["environment"], name) for job in changes.plans(project, None) for name in job["layers"].split()}
    missing = len(wanted - {(item.environment, item.layer) for item in found})
    if not differs and not missing and result == "success":
        for issue in open_issues:
            place = f"repos/{repository}/issues/{issue['number']}"
            api(f"{place}/comments", method="POST", body={"body": "All is as the main branch says again."})
            api(place, method="PATCH", body={"state": "closed"})
        say("no drift")
        return
    text = plans.markdown(found)
    if missing:
        text = f"{missing} plans could not be made: see the run of the workflow Drift.\n\n{text}"
    if open_issues:  # its labels stay: those that are given take the place of all
        api(f"repos/{repository}/issues/{open_issues[0]['number']}", method="PATCH", body={"body": text})
    else:
        body = {"title": DRIFT_TITLE, "body": text, "labels": [DRIFT_LABEL]}
        api(f"repos/{repository}/issues", method="POST", body=body)
    say(f"drift in {', '.join(item.place for item in differs) or 'plans that could not be made'}")


@click.command("github-dependencies")
@click.option("--base", envvar="BASE", required=True, help="Commit of the base.")
@click.option("--head", envvar="HEAD", required=True, help="Commit of the pull request.")
def dependencies(base: str, head: str) -> None:
    """After a dependency review that failed: pass where GitHub does not offer it for this repository, else fail."""
    from ops.github.api import GitHubError

    repository = load().settings["github_repository"]
    try:
        api(f"repos/{repository}/dependency-graph/compare/{base}...{head}")
    except GitHubError as error:
        if error.status in (403, 404) and "rate limit" not in error.message:
            text = "Not reviewed: GitHub offers that for a private repository with Code Security only."
            say(text)
            summarize(f"Dependencies: {text}")
            return
        raise
    raise OpsError(
        "The pull request brings a dependency with a known vulnerability: see the step before.",
        next_step="Take another version of it.",
    )


COMMANDS = (plan, comment_command, drift, dependencies)
