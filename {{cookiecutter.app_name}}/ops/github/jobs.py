"""What the jobs need to know and have: settings, the image, a sign-in."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import click

from ops import ecs, images, layers
from ops.aws import Aws, connect, identity
from ops.errors import OpsError, WrongUse
from ops.github import changes, options, provenance
from ops.github.api import summarize, write_outputs
from ops.output import Step, say, warn
from ops.project import Project, load
from ops.terraform import BUILD_REPOSITORY, SERVICE

ROLES = ("plan", "build", "apply", "preview")
PREVIEW_ENVIRONMENT = "dev"  # previews are services beside dev; infra/account trusts them so


@click.command("github-settings")
@options.environment
@click.option("--role", envvar="ROLE", default="", help=f"{', '.join(ROLES)}: whose ARN is wanted.")
@click.option(
    "--base",
    envvar="BASE",
    default="",
    help="Commit to compare with: only what changed since is listed.",
)
def settings(environment: str | None, role: str, base: str) -> None:
    """Write settings of project.yaml as outputs of a job's step."""
    project = load(environment or None)
    if role and role not in ROLES:
        raise WrongUse(f"There is no role {role!r}.", next_step=f"One of {', '.join(ROLES)}.")
    if role == "apply" and not environment:
        raise WrongUse("The apply role is of an environment.", next_step="Say which with ENV=….")
    files = changes.changed_files(project.root, base) if base else None
    arm = project.settings["cpu_architecture"] == "arm64"
    write_outputs(
        {
            "region": project.region,
            "account_id": project.account,
            "audience": f"sts.{project.dns_suffix}",
            "role_arn": _role_arn(project, role) if role else "",
            "environments": json.dumps(project.environments),
            "previews": json.dumps(PREVIEW_ENVIRONMENT in project.environments),
            "plans": json.dumps(changes.plans(project, files)),
            "parts": json.dumps(changes.parts(project.root, files)),
            "runner": "ubuntu-24.04-arm" if arm else "ubuntu-24.04",
        }
    )


def _role_arn(project: Project, role: str) -> str:
    path, name = project.names["github_path"], project.names[f"{role}_role"]
    return f"arn:{project.partition}:iam::{project.account}:role{path}{name}"


@click.command("github-ready")
def ready() -> None:
    """Write which environments are there, so that something can be deployed to them."""
    project = load()
    aws = connect(project)
    there = environments_up(aws, project) if layers.bootstrapped(aws, project) else []
    write_outputs({"environments": json.dumps(there)})
    waiting = [name for name in project.environments if name not in there]
    if waiting:
        text = f"Not there yet, and so left alone: {', '.join(waiting)}. `make up ENV=…` brings an environment up."
        say(text)
        summarize(text)


def environments_up(aws: Aws, project: Project) -> list[str]:
    """Environments whose service was applied; those of another account too, which their own jobs look at."""
    if not layers.is_applied(aws, project, BUILD_REPOSITORY):
        return []
    environments = [load(name) for name in project.environments]
    return [
        str(environment.environment)
        for environment in environments
        if not environment.home or layers.is_applied(aws, environment, SERVICE)
    ]


@click.command("github-image")
@click.option("--pull-request", envvar="PULL_REQUEST", default="", metavar="N", help="Whose preview the image is for.")
def image(pull_request: str) -> None:
    """Build and push the image of this commit, and write its digest as an output.

    An image with the commit's tag that GitHub did not build (somebody's `make up`) is not taken for this job's: the
    image is built anew, under a tag of this run.
    """
    project = load(PREVIEW_ENVIRONMENT, f"pr-{int(pull_request)}") if pull_request else load()
    aws = connect(load())  # where the images are
    tag, origin = images.current_tag(project.root)
    step = Step("image")
    images.log_in(aws, project, step)  # the steps after this one read it too
    found = images.find(aws, project, tag)
    if found and not pull_request and not provenance.is_attested(project, found.digest):
        step.say(f"of {origin}: is in the build repository, and was not built by this workflow")
        tag = f"{tag}-{os.environ.get('GITHUB_RUN_ID', '0')}.{os.environ.get('GITHUB_RUN_ATTEMPT', '1')}"
        found = images.find(aws, project, tag)
    built = found is None
    if found is None:
        found = images.build_and_push(aws, project, tag, step)
    else:
        step.say(f"of {origin}: is in the build repository already")
    name = images.uri(project)
    write_outputs(
        {
            "digest": found.digest,
            "name": name,
            "reference": f"{name}@{found.digest}",
            "built": json.dumps(built),
        }
    )


@click.command("github-try-image")
@options.image
def try_image(image: str) -> None:
    """Start an image of this machine as ECS does, without anything around it, and check it against the contract."""
    project = load()
    variables = {
        "APP_NAME": project.app,
        "ENVIRONMENT": "ci",
        "METRICS": "off",
        "AWS_REGION": project.region,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    mounts = []
    if project.database:  # /health answers whatever else is down
        variables |= {"DB_HOST": "localhost", "DB_NAME": "app", "DB_USER": "app", "DB_SCHEMA": "app"}
    if (project.root / "app/flags.json").is_file():
        variables["FLAGS_FILE"] = "/flags.json"
        mounts = ["--volume", f"{project.root / 'app/flags.json'}:/flags.json:ro"]
    given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    as_on_ecs = ["--rm", "--init", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--user=10001:10001"]
    start = shlex.join(["docker", "run", *as_on_ecs, "--publish=8000:8000", *given, *mounts, image])
    environment = os.environ | {"START": start, "URL": "http://localhost:8000"}
    process = subprocess.run([sys.executable, "-m", "ops.laptop.contract"], env=environment, check=False)
    if process.returncode != 0:
        raise OpsError("The image breaks its contract.", next_step="docs/bring-your-own-application.md.")


@click.command("github-running-image")
@options.environment
def running_image(environment: str | None) -> None:
    """Write the reference of the image that an environment runs, and sign in to its repository."""
    if not environment:
        raise WrongUse("Say which environment: ENV=….")
    project = load(environment)
    aws = connect(project)
    digest = ecs.running_digest(aws, project)
    if digest is None and not project.home:
        text = f"{environment} is not there yet: `{project.make('up')}` brings it up."
        say(text)
        summarize(text)
        write_outputs({"reference": ""})
        return
    if digest is None:
        raise OpsError(f"No service runs in {environment}.", next_step=f"{project.make('up')} brings it up.")
    images.log_in(aws, project, Step("image"))
    write_outputs({"reference": f"{images.uri(project)}@{digest}"})


@click.command("github-sign-in")
@options.environment
@click.option("--role", envvar="ROLE", required=True, type=click.Choice(ROLES), help="Role that was taken.")
def sign_in(environment: str | None, role: str) -> None:
    """Say who this job is in AWS; fails where that is not the role that it asked for. Changes nothing."""
    project: Project = load(environment or None)
    who = identity(connect(project))
    wanted = project.names[f"{role}_role"]
    if f"/{wanted}/" not in who.arn:
        raise OpsError(f"This job is {who.arn}, and not {wanted}.", next_step="See infra/account/github.tf.")
    say(f"signed in as {who.arn}")
    summarize(f"✓ `{wanted}`: {who.arn}")


@click.command("github-not-ready")
def not_ready() -> None:
    """Say what has to be done before GitHub's jobs do anything in AWS."""
    text = (
        "Nothing was done in AWS: the account is not bootstrapped, as far as this repository knows."
        " `make bootstrap` makes GitHub's roles and sets the variable BOOTSTRAPPED (docs/first-hour.md)."
    )
    warn(text)
    summarize(text)


COMMANDS = (settings, ready, image, try_image, running_image, sign_in, not_ready)
