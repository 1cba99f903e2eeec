"""JSON logs and metrics on standard output: one line is one JSON object.

Metrics are in the embedded format, which CloudWatch Logs makes metrics of without an agent or API calls:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

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
_settings: Settings | None = None


def write_line(line: dict[str, Any]) -> None:
    """Write one JSON object. A reader that went away is no reason to fail a request: the line is dropped."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(line, separators=(",", ":"), default=str).encode() + b"\n")


def write_log(level: str, logger: str, message: str, **more: object) -> None:
    """Write one line of the log, now."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": moment, "level": level, "logger": logger, "message": message}
    if identity := request_id.get():
        line["request_id"] = identity
    write_line(line | more)


class JsonHandler(logging.Handler):
    """Writes the records of the standard `logging` module."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            more = {"exception": logging.Formatter().formatException(record.exc_info)} if record.exc_info else {}
            write_log(record.levelname.lower(), record.name, record.getMessage(), **more)
        except Exception:  # noqa: BLE001 - logging's own convention: never raise
            self.handleError(record)


def configure(settings: Settings) -> None:
    """Send every log record of the process, of libraries too, to standard output."""
    global _settings
    _settings = settings
    logging.basicConfig(handlers=[JsonHandler()], level=settings.log_level.upper(), force=True)
    # uvicorn warns of what clients send; the others tell at length what they do.
    for name, least in (("uvicorn", logging.ERROR), ("asyncio", logging.WARNING), ("botocore", logging.WARNING)):
        logging.getLogger(name).setLevel(max(logging.root.level, least))


def metric(name: str, value: float, unit: str) -> None:
    """Write one value, in the application's namespace with its environment as dimension; `unit` is CloudWatch's.

    A line for each: for what is rare. What every request has is in the access log.
    """
    if _settings and _settings.metrics:
        metrics = {"Dimensions": [["Environment"]], "Metrics": [{"Name": name, "Unit": unit}]}
        directive = {"Namespace": _settings.app_name, **metrics}
        line = {"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}}
        write_line({**line, "Environment": _settings.environment, name: value})
