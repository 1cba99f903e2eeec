"""JSON logs and metrics on standard output.

One line is one JSON object. Log lines come from the standard `logging` module and from the access
log; both carry the id of the request that was being answered. Metric lines are in CloudWatch's
embedded metric format, which CloudWatch Logs turns into metrics in the namespace of the
application, without an agent or API calls:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

Values are collected and written every ten seconds, or as soon as a hundred (the format's limit for
one line) have gathered, so percentiles are exact and a request costs an append to a list.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

request_id: ContextVar[str] = ContextVar("request_id", default="")

Unit = Literal["Count", "Milliseconds", "Seconds"]

FLUSH_SECONDS = 10
VALUES_IN_A_LINE = 100

_encoder = msgspec.json.Encoder()


def write_line(record: dict[str, Any]) -> None:
    """Write one JSON object to standard output.

    A reader that went away is no reason to fail a request: the line is dropped.
    """
    with contextlib.suppress(OSError):
        os.write(1, _encoder.encode(record) + b"\n")


class LineBuffer:
    """Writes the lines of one turn of the event loop together: one system call for many requests."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def write(self, record: dict[str, Any]) -> None:
        """Write one JSON object to standard output before the loop's next turn ends."""
        self._lines.append(_encoder.encode(record))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        lines.append(b"")
        with contextlib.suppress(OSError):
            os.write(1, b"\n".join(lines))


class JsonHandler(logging.Handler):
    """Writes the records of the standard `logging` module as JSON lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = {
                "time": datetime.fromtimestamp(record.created, UTC),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
            if current := request_id.get():
                line["request_id"] = current
            if record.exc_info:
                line["exception"] = logging.Formatter().formatException(record.exc_info)
            write_line(line)
        except Exception:  # noqa: BLE001 - logging's own convention: never raise
            self.handleError(record)


def configure_logging(level: str) -> None:
    """Send every log record of the process, of libraries too, to standard output."""
    root = logging.getLogger()
    root.handlers = [JsonHandler()]
    root.setLevel(level.upper())
    logging.getLogger("botocore").setLevel(max(root.level, logging.WARNING))


class Metrics:
    """Collects values and writes them as embedded metrics.

    `namespace` is the CloudWatch namespace; `environment` is the one dimension. With `write` false
    nothing is written.
    """

    def __init__(self, namespace: str, environment: str, *, write: bool = True) -> None:
        self._namespace = namespace
        self._enabled = write
        self._environment = environment
        self._values: dict[tuple[str, Unit], list[float]] = {}
        self._counts: dict[str, int] = {}
        self._gauges: list[tuple[str, Unit, Callable[[], float]]] = []

    def observe(self, name: str, value: float, unit: Unit = "Milliseconds") -> None:
        """Record one value of a distribution, whose percentiles matter."""
        key = (name, unit)
        values = self._values.get(key)
        if values is None:
            values = self._values[key] = []
        values.append(value)
        if len(values) >= VALUES_IN_A_LINE:
            self._write({key: self._values.pop(key)})

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter. 0 makes it known, so that it is written as 0 while nothing happens."""
        self._counts[name] = self._counts.get(name, 0) + number

    def gauge(self, name: str, read: Callable[[], float], unit: Unit = "Count") -> None:
        """Have `read` called at each flush, for values that are a state and not an event."""
        self._gauges.append((name, unit, read))

    def flush(self) -> None:
        """Write everything that was collected."""
        collected, self._values = self._values, {}
        for name, number in self._counts.items():
            collected[name, "Count"] = [number]
            self._counts[name] = 0
        for name, unit, read in self._gauges:
            collected[name, unit] = [read()]
        if collected:
            self._write(collected)

    async def flush_regularly(self) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.flush()

    def _write(self, collected: dict[tuple[str, Unit], list[float]]) -> None:
        if not self._enabled:
            return
        write_line(
            {
                "_aws": {
                    "Timestamp": int(time.time() * 1000),
                    "CloudWatchMetrics": [
                        {
                            "Namespace": self._namespace,
                            "Dimensions": [["Environment"]],
                            "Metrics": [{"Name": name, "Unit": unit} for name, unit in collected],
                        }
                    ],
                },
                "Environment": self._environment,
                **{name: values for (name, _unit), values in collected.items()},
            }
        )
