"""EventBridge Scheduler: schedules begin what they say, as their role, with the time until then shortened to a tenth."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule

from ops import jobs
from ops.rehearsal.simulator.identities import RefusedError
from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

SCHEDULER = "scheduler.amazonaws.com"
RUN_TASK = "aws-sdk:ecs:runTask"
SHORTENED = 10
RETRY_SECONDS = 1.0  # on AWS longer each time; after the tries that are left here, the event is dead
TRIES = 3


def install(world: World) -> None:
    """Let schedules run: call it before the server starts."""
    over = threading.Event()
    world.closers.append(over.set)
    # The newest form of each schedule: a changed one begins anew.
    current: dict[str, object] = {}

    def begin(backend: EventBridgeSchedulerBackend, schedule: Schedule) -> None:
        form = current[schedule.arn] = object()

        def live() -> None:
            while (moment := _next(schedule)) is not None:
                if over.wait((moment - datetime.now(UTC)).total_seconds() / SHORTENED):
                    return
                group = backend.schedule_groups.get(schedule.group_name)
                if current[schedule.arn] is not form or group is None or schedule.name not in group.schedules:
                    return
                if schedule.state == "ENABLED":
                    _fire(world, group.arn, schedule)

        threading.Thread(target=live, daemon=True).start()

    @gap("aws_scheduler_schedule", "schedules never begin anything")
    @wraps(EventBridgeSchedulerBackend, "create_schedule")
    def create_schedule(original: Any, backend: EventBridgeSchedulerBackend, *args: Any, **kwargs: Any) -> Schedule:
        schedule: Schedule = original(backend, *args, **kwargs)
        begin(backend, schedule)
        return schedule

    @wraps(EventBridgeSchedulerBackend, "update_schedule")
    def update_schedule(original: Any, backend: EventBridgeSchedulerBackend, *args: Any, **kwargs: Any) -> Schedule:
        schedule: Schedule = original(backend, *args, **kwargs)
        begin(backend, schedule)
        return schedule


def _next(schedule: Schedule) -> datetime | None:
    now = datetime.now(UTC)
    every = jobs.interval(schedule.schedule_expression)
    if every is not None:
        return now + every
    return jobs.next_run(schedule.schedule_expression, schedule.schedule_expression_timezone, now)


def _fire(world: World, group_arn: str, schedule: Schedule) -> None:
    """Do what the target says, as its role; what cannot be done goes to the dead-letter queue."""
    target: Mapping[str, Any] = schedule.target
    error: ClientError | RefusedError
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    given: dict[str, str] | None = None
    for _ in range(TRIES):
        try:
            # A role can trust no less than the schedules of a group.
            given = world.identities.for_service(SCHEDULER, target["RoleArn"], group_arn, schedule.name)
            started = _run_task(world, given, target, moment)
        except (ClientError, RefusedError) as found:
            error = found
            time.sleep(RETRY_SECONDS)
            continue
        world.note("schedules", schedule=schedule.name, at=moment, started=started)
        return
    code = error.code if isinstance(error, RefusedError) else error.response["Error"]["Code"]
    dead = _dead_letter(world, given, schedule, code, str(error))
    world.note("schedules", schedule=schedule.name, at=moment, failed=str(error), dead_letter=dead)


def _run_task(world: World, credentials: Mapping[str, str], target: Mapping[str, Any], moment: str) -> list[str]:
    if not target["Arn"].endswith(f":{RUN_TASK}"):
        raise RefusedError(
            "ValidationException", f"the rehearsal's schedules start ECS tasks, not {target['Arn']}", 400
        )
    text = str(target["Input"]).replace("<aws.scheduler.scheduled-time>", moment)
    answer = world.client("ecs", credentials).run_task(**_lower(json.loads(text)))
    return [task["taskArn"] for task in answer["tasks"]]


def _lower(value: Any) -> Any:
    """Names as the SDK for Python has them: a universal target's begin with a capital."""
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: _lower(item) for key, item in value.items()}
    return [_lower(item) for item in value] if isinstance(value, list) else value


def _dead_letter(
    world: World, credentials: Mapping[str, str] | None, schedule: Schedule, code: str, message: str
) -> str:
    """Send the event to the schedule's queue by its role; what became of it."""
    arn = str(schedule.target.get("DeadLetterConfig", {}).get("Arn", ""))
    if not arn or credentials is None:
        return "dropped"
    _, _, _, _, account, name = arn.split(":")
    # https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
    given = {
        "ERROR_CODE": code,
        "ERROR_MESSAGE": message[:1000],
        "SCHEDULE_ARN": schedule.arn,
        "TARGET_ARN": schedule.target["Arn"],
    }
    attributes = {key: {"DataType": "String", "StringValue": value} for key, value in given.items()}
    sqs = world.client("sqs", credentials)
    try:
        sqs.send_message(
            QueueUrl=f"{world.endpoint}/{account}/{name}",
            MessageBody=schedule.target["Input"],
            MessageAttributes=attributes,
        )
    except ClientError as error:
        return f"dropped: {error}"
    return "sent"
