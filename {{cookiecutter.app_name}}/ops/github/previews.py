"""Services of pull requests beside dev's: up, down, and those that were left behind."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import click

from ops import layers, status
from ops.aws import Aws, connect
from ops.errors import OpsError
from ops.github import options
from ops.github.api import api, comment, write_outputs
from ops.github.jobs import PREVIEW_ENVIRONMENT
from ops.output import say, warn
from ops.project import Project, load
from ops.terraform import SERVICE

LABEL = "preview"
MARK = "<!-- ops github-preview -->"


@click.command("github-preview")
@options.pull_request
@options.image
def up(pull_request: int, image: str) -> None:
    """Bring up the service of a pull request and write its address into a comment."""
    workspace = f"pr-{pull_request}"
    _ops("up", "--env", PREVIEW_ENVIRONMENT, "--workspace", workspace, "--image", image, "--yes")
    project = load(PREVIEW_ENVIRONMENT, workspace)
    url = status.url(connect(project), project)
    write_outputs({"url": url})
    text = f"Preview: {url}\n\nIt goes when this pull request is closed or the label `{LABEL}` is removed."
    comment(str(project.settings["github_repository"]), str(pull_request), MARK, text)


@click.command("github-preview-down")
@options.pull_request
def down(pull_request: int) -> None:
    """Remove the service of a pull request, if there is one."""
    project = load(PREVIEW_ENVIRONMENT)
    workspace = f"pr-{pull_request}"
    if workspace not in workspaces(connect(project), project):
        say(f"there is no preview {workspace}")
        return
    _down(workspace)


@click.command("github-sweep")
def sweep() -> None:
    """Remove previews whose pull request is closed or has lost its label."""
    project = load(PREVIEW_ENVIRONMENT)
    pulls = api(f"repos/{project.settings['github_repository']}/pulls?state=open")
    wanted = {f"pr-{pull['number']}" for pull in pulls if _labelled(pull)}
    orphans = [workspace for workspace in workspaces(connect(project), project) if workspace not in wanted]
    failed = []
    for workspace in orphans:
        try:
            _down(workspace)
        except OpsError as error:
            warn(str(error))
            failed.append(workspace)
    if failed:
        raise OpsError(f"Not removed: {', '.join(failed)}.", next_step="The reason stands above; repeat the job.")
    say(f"{len(orphans)} previews removed")


def _labelled(pull: Mapping[str, Any]) -> bool:
    """Whether a pull request has the label, in any letters: GitHub has one label of a name, and workflows ignore case.

    https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
    """
    return LABEL in [label["name"].lower() for label in pull["labels"]]


def workspaces(aws: Aws, project: Project) -> list[str]:
    """Temporary environments of pull requests that have a state."""
    if not layers.bootstrapped(aws, project):
        return []
    key = layers.of(project, SERVICE).temporary_key
    found = set()
    pages = aws.client("s3").get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=project.names["state_bucket"], Prefix="env:/pr-"):
        for item in page.get("Contents", []):
            match = re.fullmatch(rf"env:/(pr-\d+)/{re.escape(key)}", item["Key"])
            if match:
                found.add(match[1])
    return sorted(found)


def _down(workspace: str) -> None:
    _ops("down", "--env", PREVIEW_ENVIRONMENT, "--workspace", workspace, "--confirm", workspace)


def _ops(*arguments: str) -> None:
    """Run another command as a person would."""
    process = subprocess.run([sys.executable, "-m", "ops", *arguments], check=False)  # noqa: S603
    if process.returncode != 0:
        raise OpsError(
            f"ops {' '.join(arguments)} ended with {process.returncode}.", next_step="The reason stands above."
        )


COMMANDS = (up, down, sweep)
