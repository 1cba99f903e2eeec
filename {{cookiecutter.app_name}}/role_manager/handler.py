"""The Lambda function. Its payload names the action; everything else comes from its configuration.

Environment: DESIRED_STATE (JSON, what project.yaml has under database_roles), DB_HOST, DB_PORT, DB_NAME,
MASTER_SECRET_ARN, and DB_CA_BUNDLE where the server's certificate is not of RDS.

Answer: the report of `report.as_dict`. An action that fails raises, so that the invocation fails: the
error's message is the same report as JSON, and its type is its result (Drift, Blocked, Failed).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from role_manager.actions import ACTIONS, ActionError, Manager, Report, apply, check, plan
from role_manager.connection import CA_BUNDLE, ConnectionFailedError, Server, master_login
from role_manager.desired import parse
from role_manager.report import Log, as_dict


class InvalidRequestError(ValueError):
    """The payload or the function's environment is not what it must be."""


class RoleManagerError(Exception):
    """The action failed; the message is the report as JSON."""


class Drift(RoleManagerError):  # noqa: N818 - the name is the result that callers see
    """The database is not as declared."""


class Blocked(RoleManagerError):  # noqa: N818
    """Something cannot be made as declared by the master user."""


class Failed(RoleManagerError):  # noqa: N818
    """The action did not succeed."""


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Run one action.

    Args:
        event: `{"action": "plan" | "apply" | "check"}` and nothing else.
        context: Lambda's, for the request id.

    """
    log = Log(request_id=getattr(context, "aws_request_id", ""))
    try:
        action = _action(event)
        manager = _manager(log)
    except InvalidRequestError as error:
        log(str(error), level="error")
        raise
    log("started", action=action)
    try:
        report = {"plan": plan, "apply": apply, "check": check}[action](manager)
    except ActionError as error:
        report = error.report
    except ConnectionFailedError as error:
        report = Report(action, "failed", str(error))
    answer = as_dict(report)
    failure = {"drift": Drift, "failed": Failed, "blocked": Blocked}.get(report.result)
    log(report.summary, level="error" if failure else "info", report=answer)
    if failure and report.fails:
        raise failure(json.dumps(answer, ensure_ascii=False)) from None
    return answer


def _action(event: Any) -> str:
    if not isinstance(event, dict) or set(event) != {"action"} or event["action"] not in ACTIONS:
        raise InvalidRequestError(
            'The payload must be {"action": "plan"}, {"action": "apply"} or {"action": "check"} and '
            "nothing else: the desired state comes from the function's configuration"
        )
    return str(event["action"])


def _manager(log: Log) -> Manager:
    names = ("DESIRED_STATE", "DB_HOST", "DB_PORT", "DB_NAME", "MASTER_SECRET_ARN")
    values = {name: os.environ.get(name, "") for name in names}
    if missing := [name for name, value in values.items() if not value]:
        raise InvalidRequestError(
            f"The function's environment lacks {', '.join(missing)}: apply the database layer again"
        )
    try:
        port = int(values["DB_PORT"])
        desired = parse(json.loads(values["DESIRED_STATE"]))
    except ValueError as error:
        message = "DESIRED_STATE must be JSON as project.yaml declares it and DB_PORT a number"
        raise InvalidRequestError(f"{message}: apply the database layer again. {error}") from None
    bundle = Path(os.environ.get("DB_CA_BUNDLE") or CA_BUNDLE)
    server = Server(values["DB_HOST"], port, values["DB_NAME"], bundle)
    return Manager(server, lambda: master_login(values["MASTER_SECRET_ARN"]), desired, log)
