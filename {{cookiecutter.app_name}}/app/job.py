"""`python -m app.job PROGRAM ARGUMENTS…`: run a scheduled job until its time is over, and log how it ended.

ECS stops no task that takes too long, and the scheduler may start one late. So a run ends, killed if need be,
JOB_TIMEOUT_SECONDS after the moment JOB_SCHEDULED_AT for which it was scheduled, or after its start where nobody scheduled
it: before that job's next run begins. Exit code: the job's; 124 when its time was over, 127 when there is no such program.
"""

import os
import signal
import subprocess
import sys
import time
from datetime import datetime

from app import logs

# Between SIGTERM and SIGKILL, both within the timeout.
GRACE_SECONDS = 10
TIMED_OUT, NOT_FOUND = 124, 127


def main(command: list[str]) -> int:
    """Run the command; return the exit code."""
    started = time.time()
    scheduled = os.environ.get("JOB_SCHEDULED_AT")
    begin = datetime.fromisoformat(scheduled).timestamp() if scheduled else started
    left = begin + float(os.environ["JOB_TIMEOUT_SECONDS"]) - started
    exit_code, outcome = _run(command, left) if left > GRACE_SECONDS else (TIMED_OUT, "started too late")
    name, level = os.environ["JOB_NAME"], "error" if exit_code else "info"
    seconds = round(time.time() - started, 3)
    logs.write_log(level, "app.job", f"job {name} ended: {outcome}", job=name, exit_code=exit_code, seconds=seconds)
    return exit_code


def _run(command: list[str], left: float) -> tuple[int, str]:
    """Run a program for at most so many seconds; return its exit code and what became of it."""
    try:
        process = subprocess.Popen(command)  # noqa: S603 - what project.yaml says
    except OSError as error:
        return NOT_FOUND, f"{command[0]}: {error.strerror}"
    # ECS stops a task with SIGTERM; the job is told, and may finish.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        code = process.wait(left - GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return TIMED_OUT, "timed out"
    if code < 0:
        return 128 - code, f"killed by {signal.Signals(-code).name}"
    return code, "failed" if code else "succeeded"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
