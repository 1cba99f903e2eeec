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


def run(aws: Aws, project: Project, action: str, step: Step, *, brief: bool = False) -> dict[str, Any]:
    """Invoke the role manager and show its answer (not when it is well and `brief`).

    Raises OpsError with its report, or with the end of its log.
    """
    if not project.database:
        raise WrongUse("This project has no database, so there are no roles.")
    name = project.names["role_manager"]
    # The function itself ends within 15 minutes, AWS's limit; one invocation is enough.
    config = Config(read_timeout=900, retries={"total_max_attempts": 1})
    client = aws.session.client("lambda", config=config)
    try:
        answer = client.invoke(FunctionName=name, LogType="Tail", Payload=json.dumps({"action": action}).encode())
    except ClientError as error:
        if code(error) == "ResourceNotFoundException":
            raise AccountError(f"There is no function {name}.", next_step=f"Run {project.make('up')} first.") from error
        raise
    payload = _parsed(answer["Payload"].read().decode())
    if not answer.get("FunctionError"):
        for line in [] if brief else describe(payload):
            step.say(line)
        return payload
    # What the role manager itself finds wrong is its report, as the error's message.
    report = _parsed(str(payload.get("errorMessage", payload)))
    if "summary" in report:
        for line in describe(report):
            step.say(line)
        raise OpsError(
            f"The role manager's {action}: {report.get('result', 'failed')}. {report['summary']}",
            next_step=f"{project.make('roles', ACTION='plan')} shows what it would do; {project.make('roles', ACTION='apply')} does it.",
        )
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace").strip()
    message = report.get("answer", report)
    raise OpsError(
        f"The role manager failed at {action}: {message}" + (f"\nEnd of its log:\n{log}" if log else ""),
        next_step=f"Its log group is {project.names['role_manager_log_group']}.",
    )


def _parsed(text: str) -> dict[str, Any]:
    """JSON as a dictionary; what is none is `{"answer": text}`."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {"answer": text}
    return found if isinstance(found, dict) else {"answer": found}


def describe(payload: Any, indent: int = 0) -> list[str]:
    """An answer as indented lines, without what is empty."""
    prefix = " " * indent
    lines: list[str] = []
    items = payload.items() if isinstance(payload, dict) else ((None, item) for item in payload)
    for key, value in items:
        if value in ([], {}, "", None):
            continue
        head = f"{prefix}{key}:" if key is not None else f"{prefix}-"
        if isinstance(value, dict | list) and value:
            if isinstance(value, dict) and key is None:
                lines.append(f"{prefix}- " + ", ".join(f"{name}: {_scalar(item)}" for name, item in value.items()))
            else:
                lines += [head, *describe(value, indent + 2)]
        else:
            lines.append(f"{head} {_scalar(value)}")
    return lines


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
