"""The role manager from a shell: `make roles ENV=laptop ACTION=plan`, or `python -m ops.laptop.roles plan --dsn …`.

Without a DSN it is about the database of `make dev`, whether that runs now or not.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ops import answers
from ops.laptop.dev import DATA, ROOT, extensions, of_this_laptop
from ops.laptop.postgres import LocalPostgres, ServerNotFoundError, StartFailedError, running
from ops.laptop.secret_file import NotUsableError
from ops.roles import as_lines
from role_manager.actions import ACTIONS, ActionError, Manager, apply, check, plan
from role_manager.connection import CA_BUNDLE, ConnectionFailedError, Server, Timeouts
from role_manager.desired import InvalidDesiredStateError, parse
from role_manager.report import as_dict

_EPILOG = """\
Exit codes: 0 all is as declared (or was made so), 1 it failed, 2 there is something to do (plan, check), 3 something
is left that cannot be made so from here or on its own (plan, apply): it is listed, and apply did the rest. A plan of the
database of `make dev` is 0 for 2 and 3.

With a DSN, check logs in as every role with an IAM token. It takes AWS region and credentials from the environment; for
ops.laptop.postgres any will do:
  AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
"""
_EXIT_CODES = {"changes": 2, "drift": 2, "blocked": 3, "failed": 1}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.laptop.roles",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "--dsn",
        default=os.environ.get("DATABASE_URL"),
        help="URL of the database, as the master user (default: DATABASE_URL, or `make dev`'s; password: PGPASSWORD)",
    )
    parser.add_argument("--config", type=Path, default=ROOT / "project.yaml", help="file with database_roles")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--without-logins", action="store_true", help="check with SET ROLE, without IAM tokens")
    parser.add_argument(
        "--statement-timeout",
        type=float,
        default=Timeouts().statement,
        metavar="SECONDS",
        help="limit for each statement (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    try:
        with contextlib.nullcontext(given.dsn) if given.dsn else of_dev() as dsn:
            server, user, password = parse_dsn(dsn, os.environ)
            timeouts = Timeouts(statement=given.statement_timeout)
            manager = Manager(server, lambda: (user, password), parse(_read(given.config)), timeouts=timeouts)
            if given.action == "check":
                report = check(manager, logins=not given.without_logins)
            else:
                report = {"plan": plan, "apply": apply}[given.action](manager)
    except ActionError as error:
        report = error.report
    except InvalidDesiredStateError as error:
        print(f"{given.config}: {error}", file=sys.stderr)
        return 1
    except (ConnectionFailedError, ServerNotFoundError, StartFailedError, NotUsableError, ValueError, OSError) as error:
        print(f"roles: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The server takes back what was not committed; apply again is safe.", file=sys.stderr)
        return 130
    answer = as_dict(report)
    print(json.dumps(answer, ensure_ascii=False, indent=2) if given.json else "\n".join(as_lines(answer)))
    code = _EXIT_CODES.get(report.result, 0)
    # Without a DSN as the function in AWS does it: plan does not fail for what it finds.
    return 0 if code > 1 and given.action == "plan" and not given.dsn else code


@contextlib.contextmanager
def of_dev() -> Iterator[str]:
    """Yield the master's DSN of the database of `make dev`: of its server, or of one for this moment.

    Raises:
        ServerNotFoundError: there is no PostgreSQL on this machine.
        StartFailedError: it did not start.

    """
    for name in [name for name in os.environ if name.startswith(("AWS_", "PG"))]:
        del os.environ[name]  # about other places than this laptop
    variables = of_this_laptop()
    os.environ.update(variables, AWS_DEFAULT_REGION=variables["AWS_REGION"])
    data = DATA / "postgres"
    if found := running(data):
        yield found["dsn"]
        return
    with LocalPostgres(data=data, extensions=extensions()) as server:
        yield server.dsn()


def _read(config: Path) -> Any:
    try:
        content = answers.read(config)
    except yaml.YAMLError as error:
        raise ValueError(f"{config} is not valid YAML: {error}") from None
    return content.get("database_roles") if isinstance(content, dict) else None


def parse_dsn(dsn: str, environment: Mapping[str, str]) -> tuple[Server, str, str]:
    """Read a PostgreSQL URL; return server, user and password.

    The parameters sslmode (`verify-full`, the default, or for a server on this machine `disable`),
    sslrootcert and host are known. PGPASSWORD is used when the URL has no password.

    Raises:
        ValueError: it is not such a URL. The message does not repeat it: it may hold a password.

    """
    try:
        url = urllib.parse.urlsplit(dsn)
        port = url.port or 5432
        options = dict(urllib.parse.parse_qsl(url.query, strict_parsing=True)) if url.query else {}
    except ValueError:
        raise ValueError("the DSN is not a URL such as postgresql://user@host/database") from None
    if url.scheme not in {"postgresql", "postgres"} or not url.username:
        raise ValueError("the DSN must begin like postgresql://user@host/database")
    host = urllib.parse.unquote(options.pop("host", "") or url.hostname or "localhost")
    mode = options.pop("sslmode", "verify-full")
    bundle = Path(options.pop("sslrootcert", CA_BUNDLE))
    if options:
        raise ValueError(
            f"the DSN has unknown parameters: {', '.join(sorted(options))}; known are host, sslmode and sslrootcert"
        )
    local = host.startswith("/") or host == "localhost" or _is_loopback(host)
    if mode != "verify-full" and not (mode == "disable" and local):
        raise ValueError("the DSN's sslmode must be verify-full; disable is for a server on this machine")
    encrypted = mode == "verify-full" and not host.startswith("/")
    user = urllib.parse.unquote(url.username)
    database = urllib.parse.unquote(url.path.removeprefix("/")) or user
    password = urllib.parse.unquote(url.password or "") or environment.get("PGPASSWORD", "")
    return Server(host, port, database, bundle, encrypted), user, password


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
