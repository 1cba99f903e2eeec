"""The database role manager: invoke it, and say what it answered."""

from __future__ import annotations

import base64
import json
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from ops.aws import Aws, code
from ops.errors import AccountError, OpsError, WrongUse
from ops.output import Step
from ops.project import Project

ACTIONS = ("plan", "apply", "check")


def run(aws: Aws, project: Project, action: str, step: Step) -> dict[str, Any]:
    """Invoke the role manager; its answer. Raises OpsError with its errors, or with the end of its log."""
    if not project.database:
        raise WrongUse("This project has no database, so there are no roles.")
    name = project.names["role_manager"]
    # The function itself ends within 15 minutes, AWS's limit; one invocation is enough.
    config = Config(read_timeout=900, retries={"total_max_attempts": 1})
    client = aws.session.client("lambda", config=config)
    try:
        answer = client.invoke(
            FunctionName=name, LogType="Tail", Payload=json.dumps({"action": action}).encode()
        )
    except ClientError as error:
        if code(error) == "ResourceNotFoundException":
            raise AccountError(
                f"There is no function {name}.", next_step=f"Run {project.make('up')} first."
            ) from error
        raise
    text = answer["Payload"].read().decode()
    try:
        payload = json.loads(text) if text else {}
    except json.JSONDecodeError:
        payload = {"answer": text}
    if answer.get("FunctionError"):
        log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace").strip()
        message = payload.get("errorMessage", text) if isinstance(payload, dict) else text
        raise OpsError(
            f"The role manager failed at {action}: {message}"
            + (f"\nEnd of its log:\n{log}" if log else ""),
            next_step=f"Its log group is {project.names['role_manager_log_group']}.",
        )
    if not isinstance(payload, dict):
        payload = {"answer": payload}
    for line in describe(payload):
        step.say(line)
    if payload.get("ok") is False or payload.get("errors") or payload.get("problems"):
        raise OpsError(
            f"The role manager's {action} did not pass.",
            next_step=f"{project.make('roles', ACTION='plan')} shows what it would do.",
        )
    return payload


def describe(payload: Any, indent: int = 0) -> list[str]:
    """An answer as indented lines."""
    prefix = " " * indent
    lines: list[str] = []
    items = payload.items() if isinstance(payload, dict) else ((None, item) for item in payload)
    for key, value in items:
        head = f"{prefix}{key}:" if key is not None else f"{prefix}-"
        if isinstance(value, dict | list) and value:
            if isinstance(value, dict) and key is None:
                lines.append(
                    f"{prefix}- "
                    + ", ".join(f"{name}: {_scalar(item)}" for name, item in value.items())
                )
            else:
                lines += [head, *describe(value, indent + 2)]
        else:
            lines.append(f"{head} {_scalar(value)}")
    return lines


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
