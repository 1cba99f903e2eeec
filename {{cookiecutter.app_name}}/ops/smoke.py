"""A look at the service from outside, as its users have it: through DNS, the load balancer and its certificate."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request

from ops import status
from ops.aws import Aws
from ops.errors import DeploymentFailed
from ops.output import Step, duration
from ops.project import Project

PATH = "/health"  # docs/bring-your-own-application.md
ANSWERS = 3  # one after the other
SECONDS = 120
POLL_SECONDS = 3.0
_EVERYBODY = "0.0.0.0/0"


def check(aws: Aws, project: Project, step: Step) -> None:
    """See the service answer. Raises DeploymentFailed where it does not; says so where only some may call it."""
    cidrs = set(project.environment_settings["ingress"]["cidrs"])
    if _EVERYBODY not in cidrs:
        step.done(f"not looked at: only {', '.join(sorted(cidrs))} may call it")
        return
    url = status.url(aws, project)
    if not url:
        raise DeploymentFailed(
            f"{project.place} has no load balancer.", next_step=f"{project.make('up')} makes what is missing."
        )
    deadline = time.monotonic() + SECONDS
    good = 0
    while good < ANSWERS:
        problem = _problem(url + PATH)
        good = 0 if problem else good + 1
        if problem and time.monotonic() > deadline:
            raise DeploymentFailed(
                f"From outside {url}{PATH} does not answer after {duration(SECONDS)}: {problem}",
                next_step="The tasks are healthy, so look at DNS, certificate, listener and security groups:"
                f" {project.make('status')}; {project.make('logs')} shows whether requests arrive.",
            )
        if good < ANSWERS:
            time.sleep(POLL_SECONDS)
    step.done(f"{url}{PATH} answers")


def _problem(url: str) -> str:
    """What is wrong with the answer; empty for 200."""
    request = urllib.request.Request(url, headers={"User-Agent": "ops-smoke"})  # noqa: S310 - http or https of ours
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return "" if answer.status == 200 else f"status {answer.status}"
    except urllib.error.HTTPError as error:
        return f"status {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))
    except http.client.HTTPException as error:
        return f"what answers does not speak HTTP ({type(error).__name__})"
