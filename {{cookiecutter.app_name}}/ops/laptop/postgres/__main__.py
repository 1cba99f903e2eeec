"""`python -m ops.laptop.postgres`: a server until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ops.laptop.postgres.found import ServerNotFoundError, StartFailedError
from ops.laptop.postgres.server import LocalPostgres


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until SIGINT or SIGTERM; prints how to connect."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.laptop.postgres",
        description="A PostgreSQL like Aurora on this machine, until Ctrl-C.",
    )
    parser.add_argument("--version", type=int, help="major version (default: the newest found)")
    parser.add_argument("--data", type=Path, help="directory to keep the data in (default: none)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--name", action="append", help="host name for certificate and tokens")
    parser.add_argument("--database", default="app", help="database to create")
    parser.add_argument("--master", default="master", help="name of the master user")
    parser.add_argument("--direct-tls", action="store_true", help="PostgreSQL's own TLS, no front")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of text")
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with LocalPostgres(
            given.version,
            data=given.data,
            host=given.host,
            port=given.port,
            names=given.name or ("localhost",),
            database=given.database,
            master=given.master,
            direct_tls=given.direct_tls,
        ) as server:
            if given.json:
                print(json.dumps(server.details()), flush=True)
            else:
                print(f"PostgreSQL {server.version} is ready. Its CA: {server.ca_file}")
                print(f"DSN={server.dsn()}", flush=True)
            stop.wait()
    except (ServerNotFoundError, StartFailedError, OSError) as error:
        print(f"ops.laptop.postgres: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
