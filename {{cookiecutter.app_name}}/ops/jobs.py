"""Scheduled jobs: run one now, list them with their last and next runs, let them follow the service's image."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from botocore.exceptions import ClientError

from ops import ecs, queues
from ops.aws import Aws, code
from ops.errors import AccountError, OpsError, WrongUse
from ops.output import duration, table
from ops.project import Project

# What infra/service/jobs.tf writes into a scheduled task's startedBy, and who types `make job` is.
BY_SCHEDULE, BY_HAND = "schedule", "ops-job"
# For a task to start: its timeout counts from then.
START_SECONDS = 5 * 60
LOOK_BACK = timedelta(days=8)
SHOWN = 3
_ENDED = re.compile(r"^job (\S+) ended: (.*)$")
_UNITS = {"minute": 1, "hour": 60, "day": 1440}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True)
class Run:
    """A run that is over, or runs (`ended` is None)."""

    began: datetime
    ended: datetime | None
    outcome: str


def require_declared(project: Project, name: str) -> Mapping[str, Any]:
    """A job's settings. Raises WrongUse for a name that this environment does not have."""
    if name not in project.jobs:
        has = f"It has {', '.join(sorted(project.jobs))}" if project.jobs else "It has none"
        why = "A temporary environment has no jobs" if project.temporary else has
        raise WrongUse(f"{project.place} has no job {name}. {why}.", next_step="Add it to jobs of project.yaml.")
    return dict(project.jobs[name])


def family(project: Project, name: str) -> str:
    """Name of a job's task definition, schedule and rule."""
    return f"{project.names['job']}-{name}"


def _schedule(aws: Aws, project: Project, name: str) -> dict[str, Any] | None:
    try:
        return dict(aws.client("scheduler").get_schedule(GroupName=project.names["jobs"], Name=family(project, name)))
    except ClientError as error:
        if code(error) == "ResourceNotFoundException":
            return None
        raise


# ---------------------------------------------------------------------- when


def interval(schedule: str) -> timedelta | None:
    """The time between two runs of `rate(…)`; None for a cron."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    return timedelta(minutes=int(match[1]) * _UNITS[match[2]]) if match else None


def next_run(schedule: str, time_zone: str, after: datetime) -> datetime | None:
    """The first moment after another one at which a `cron(…)` begins; None for a rate, and where there is none.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html: a moment that does not exist because the
    clocks go forward is left out.
    """
    match = re.fullmatch(r"cron\((.+)\)", schedule)
    if match is None:
        return None
    try:
        zone = ZoneInfo(time_zone)
    except ZoneInfoNotFoundError:
        return None
    minutes, hours, days, months, weekdays, years = match[1].split()
    day = after.astimezone(zone).date()
    for _ in range(366 * 8):
        if (
            day.year in _values(years, 1970, 2199)
            and day.month in _values(months, 1, 12, _MONTHS)
            and _on(day, days, weekdays)
        ):
            for hour in sorted(_values(hours, 0, 23)):
                for minute in sorted(_values(minutes, 0, 59)):
                    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                    exists = moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None)
                    if exists and moment > after:
                        return moment.astimezone(UTC)
        day += timedelta(days=1)
    return None


def _values(field: str, first: int, last: int, names: tuple[str, ...] = ()) -> set[int]:
    """The numbers of a cron's field."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        start = first if low == "*" else _number(low, first, names)
        end = _number(high, first, names) if high else last if low == "*" or step else start
        found |= set(range(start, end + 1, int(step or 1)))
    return found


def _number(text: str, first: int, names: tuple[str, ...]) -> int:
    return names.index(text) + first if text in names else int(text)


def _on(day: date, days: str, weekdays: str) -> bool:
    """Whether a cron's two fields of days mean this one: one of them is ?."""
    is_last_week = (day + timedelta(days=7)).month != day.month
    if weekdays == "?":
        return (day + timedelta(days=1)).month != day.month if days == "L" else day.day in _values(days, 1, 31)
    weekday = day.isoweekday() % 7 + 1
    if match := re.fullmatch(r"(\w+?)(L|#(\d))", weekdays):
        which = is_last_week if match[2] == "L" else (day.day - 1) // 7 + 1 == int(match[3])
        return weekday == _number(match[1], 1, _DAYS) and which
    return weekday in _values(weekdays, 1, 7, _DAYS)


# ---------------------------------------------------------------------- now


def run(aws: Aws, project: Project, name: str, *, overlap: bool = False, show: Callable[[str], None]) -> ecs.Stopped:
    """Run a job as its schedule would, show its log, wait for its end.

    Raises OpsError where it runs already, or would still when its schedule begins it, unless `overlap` or project.yaml
    says so; AccountError before it is deployed.
    """
    job = require_declared(project, name)
    found = _schedule(aws, project, name)
    if found is None:
        raise AccountError(
            f"The job {name} is not deployed.",
            next_step=f"{project.make('apply', LAYER='service')} makes its schedule.",
        )
    if not (overlap or job["overlap"]):
        _refuse_overlap(aws, project, name, job)
    return ecs.run_task(
        aws,
        project,
        json.loads(found["Target"]["Input"])["TaskDefinition"],
        show=show,
        timeout=job["timeout_minutes"] * 60 + START_SECONDS,
        started_by=BY_HAND,
    )


def _refuse_overlap(aws: Aws, project: Project, name: str, job: Mapping[str, Any]) -> None:
    if running := [task for task in _tasks(aws, project, name) if task["lastStatus"] != "STOPPED"]:
        task = running[0]["taskArn"].rsplit("/", 1)[-1]
        raise OpsError(
            f"The job {name} runs: task {task}.", next_step="Wait for its end, or say OVERLAP=1 to run it beside."
        )
    now = datetime.now(UTC)
    following = _following(aws, project, name, job, now)
    if following and following - now < timedelta(minutes=job["timeout_minutes"], seconds=START_SECONDS):
        raise OpsError(
            f"The schedule begins {name} at {following:%Y-%m-%d %H:%M} UTC, before a run that begins now must be over.",
            next_step="Wait for that one, or say OVERLAP=1 to run it beside.",
        )


def _following(aws: Aws, project: Project, name: str, job: Mapping[str, Any], now: datetime) -> datetime | None:
    """When the schedule begins a job next; None where that is not known: a rate that has not run yet."""
    every = interval(job["schedule"])
    if every is None:
        return next_run(job["schedule"], job["time_zone"], now)
    last = max((item.began for item in runs(aws, project, name)), default=None)
    return None if last is None or last + every < now else last + every


def _tasks(aws: Aws, project: Project, name: str) -> list[dict[str, Any]]:
    """A job's tasks: those that run, also while they are being stopped, and those that stopped in the last hour."""
    client, cluster = aws.client("ecs"), project.names["service"]
    try:
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for arn in client.list_tasks(cluster=cluster, family=family(project, name), desiredStatus=status)[
                "taskArns"
            ]
        ]
    except ClientError as error:
        if code(error) == "ClusterNotFoundException":
            return []
        raise
    return list(client.describe_tasks(cluster=cluster, tasks=arns[:100])["tasks"]) if arns else []


# ---------------------------------------------------------------------- list


def runs(aws: Aws, project: Project, name: str) -> list[Run]:
    """Runs of a job, the newest first: those in its log, and of the last hour those that have none."""
    found = list(_logged(aws, project, name))
    for task in _tasks(aws, project, name):
        began = task.get("startedAt") or task["createdAt"]
        if task["lastStatus"] != "STOPPED":
            found.append(Run(began, None, "runs"))
        elif not any("exitCode" in item for item in task.get("containers", [])):
            found.append(Run(began, task.get("stoppedAt") or began, f"did not start: {ecs.why_stopped(task)}"))
    return sorted(found, key=lambda item: item.began, reverse=True)


def _logged(aws: Aws, project: Project, name: str) -> Iterator[Run]:
    start = datetime.now(UTC) - LOOK_BACK
    options = {"logStreamNamePrefix": f"job-{name}/", "filterPattern": f'"job {name} ended"'}
    pages = (
        aws.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=project.names["service_log_group"], startTime=int(start.timestamp() * 1000), **options)
    )
    try:
        events = [event for page in pages for event in page["events"]]
    except ClientError as error:
        if code(error) == "ResourceNotFoundException":
            return
        raise
    for event in events:
        try:
            line = json.loads(event["message"])
        except ValueError:
            continue
        if isinstance(line, dict) and (match := _ENDED.match(str(line.get("message")))) and match[1] == name:
            ended = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
            exit_code = line.get("exit_code")
            yield Run(
                ended - timedelta(seconds=float(line.get("seconds", 0))),
                ended,
                match[2] + (f" (exit code {exit_code})" if exit_code else ""),
            )


def text(aws: Aws, project: Project) -> str:
    """Every job of the environment with its schedule, next run and last runs, and what could not be started."""
    if not project.jobs:
        return f"{project.place} has no jobs (jobs of project.yaml)."
    now, rows = datetime.now(UTC), []
    for name, job in sorted(project.jobs.items()):
        deployed = _schedule(aws, project, name)
        following = _following(aws, project, name, job, now) if deployed else None
        state = "not deployed" if deployed is None else "" if deployed["State"] == "ENABLED" else "DISABLED"
        rows.append([name, f"{job['schedule']} {job['time_zone']}", state or _next(following)])
        rows += [["", _moment(item), item.outcome] for item in runs(aws, project, name)[:SHOWN]]
    lines = [project.place, table(rows)]
    lines.extend(f"could not be started: {reason}" for reason in _dead_letters(aws, project))
    return "\n".join(lines)


def _next(moment: datetime | None) -> str:
    return f"next {moment:%Y-%m-%d %H:%M} UTC" if moment else "next unknown"


def _moment(item: Run) -> str:
    took = f", {duration((item.ended - item.began).total_seconds())}" if item.ended else ""
    return f"{item.began:%Y-%m-%d %H:%M} UTC{took}"


def _queue(aws: Aws, project: Project) -> str | None:
    return queues.find(aws, project.names["jobs_dead_letters"])


def _dead_letters(aws: Aws, project: Project) -> list[str]:
    """The runs that could not be started, in words; they stay in the queue."""
    queue = _queue(aws, project)
    if queue is None:
        return []
    client = aws.client("sqs")
    counted = client.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
    number = int(counted["Attributes"]["ApproximateNumberOfMessages"])
    if not number:
        return []
    found = client.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
    ).get("Messages", [])
    lines = []
    for message in found:
        given = {key: item.get("StringValue", "") for key, item in message.get("MessageAttributes", {}).items()}
        schedule = given.get("SCHEDULE_ARN", "").rpartition("/")[2].removeprefix(f"{project.names['job']}-")
        lines.append(f"{schedule or 'a job'}: {given.get('ERROR_CODE', '')} {given.get('ERROR_MESSAGE', '')}".rstrip())
    more = number - len(lines)
    return [*lines, *([f"and {more} more"] if more > 0 else []), f"{project.make('jobs', FORGET='1')} forgets them"]


def forget(aws: Aws, project: Project) -> None:
    """Empty the queue of what could not be started, which ends its alarm."""
    if queue := _queue(aws, project):
        aws.client("sqs").purge_queue(QueueUrl=queue)


# ---------------------------------------------------------------------- deployments


def follow_service(aws: Aws, project: Project) -> list[str]:
    """Point schedules at the revisions with the image that the service runs, after a deployment was rolled back.

    Returns the names of the jobs that were changed.
    """
    digest = ecs.running_digest(aws, project)
    changed = []
    for name in sorted(project.jobs):
        found = _schedule(aws, project, name)
        if found is None or digest is None:
            continue
        target = json.loads(found["Target"]["Input"])
        definition = _revision(aws, family(project, name), digest)
        if definition is None or definition == target["TaskDefinition"]:
            continue
        target["TaskDefinition"] = definition
        aws.client("scheduler").update_schedule(
            Name=found["Name"],
            GroupName=found["GroupName"],
            Description=found.get("Description", ""),
            ScheduleExpression=found["ScheduleExpression"],
            ScheduleExpressionTimezone=found["ScheduleExpressionTimezone"],
            FlexibleTimeWindow=found["FlexibleTimeWindow"],
            State=found["State"],
            Target=found["Target"] | {"Input": json.dumps(target)},
        )
        changed.append(name)
    return changed


def _revision(aws: Aws, of_family: str, digest: str) -> str | None:
    """The newest active revision of a family with an image; None where there is none."""
    pages = (
        aws.client("ecs")
        .get_paginator("list_task_definitions")
        .paginate(familyPrefix=of_family, status="ACTIVE", sort="DESC")
    )
    for arn in (arn for page in pages for arn in page["taskDefinitionArns"]):
        if arn.rsplit("/", 1)[-1].rsplit(":", 1)[0] == of_family:
            definition = ecs.task_definition(aws, arn)
            if definition and ecs.container(definition)["image"].endswith(f"@{digest}"):
                return str(arn)
    return None
