"""JSON logs and metrics on standard output: one line is one JSON object.

Metrics are in CloudWatch's embedded format, which CloudWatch Logs turns into metrics without an agent or API calls:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from app.settings import Settings

# Of the request that is being answered; in every line that is written meanwhile.
request_id: ContextVar[str] = ContextVar("request_id", default="")

FLUSH_SECONDS = 10
VALUES_IN_A_LINE = 100  # The format's limit.


def write_line(record: dict[str, Any]) -> None:
    """Write one JSON object. A reader that went away is no reason to fail a request: the line is dropped."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(record, separators=(",", ":"), default=str).encode() + b"\n")


def timestamp(seconds: float) -> str:
    """Return a time since the epoch as the logs have it: UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonHandler(logging.Handler):
    """Writes the records of the standard `logging` module."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = {"time": timestamp(record.created), "level": record.levelname.lower(), "logger": record.name}
            line |= {"message": record.getMessage(), "request_id": request_id.get()}
            if record.exc_info:
                line["exception"] = logging.Formatter().formatException(record.exc_info)
            write_line({key: value for key, value in line.items() if value})
        except Exception:  # noqa: BLE001 - logging's own convention: never raise
            self.handleError(record)


def configure(settings: Settings) -> None:
    """Send every log record of the process, of libraries too, to standard output."""
    logging.basicConfig(handlers=[JsonHandler()], level=settings.log_level.upper(), force=True)
    # uvicorn warns of what clients send; the others tell at length what they do.
    for name, least in (("uvicorn", logging.ERROR), ("asyncio", logging.WARNING), ("botocore", logging.WARNING)):
        logging.getLogger(name).setLevel(max(logging.root.level, least))


class Metrics:
    """Collects values and writes them ten seconds after the first, or when a line is full: percentiles are exact.

    The namespace is the application's name; the one dimension is the environment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._values: dict[tuple[str, str], list[float]] = {}

    def observe(self, name: str, value: float, unit: str) -> None:
        """Record one value, in the event loop. `unit` is CloudWatch's, such as Milliseconds or Count."""
        if not self._values:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        values = self._values.setdefault((name, unit), [])
        values.append(round(value, 3))
        if len(values) == VALUES_IN_A_LINE:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        collected, self._values = self._values, {}
        if not collected or not self._settings.metrics:
            return
        metrics = [{"Name": name, "Unit": unit} for name, unit in collected]
        directive = {"Namespace": self._settings.app_name, "Dimensions": [["Environment"]], "Metrics": metrics}
        line = {"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}}
        values = {name: values for (name, _unit), values in collected.items()}
        write_line({**line, "Environment": self._settings.environment, **values})
