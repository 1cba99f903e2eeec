"""`python -m ops.laptop.dev`: run the service on this laptop, and again after each edit.

    python -m ops.laptop.dev                  the service, on PORT (8000)
    python -m ops.laptop.dev COMMAND ...      another command in the same environment

What it stores is kept in ops/laptop/data; remove that folder to begin anew.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys

from watchfiles import PythonFilter, watch

from ops.laptop.dev import DATA, ROOT, inherited, laptop
from ops.laptop.secret_file import NotUsableError


def problem_with(port: str) -> str | None:
    """Say why the service cannot listen on a port, None when it can."""
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        return f"PORT is {port!r}: a number from 1 to 65535 is needed. Say it: make dev PORT=8000"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError as error:
            return f"Port {port}: {error.strerror}. Take another: make dev PORT=8001"
    return None


def serve(environment: dict[str, str]) -> None:
    """Run the service, and again after each edit of app/, until Ctrl-C or SIGTERM."""
    changes = watch(
        ROOT / "app",
        watch_filter=PythonFilter(ignore_paths=[ROOT / "app" / "tests"]),
        step=50,
        raise_interrupt=False,
    )

    def start() -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C is for this process, which then ends it.
        return subprocess.Popen([sys.executable, "-m", "app"], cwd=ROOT, env=environment, start_new_session=True)

    service = start()
    try:
        for _ in changes:
            service.kill()  # Nobody waits for an answer of what is being edited.
            service.wait()
            service = start()
    finally:
        service.terminate()
        service.wait()


def main(command: list[str]) -> int:
    """Run the service until Ctrl-C, or a command; return the exit code."""
    port = os.environ.get("PORT") or "8000"
    if not command and (problem := problem_with(port)):
        sys.stderr.write(f"{problem}\n")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        DATA.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(KeyboardInterrupt):
            return run(command, port)
    except (NotUsableError, OSError) as error:  # Or a full disk, a folder that is read-only, no such command.
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run(command: list[str], port: str) -> int:
    """Start what the service needs, then it or a command; return the exit code. Raises NotUsableError."""
    with laptop(DATA) as variables:
        environment = {"METRICS": "off", "LISTEN_ON": "127.0.0.1", **inherited(), **variables, "PORT": port}
        if command:
            return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
        sys.stderr.write(f"The service is at http://localhost:{port}/docs (Ctrl-C ends it).\n")
        serve(environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
