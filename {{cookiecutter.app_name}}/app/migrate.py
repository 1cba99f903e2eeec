"""`python -m app.migrate`: bring the database's tables to this release's state.

    python -m app.migrate                    apply every migration that is missing
    python -m app.migrate up|down REVISION   go to a revision ("head", "base", "-1", "0001")
    python -m app.migrate current            show the revision of the database
    python -m app.migrate new "MESSAGE"      write a migration from the difference to app/models.py

Runs as a one-off task before a release is deployed, under the role that owns the schema DB_SCHEMA, and changes nothing
in another. Two at once are safe: the second waits for the first. A database that a newer release has migrated is
ahead: there is nothing to do. Exit codes: 0 when done, 1 with a reason otherwise.
"""

import argparse
import asyncio
import logging
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app import logs
from app.database import CONNECTION_ERRORS, DatabaseSettings
from app.settings import Settings, SettingsError, read

log = logging.getLogger("app.migrate")

MIGRATIONS = Path(__file__).with_name("migrations")
ADVISORY_LOCK = 1_477_019_582  # Any number that nothing else in this database locks, together with the schema.
CONNECT_SECONDS = 60  # A paused cluster needs about 15 to wake.
WAIT_FOR_OTHER_SECONDS = 600
# A migration that waits for a table holds up every statement that comes after it: it gives up.
LOCK_TIMEOUT = "5s"


class MigrationError(Exception):
    """The migrations were not applied; the message says why."""


async def connect(settings: DatabaseSettings) -> asyncpg.Connection:
    """Return a connection as soon as the database gives one. Raises MigrationError."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return await asyncpg.connect(timeout=CONNECT_SECONDS, **settings.connect_arguments("migrations"))
        except CONNECTION_ERRORS as error:
            # Waiting mends neither a wrong name nor a missing right.
            final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
            if isinstance(error, final) or time.monotonic() > deadline:
                raise MigrationError(f"no connection to the database: {error}") from error
            log.warning("no connection to the database yet: %s", error)
            await asyncio.sleep(2)


async def alone(settings: DatabaseSettings, work: Callable[[Connection], None]) -> None:
    """Call `work` with a connection to the schema while no other process migrates it. Raises MigrationError."""
    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: connect(settings))
    try:
        async with engine.connect() as lock, engine.connect() as connection:
            await lock.execution_options(isolation_level="AUTOCOMMIT")
            await _take_lock(lock, settings.db_schema)
            await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            await connection.commit()
            await connection.run_sync(work)
            await connection.commit()
    finally:
        await engine.dispose()


async def _take_lock(connection: AsyncConnection, schema: str) -> None:
    """Return when this session has the lock; it ends with the session."""
    statement = text("SELECT pg_try_advisory_lock(:key, hashtext(:schema))")
    for attempt in range(2 * WAIT_FOR_OTHER_SECONDS):
        if (await connection.execute(statement, {"key": ADVISORY_LOCK, "schema": schema})).scalar_one():
            return
        if attempt == 0:
            log.info("waiting for another migration to end")
        await asyncio.sleep(0.5)
    raise MigrationError(f"another migration runs since {WAIT_FOR_OTHER_SECONDS} seconds")


def position(config: Config) -> tuple[str, str]:
    """Return the database's revision ("base" for none), and " (head)", " (ahead of this release)" or nothing."""
    options = {"version_table_schema": config.attributes["schema"]}
    context = MigrationContext.configure(config.attributes["connection"], opts=options)
    scripts = ScriptDirectory.from_config(config)
    there, head = context.get_current_revision() or "base", scripts.get_current_head() or "base"
    if there in {"base", *(script.revision for script in scripts.walk_revisions())}:
        return there, " (head)" if there == head else ""
    # Revisions begin with their number. One that is unknown and not higher is of another branch.
    numbers = [int(number[0]) for number in (re.match(r"\d+", revision) for revision in (there, head)) if number]
    if len(numbers) == 2 and numbers[0] <= numbers[1]:
        raise MigrationError(f"the database is at {there}, which is not among the migrations of this release")
    return there, " (ahead of this release)"


def run(options: argparse.Namespace, config: Config) -> None:
    """Do what the command line asks for."""
    match options.command:
        case "new":
            number = sum(1 for _ in MIGRATIONS.glob("versions/*.py")) + 1
            # With words, so that two branches do not make the same revision. Alembic keeps 32 characters.
            words = re.sub(r"\W+", "_", options.message.lower())
            revision = f"{number:04}_{words}"[:32].strip("_")
            command.revision(config, options.message, autogenerate=True, rev_id=revision)
        case "down":
            command.downgrade(config, options.revision)
        case _:
            there, where = position(config)
            if options.command != "current" and "ahead" not in where:
                command.upgrade(config, getattr(options, "revision", "head"))
                there, where = position(config)
            log.info("the database is at %s%s", there, where)


def main(arguments: list[str]) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.migrate", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("up").add_argument("revision", nargs="?", default="head")
    commands.add_parser("down").add_argument("revision", nargs="?", default="-1")
    commands.add_parser("current")
    commands.add_parser("new").add_argument("message")
    options = parser.parse_args(arguments)
    kinds: list[type[Any]] = [Settings, DatabaseSettings]
    try:
        service, settings = read(*kinds)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    logs.configure(service)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))  # It is no placeholder.
    config.set_main_option("file_template", "%%(rev)s")

    def work(connection: Connection) -> None:
        config.attributes |= {"connection": connection, "schema": settings.db_schema}
        run(options, config)

    try:
        asyncio.run(alone(settings, work))
    except (MigrationError, CommandError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for a person, the trace is not
        return 1
    except (*CONNECTION_ERRORS, DBAPIError):
        log.exception("the migration failed; nothing of the failed migration was applied")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
