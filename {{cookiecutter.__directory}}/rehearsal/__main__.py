"""`make rehearse`: deploy this repository to a simulated AWS on this machine, and prove that it works.

Settings come from the environment, as `make` passes them: KEEP=1 leaves everything running until Ctrl-C,
ONLY=<layer> applies and proves one layer in a kept rehearsal (with KEEP=1 running in another terminal) or,
without one, rehearses up to that layer, ENV=<name> takes another environment than the first,
SKIP_DESTROY=1 ends after the proofs. Exit codes: 0 it works, 1 it does not, 2 this machine cannot rehearse,
130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rehearsal import kept, machine, report
from rehearsal.driver import FailedError, Rehearsal
from rehearsal.progress import Progress, clock


def main() -> int:
    """Rehearse; return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    progress = Progress()
    render = Path.cwd()
    only = os.environ.get("ONLY") or None
    keep = os.environ.get("KEEP") in ("1", "true", "yes")
    try:
        machine.check()
        if only is not None and (running := kept.find(render)) is not None:
            return kept.repeat(running, render, only, progress)
        rehearsal = Rehearsal(render, os.environ.get("ENV") or None, progress)
        return _rehearse(rehearsal, progress, only=only, keep=keep)
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
    code = 1
    with rehearsal.running():
        try:
            rehearsal.bootstrap()
            rehearsal.zone()
            if only is not None and only != "service":
                rehearsal.up_to(only)
                return 0
            rehearsal.incident_url()
            rehearsal.up()
            rehearsal.prove()
            rehearsal.use()
            rehearsal.findings.proved_after = progress.elapsed
            progress.say(f"{clock(progress.elapsed)}  ✓ applied and proved")
            if keep:
                kept.wait(rehearsal, progress)
                return 0
            rehearsal.plan_again()
            rehearsal.change()
            if os.environ.get("SKIP_DESTROY") not in ("1", "true", "yes"):
                rehearsal.destroy()
            code = 0
        except FailedError as error:
            rehearsal.findings.error = str(error)
            rehearsal.keep_logs()
        except KeyboardInterrupt:
            rehearsal.findings.error = "Interrupted."
            raise
        finally:
            progress.close()
            report.write(rehearsal, progress, worked=code == 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
