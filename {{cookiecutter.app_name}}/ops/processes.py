"""Running another program to its end and reading what it said: the one place for it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Terraform, or a program that takes its commands: `make plan TERRAFORM=tofu`.
TERRAFORM = os.environ.get("TERRAFORM") or "terraform"
NOT_FOUND = 127  # the status by which a shell says that there is no such program
TOO_LONG = 124  # the one by which timeout(1) says that it stopped it
# A Terraform provider opens a Unix socket in TMPDIR: "/plugin" and up to ten digits. A socket's path has 103 bytes on
# macOS, 107 on Linux.
_TMPDIR_BYTES = 103 - len("/plugin") - 10


def for_terraform(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables with which Terraform and its providers run: those given, but for two.

    A TMPDIR that is too long for a provider's socket goes, and Terraform takes /tmp. With it no provider starts, and
    Terraform's message speaks of a wrong architecture and missing libraries.

    At each start Terraform reads the whole schema of the AWS provider. Go's collector then runs less often, unless
    GOGC says otherwise: a third less of the processor's time for up to 400 MB more. https://go.dev/doc/gc-guide#GOGC
    """
    long = len(os.fsencode(environment.get("TMPDIR", ""))) > _TMPDIR_BYTES
    kept = {name: value for name, value in environment.items() if not (long and name == "TMPDIR")}
    return {"GOGC": "400"} | kept


@dataclass(frozen=True)
class Finished:
    """How a program ended: its exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it says that it did what it should."""
        return self.status == 0

    def tail(self, lines: int = 20) -> str:
        """The end of what it said, standard error last."""
        return "\n".join((self.out.rstrip() + "\n" + self.err.rstrip()).strip().splitlines()[-lines:])


def run(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: str | None = None,
    seconds: float | None = None,
) -> Finished:
    """Run a program without a shell and without a terminal, and wait for its end.

    Args:
        command: the program and its arguments.
        folder: where it runs; here when left out.
        environment: all of its variables; this process's when left out.
        given: what it reads from standard input; nothing when left out.
        seconds: after which it is killed.

    Returns:
        Its output. A program that is not there has the status NOT_FOUND, one that took too long TOO_LONG.

    """
    try:
        process = subprocess.run(  # noqa: S603 - the caller's own arguments, no shell
            [str(word) for word in command],
            cwd=folder,
            env=os.environ if environment is None else environment,
            input=given or "",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=seconds,
        )
    except OSError as error:
        return Finished(NOT_FOUND, "", str(error))
    except subprocess.TimeoutExpired:
        return Finished(TOO_LONG, "", f"{command[0]} did not end within {seconds:g} seconds")
    return Finished(process.returncode, process.stdout, process.stderr)
