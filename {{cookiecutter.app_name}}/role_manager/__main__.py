"""The role manager by hand, against any PostgreSQL: `python -m role_manager plan --dsn …`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from role_manager.actions import ACTIONS, ActionError, Manager, Report, apply, check, plan
from role_manager.connection import ConnectionFailedError, Timeouts, parse_dsn
from role_manager.desired import InvalidDesiredStateError, parse
from role_manager.report import as_dict, as_lines

_EPILOG = """\
Exit codes: 0 all is as declared (or was made so), 1 it failed, 2 there is something to do (plan, check), 3 something
is left that cannot be made so from here or on its own (plan, apply): it is listed, and apply did the rest.

check logs in as every role with an IAM token. It takes AWS region and credentials from the
environment; for ops.laptop.postgres any will do:
  AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m role_manager",
        description="Make the roles of a database what project.yaml declares.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "--dsn",
        default=os.environ.get("DATABASE_URL"),
        help="URL of the database, as the master user (default: DATABASE_URL; password: PGPASSWORD)",
    )
    parser.add_argument("--config", type=Path, default=Path("project.yaml"), help="file with database_roles")
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
    if not given.dsn:
        parser.error("--dsn or DATABASE_URL is needed")
    try:
        server, user, password = parse_dsn(given.dsn, os.environ)
        desired = parse(_read(given.config))
        manager = Manager(
            server,
            lambda: (user, password),
            desired,
            timeouts=Timeouts(statement=given.statement_timeout),
        )
        if given.action == "check":
            report = check(manager, logins=not given.without_logins)
        else:
            report = {"plan": plan, "apply": apply}[given.action](manager)
    except ActionError as error:
        report = error.report
    except InvalidDesiredStateError as error:
        print(f"{given.config}: {error}", file=sys.stderr)
        return 1
    except (ConnectionFailedError, ValueError, OSError) as error:
        print(f"role_manager: {error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(as_dict(report), ensure_ascii=False, indent=2))
    else:
        _print(report)
    return _exit_code(report)


def _exit_code(report: Report) -> int:
    return {"changes": 2, "drift": 2, "blocked": 3, "failed": 1}.get(report.result, 0)


def _read(config: Path) -> object:
    try:
        import yaml
    except ImportError:
        raise ValueError("PyYAML is needed to read project.yaml: run this from .venv") from None
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{config} is not valid YAML: {error}") from None
    return content.get("database_roles") if isinstance(content, dict) else None


def _print(report: Report) -> None:
    for line in as_lines(as_dict(report)):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
