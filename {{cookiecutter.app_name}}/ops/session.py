"""A shell in a running task, by ECS Exec and AWS's Session Manager plugin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

from botocore.exceptions import ClientError

from ops import ecs
from ops.aws import Aws, code
from ops.errors import OpsError, WrongUse
from ops.project import Project

_PLUGIN = "session-manager-plugin"
_INSTALL = (
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
)
# The plugin reads the answer, which holds a token, from the variable that its argument names (since 1.2.497.0).
_VARIABLE = "AWS_SSM_START_SESSION_RESPONSE"


def open_shell(aws: Aws, project: Project, command: str, task: str | None) -> int:
    """Run `command` in a task and connect this terminal to it; the plugin's exit code."""
    plugin = shutil.which(_PLUGIN)
    if plugin is None:
        raise OpsError(f"The {_PLUGIN} is not installed.", next_step=_INSTALL)
    found = _task(aws, project, task)
    client = aws.client("ecs")
    cluster = project.names["service"]
    try:
        answer = client.execute_command(
            cluster=cluster,
            task=found["taskArn"],
            container=ecs.CONTAINER,
            command=command,
            interactive=True,
        )
    except ClientError as error:
        if code(error) == "TargetNotConnectedException":
            raise OpsError(
                "The task's agent is not connected (yet).",
                next_step="Wait a minute and try again; then see that the endpoint ssmmessages is there.",
            ) from error
        raise
    runtime = next((item["runtimeId"] for item in found["containers"] if item["name"] == ecs.CONTAINER), "")
    target = f"ecs:{cluster}_{found['taskArn'].rsplit('/', 1)[-1]}_{runtime}"
    arguments = [
        plugin,
        _VARIABLE,
        project.region,
        "StartSession",
        "",
        json.dumps({"Target": target}),
        client.meta.endpoint_url,
    ]
    environment = os.environ | {_VARIABLE: json.dumps(answer["session"])}
    return subprocess.run(arguments, env=environment, check=False).returncode  # noqa: S603 - our own arguments


def _task(aws: Aws, project: Project, wanted: str | None) -> dict[str, Any]:
    client = aws.client("ecs")
    cluster = project.names["service"]
    ecs.existing_service(aws, project)
    arns = client.list_tasks(cluster=cluster, serviceName=cluster, desiredStatus="RUNNING")["taskArns"]
    tasks = client.describe_tasks(cluster=cluster, tasks=arns[:100])["tasks"] if arns else []
    names = {task["taskArn"].rsplit("/", 1)[-1]: task for task in tasks if task["lastStatus"] == "RUNNING"}
    if not names:
        raise OpsError("No task runs.", next_step=f"{project.make('status')} shows why.")
    if wanted is None:
        newest = max(names, key=lambda name: str(names[name].get("startedAt", "")))
        return dict(names[newest])
    matching = [task for name, task in names.items() if name.startswith(wanted)]
    if len(matching) != 1:
        raise WrongUse(
            f"No task (or more than one) begins with {wanted!r}.",
            next_step=f"One of {', '.join(names)}.",
        )
    return dict(matching[0])
