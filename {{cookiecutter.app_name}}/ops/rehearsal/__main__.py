"""`make rehearse`: deploy this repository to a simulated AWS on this machine, and prove that it works.

--keep leaves everything running until Ctrl-C. --again repeats, in a rehearsal that is kept in another terminal, what was
edited since. --only takes a layer: it is applied and everything proved again there; without a kept rehearsal, the layers
up to it are rehearsed. Exit codes: 0 it works, 1 it does not, 2 this machine cannot rehearse or the options are wrong, 130
interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from botocore.exceptions import ClientError

from ops.rehearsal import courses, kept, machine, report, steps
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.progress import Progress

LAST_PARTS = ("service", "proofs")  # which need everything before them


def main() -> int:
    """Rehearse; return the exit code."""
    parser = argparse.ArgumentParser(prog="make rehearse", description=__doc__)
    parser.add_argument("--keep", action="store_true")
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--again", action="store_true")
    parts.add_argument("--only", choices=kept.PARTS)
    parser.add_argument("--env", help="environment; the first when left out")
    options = parser.parse_args()
    # SIGINT as well: a shell starts what it puts into the background with SIGINT ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    progress = Progress()
    render = Path.cwd()
    try:
        machine.check()
        machine.forget_aws()
        running = kept.find(render, needed=options.again) if options.again or options.only else None
        if running is not None:
            return kept.repeat(running, render, options.only, progress)
        rehearsal = Rehearsal(render, options.env, progress)
        return _rehearse(rehearsal, progress, only=options.only, keep=options.keep)
    except machine.UnusableError as problem:
        progress.close()
        sys.stderr.write(f"This machine cannot rehearse:\n{problem}\n")
        return 2
    except KeyboardInterrupt:
        progress.close()
        sys.stderr.write("Interrupted: everything that was started is stopped and removed.\n")
        return 130


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _rehearse(rehearsal: Rehearsal, progress: Progress, *, only: str | None, keep: bool) -> int:
    worked = False
    with rehearsal.running():
        try:
            if only is None or only in LAST_PARTS:
                courses.everything(rehearsal, keep=keep)
            else:
                courses.up_to(rehearsal, only)
            worked = True
        except (FailedError, ClientError) as error:
            # What boto3 says names the call, and for a refusal by IAM who asked and which statement came nearest.
            rehearsal.findings.error = str(error)
            rehearsal.keep_logs()
        except KeyboardInterrupt:
            rehearsal.findings.error = "Interrupted."
            raise
        except Exception:  # noqa: BLE001 - a fault of the rehearsal itself is reported as well
            rehearsal.findings.error = traceback.format_exc()
            rehearsal.keep_logs()
        finally:
            if not (worked and keep):
                progress.close()
            steps.compare_privileges(rehearsal)
            report.write(rehearsal, progress, worked=worked)
        if worked and keep:
            with contextlib.suppress(KeyboardInterrupt):
                kept.wait(rehearsal, progress)
            progress.say("Stopping …")
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
