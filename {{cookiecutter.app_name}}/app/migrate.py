"""`python -m app.migrate`: bring the database's tables to this release's state.

    python -m app.migrate                    apply every migration that is missing
    python -m app.migrate up|down REVISION   go to a revision ("head", "base", "-1", "0001")
    python -m app.migrate current            show the revision of the database
    python -m app.migrate new "MESSAGE"      write a migration from the difference to app/models.py

Runs as a one-off task before a release is deployed, under the role that owns the schema DB_SCHEMA, and changes nothing
in another. Two at once are safe: the second waits for the first. A database that a newer release has migrated is
ahead: there is nothing to do. Exit codes: 0 when done, 1 with a reason otherwise.
"""

from __future__ import annotations

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
from app.database import CONNECTION_ERRORS, CredentialsError, DatabaseSettings
from app.settings import Settings, SettingsError, read

log = logging.getLogger("app.migrate")

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
            final = (CredentialsError, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
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
    deadline = time.monotonic() + WAIT_FOR_OTHER_SECONDS
    statement = text("SELECT pg_try_advisory_lock(:key, hashtext(:schema))")
    waiting = False
    while not (await connection.execute(statement, {"key": ADVISORY_LOCK, "schema": schema})).scalar_one():
        if time.monotonic() > deadline:
            raise MigrationError(f"another migration runs since {WAIT_FOR_OTHER_SECONDS} seconds")
        if not waiting:
            log.info("waiting for another migration to end")
            waiting = True
        await asyncio.sleep(0.5)


def state(config: Config) -> tuple[str, bool]:
    """Return the database's revision ("base" for none), and whether a newer release has made it."""
    options = {"version_table_schema": config.attributes["schema"]}
    revision = (
        MigrationContext.configure(config.attributes["connection"], opts=options).get_current_revision() or "base"
    )
    scripts = ScriptDirectory.from_config(config)
    if revision == "base" or revision in {script.revision for script in scripts.walk_revisions()}:
        return revision, False
    # Revisions begin with their number. One that is unknown and not higher is of another branch.
    there, here = (re.match(r"\d+", name or "") for name in (revision, scripts.get_current_head()))
    if there and here and int(there[0]) <= int(here[0]):
        raise MigrationError(f"the database is at {revision}, which is not among the migrations of this release")
    return revision, True


def parse(arguments: list[str]) -> Callable[[Config], None]:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m app.migrate", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("up").add_argument("revision", nargs="?", default="head")
    commands.add_parser("down").add_argument("revision", nargs="?", default="-1")
    commands.add_parser("current")
    commands.add_parser("new").add_argument("message")
    options = parser.parse_args(arguments)

    def up(config: Config) -> None:
        revision, ahead = state(config)
        if ahead:
            log.info("the database is at %s, ahead of this release: nothing to do", revision)
        else:
            command.upgrade(config, getattr(options, "revision", "head"))

    def current(config: Config) -> None:
        revision, ahead = state(config)
        head = revision == ScriptDirectory.from_config(config).get_current_head()
        log.info(
            "the database is at %s%s", revision, " (head)" if head else " (ahead of this release)" if ahead else ""
        )

    def new(config: Config) -> None:
        number = sum(1 for _ in Path(__file__).with_name("migrations").glob("versions/*.py")) + 1
        # With words, so that two branches do not make the same revision. Alembic keeps 32 characters.
        words = re.sub(r"\W+", "_", options.message.lower()).strip("_")
        command.revision(config, options.message, autogenerate=True, rev_id=f"{number:04}_{words}"[:32].rstrip("_"))

    def down(config: Config) -> None:
        command.downgrade(config, options.revision)

    return {"down": down, "current": current, "new": new}.get(options.command, up)


def main(arguments: list[str]) -> int:
    """Run the command; return the exit code."""
    run = parse(arguments)
    kinds: list[type[Any]] = [Settings, DatabaseSettings]
    try:
        service, settings = read(*kinds)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    logs.configure(service)
    config = Config()
    # A % in the folder's name is no placeholder.
    folder = str(Path(__file__).with_name("migrations")).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("file_template", "%%(rev)s")

    def work(connection: Connection) -> None:
        config.attributes |= {"connection": connection, "schema": settings.db_schema}
        run(config)

    try:
        asyncio.run(alone(settings, work))
    except (MigrationError, CommandError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message is for a person, the trace is not
        return 1
    except (*CONNECTION_ERRORS, DBAPIError):
        log.exception("the migration failed; nothing of the failed migration was applied")
        return 1
    log.info("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
