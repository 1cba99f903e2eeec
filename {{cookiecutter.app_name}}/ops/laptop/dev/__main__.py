"""`python -m ops.laptop.dev`: run the service on this laptop, and again after each edit.

    python -m ops.laptop.dev                  the service, on PORT (8000)
    python -m ops.laptop.dev COMMAND ...      another command in the same environment

What it stores is kept in ops/laptop/data; remove that folder to begin anew.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

from watchfiles import PythonFilter, run_process

from ops.laptop.dev import ROOT, laptop

DATA = ROOT / "ops" / "laptop" / "data"


def main(command: list[str]) -> int:
    """Run the service until Ctrl-C, or a command; return the exit code."""
    port = os.environ.get("PORT") or "8000"
    if not command:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", int(port)))
            except OSError as error:
                sys.stderr.write(f"Port {port}: {error.strerror}. Take another: make dev PORT=8001\n")
                return 1
    DATA.mkdir(parents=True, exist_ok=True)
    with laptop(DATA) as variables:
        environment = {"METRICS": "off", "LISTEN_ON": "127.0.0.1", **os.environ, **variables}
        if command:
            return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
        os.environ.update(environment)
        sys.stderr.write(f"The service is at http://localhost:{port}/ (Ctrl-C ends it).\n")
        with contextlib.suppress(KeyboardInterrupt):
            run_process(
                ROOT / "app",
                target=f"{sys.executable} -m app",
                target_type="command",
                watch_filter=PythonFilter(ignore_paths=[ROOT / "app" / "tests"]),
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
