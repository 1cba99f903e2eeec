"""Scheduled jobs: what runs them, and the example."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from app.tests.service import ROOT, wait_until


def start(environment: dict[str, str], *command: str, timeout: float = 60, scheduled: datetime | None = None) -> Any:
    given = {**environment, "JOB_NAME": "clean-up", "JOB_TIMEOUT_SECONDS": str(timeout)}
    if scheduled:
        given["JOB_SCHEDULED_AT"] = scheduled.strftime("%Y-%m-%dT%H:%M:%SZ")
    return subprocess.Popen(
        [sys.executable, "-m", "app.job", *command], cwd=ROOT, env=given, stdout=subprocess.PIPE, text=True
    )


def ended(process: Any) -> tuple[int, dict[str, Any], list[str]]:
    """Exit code, the line that says how it ended, and the lines before."""
    *before, last = process.communicate(timeout=30)[0].splitlines()
    return process.returncode, json.loads(last), before


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_the_exit_code_is_the_jobs(environment: dict[str, str]) -> None:
    code, line, before = ended(start(environment, *python("print('at work')")))
    assert (code, line["message"], line["level"], before) == (0, "job clean-up ended: succeeded", "info", ["at work"])
    code, line, _ = ended(start(environment, *python("raise SystemExit(7)")))
    assert (code, line["message"], line["level"]) == (7, "job clean-up ended: failed", "error")
    assert (line["job"], line["exit_code"]) == ("clean-up", 7)
    code, line, _ = ended(start(environment, "no-such-program"))
    assert (code, line["message"]) == (127, "job clean-up ended: no-such-program: No such file or directory")


def test_a_job_is_over_when_its_time_is(environment: dict[str, str]) -> None:
    began = time.monotonic()
    code, line, before = ended(
        start(environment, *python("import time; print('at work', flush=True); time.sleep(60)"), timeout=11.5)
    )
    assert (code, line["message"], before) == (124, "job clean-up ended: timed out", ["at work"])
    assert time.monotonic() - began < 40


def test_a_job_that_ignores_the_end_is_killed(environment: dict[str, str]) -> None:
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    began = time.monotonic()
    code, line, _ = ended(start(environment, *python(ignoring), timeout=11))
    assert (code, line["message"]) == (124, "job clean-up ended: timed out")
    assert time.monotonic() - began < 40


def test_the_time_counts_from_the_moment_it_was_scheduled_for(environment: dict[str, str]) -> None:
    began = time.monotonic()
    late = datetime.now(UTC) - timedelta(seconds=44)
    code, line, _ = ended(start(environment, *python("import time; time.sleep(60)"), scheduled=late))
    assert (code, line["message"]) == (124, "job clean-up ended: timed out")
    assert time.monotonic() - began < 40
    code, line, before = ended(
        start(environment, *python("print('at work')"), scheduled=datetime.now(UTC) - timedelta(seconds=55))
    )
    assert (code, line["message"], before) == (124, "job clean-up ended: started too late", [])


def test_a_job_is_told_when_its_task_is_stopped(environment: dict[str, str]) -> None:
    stops = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = start(environment, *python(stops))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: process.poll() is not None)
    assert ended(process)[:1] == (3,)


def test_the_example_writes_its_metric(environment: dict[str, str]) -> None:
    code, line, before = ended(start(environment, sys.executable, "-m", "app.jobs.heartbeat"))
    assert (code, line["message"]) == (0, "job clean-up ended: succeeded")
    assert [json.loads(text)["Heartbeats"] for text in before] == [1]
