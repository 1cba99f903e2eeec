"""`python -m app.migrate`: bring the database's tables to this release's state, or another of Alembic's commands.

    python -m app.migrate                                       apply every migration that is missing
    python -m app.migrate current                               show the revision of the database
    python -m app.migrate revision --autogenerate -m "MESSAGE"  write a migration from the difference to app/models.py

A one-off task before a release is deployed, under the role that owns the schema DB_SCHEMA; it changes no other.
Two at once are safe. A database that a newer release has migrated is ahead: nothing to do. Exit code 1 with a reason.
"""

import logging
import sys
from pathlib import Path
from typing import Any

from alembic.config import CommandLine, Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app import logs
from app.database import CONNECTION_ERRORS, DatabaseSettings
from app.settings import Settings, SettingsError, read

log = logging.getLogger("app.migrate")


def main(arguments: list[str]) -> int:
    """Run the command; return the exit code."""
    line = CommandLine(prog="python -m app.migrate")
    options = line.parser.parse_args(arguments or ["upgrade", "head"])
    options.raiseerr = True
    kinds: list[type[Any]] = [Settings, DatabaseSettings]
    try:
        service, settings = read(*kinds)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    logs.configure(service)
    config = Config(cmd_opts=options, attributes={"settings": settings})
    folder = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", folder.replace("%", "%%"))  # It is no placeholder.
    config.set_main_option("file_template", "%%(rev)s")
    config.set_main_option("revision_environment", "true")  # One that is written by hand gets its number too.
    try:
        line.run_cmd(config, options)
    except CommandError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for a person, the trace is not
        return 1
    except (*CONNECTION_ERRORS, DBAPIError):
        log.exception("the migration failed; nothing of the failed migration was applied")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
