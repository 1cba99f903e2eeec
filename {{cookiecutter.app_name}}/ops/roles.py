"""The database role manager: invoke it, and say what it answered."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError

from ops.aws import Aws, code
from ops.errors import AccountError, OpsError, WrongUse
from ops.output import Step, say
from ops.project import Project

ACTIONS = ("plan", "apply", "check")


def run(
    aws: Aws, project: Project, action: str, step: Step, *, brief: bool = False, as_json: bool = False
) -> dict[str, Any]:
    """Invoke the role manager and show its answer, as a diff or as JSON (not when it is well and `brief`).

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
        if not brief:
            _show(payload, step, as_json=as_json)
        return payload
    # What the role manager itself finds wrong is its report, as the error's message.
    report = _parsed(str(payload.get("errorMessage", payload)))
    if "summary" in report:
        _show(report, step, as_json=as_json)
        raise OpsError(
            f"The role manager's {action}: {report.get('result', 'failed')}. {_visible(report['summary'])}",
            next_step=f"{project.make('roles', ACTION='plan')} lists it: what has a ~ {project.make('roles', ACTION='apply')} "
            "does, what has a ! is a person's, in the words beside it.",
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


def _show(report: dict[str, Any], step: Step, *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(report, indent=2, ensure_ascii=False))
        return
    for line in as_lines(report):
        step.say(line)


def as_lines(report: Mapping[str, Any]) -> list[str]:
    """Write the report of the role manager for a person, as a diff: subject, now, wanted, statement."""
    lines: list[str] = []

    def more(key: str) -> None:
        if (left := report.get(f"{key}_total", 0) - len(report.get(key, ()))) > 0:
            lines.append(f"… and {left} more {key}")

    for change in report.get("changes", ()):
        lines += [f"~ {change.get('object', '')}", f"  - {change.get('now', '')}", f"  + {change.get('wanted', '')}"]
        lines += [f"      {statement};" for statement in change["sql"].split(";\n")]
    more("changes")
    for item in report.get("blocked", ()):
        lines += [f"! {item['object']}", f"  - {item['reason']}", f"      {item['remedy']}"]
    more("blocked")
    for proof in report.get("proofs", ()):
        verdict = "FAILED" if proof["problems"] else "proven"
        lines.append(f"{proof['role']} ({proof['method']}): {verdict}, {len(proof['proven'])} proofs")
        lines += [f"  ! {problem}" for problem in proof["problems"]]
    lines += [f"Note: {note}" for note in report.get("notes", ())]
    lines.append(f"{report['action']}: {report['result']}. {report['summary']}")
    return [_visible(line) for line in lines]


def _visible(line: str) -> str:
    """One line whatever is in it: a name may hold line ends, which a CI reads commands after, and what moves a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
