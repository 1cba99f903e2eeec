"""CloudWatch Logs: search a group, follow it, read the log of one task."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from ops.aws import Aws, code
from ops.errors import OpsError, WrongUse
from ops.project import Project

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def since(text: str) -> datetime:
    """`10m`, `2h`, `1d` ago, or an ISO date and time (UTC unless it says another zone). Raises WrongUse."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match:
        return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise WrongUse(f"SINCE: {text!r} is no time.", next_step="Such as 10m, 2h, 1d or 2026-01-31T08:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def line(event: dict[str, Any]) -> str:
    """An event as `time  task  message`."""
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
    task = event.get("logStreamName", "").rsplit("/", 1)[-1][:8]
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z  {task:8}  {event['message'].rstrip()}"


def search(aws: Aws, group: str, start: datetime, pattern: str = "") -> Iterator[dict[str, Any]]:
    """Events of a log group from `start` on, oldest first. Raises OpsError when there is no such group."""
    pages = aws.client("logs").get_paginator("filter_log_events")
    options = {"filterPattern": pattern} if pattern else {}
    try:
        for page in pages.paginate(logGroupName=group, startTime=int(start.timestamp() * 1000), **options):
            yield from page["events"]
    except ClientError as error:
        if code(error) == "ResourceNotFoundException":
            raise OpsError(f"There is no log group {group}.", next_step="Run make up first.") from error
        raise


def follow(aws: Aws, group: str, start: datetime, pattern: str = "", interval: float = 2) -> Iterator[dict[str, Any]]:
    """Events from `start` on, and new ones as they come, until interrupted."""
    seen: dict[str, int] = {}
    while True:
        for event in search(aws, group, start, pattern):
            if event["eventId"] not in seen:
                seen[event["eventId"]] = event["timestamp"]
                yield event
        # Events may arrive late and out of order: look at the last minute again each time.
        start = max(start, datetime.now(UTC) - timedelta(minutes=1))
        oldest = start.timestamp() * 1000
        seen = {key: moment for key, moment in seen.items() if moment >= oldest}
        time.sleep(interval)


class TaskLog:
    """The log of one task's container, read as it grows."""

    def __init__(self, aws: Aws, group: str, stream: str) -> None:
        self.client = aws.client("logs")
        self.group = group
        self.stream = stream
        self.token: str | None = None

    def new(self) -> list[str]:
        """The lines since the last call; empty while the stream does not exist."""
        lines: list[str] = []
        while True:
            options = {"nextToken": self.token} if self.token else {}
            try:
                page = self.client.get_log_events(
                    logGroupName=self.group,
                    logStreamName=self.stream,
                    startFromHead=True,
                    **options,
                )
            except ClientError as error:
                if code(error) == "ResourceNotFoundException":
                    return lines
                raise
            lines += [event["message"].rstrip() for event in page["events"]]
            # The same token twice is the end. https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
            end = page["nextForwardToken"] == self.token or not page["events"]
            self.token = page["nextForwardToken"]
            if end:
                return lines


def last_lines(aws: Aws, project: Project, count: int = 20, minutes: int = 15) -> list[str]:
    """The service's newest log lines; empty when there are none."""
    start = datetime.now(UTC) - timedelta(minutes=minutes)
    try:
        return [line(event) for event in search(aws, project.names["service_log_group"], start)][-count:]
    except OpsError:
        return []
