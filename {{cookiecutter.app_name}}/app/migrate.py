"""`python -m app.migrate`: bring the database's tables to this release's state.

    python -m app.migrate                    apply every migration that is missing
    python -m app.migrate up|down REVISION   go to a revision ("head", "base", "-1", "0001")
    python -m app.migrate current            show the revision of the database
    python -m app.migrate new "MESSAGE"      write a migration from the difference to app/models.py

Runs as a one-off task before a release is deployed, under the role that owns the schema. Two at
once are safe: the second waits for the first. Exit codes: 0 when done, 1 with a reason otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from app.components.database import CONNECTION_ERRORS, CredentialsError, DatabaseSettings
from app.settings import Environment, SettingsError, read_settings
from app.telemetry import configure_logging

log = logging.getLogger("app.migrate")

# Any number that nothing else in this database locks.
ADVISORY_LOCK = 5_823_019_477
CONNECT_SECONDS = 60  # A paused cluster needs about 15 to wake.
WAIT_FOR_OTHER_SECONDS = 600
# A migration that waits for a table holds up every statement that comes after it: it gives up.
LOCK_TIMEOUT = "5s"
# Errors that waiting does not mend.
REFUSALS = (
    CredentialsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class MigrationError(Exception):
    """The migrations were not applied; the message says why."""


async def connect(settings: DatabaseSettings) -> asyncpg.Connection:
    """Return a connection as soon as the database gives one. Raises MigrationError."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return await asyncpg.connect(timeout=CONNECT_SECONDS, **settings.connect_arguments())
        except CONNECTION_ERRORS as error:
            if isinstance(error, REFUSALS) or time.monotonic() > deadline:
                raise MigrationError(f"no connection to the database: {error}") from error
            log.warning("no connection to the database yet: %s", error)
            await asyncio.sleep(2)


async def with_connection(settings: DatabaseSettings, work: Callable[[Connection, str], None]) -> None:
    """Call `work` with a connection and the schema's name while no other process migrates.

    The schema is the connection's search path. Raises MigrationError.
    """
    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: connect(settings))
    try:
        async with engine.connect() as lock, engine.connect() as connection:
            await lock.execution_options(isolation_level="AUTOCOMMIT")
            await take_lock(lock)
            await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            await connection.commit()
            await connection.run_sync(work, settings.schema)
            await connection.commit()
    finally:
        await engine.dispose()


async def take_lock(connection: AsyncConnection) -> None:
    """Return when this session has the lock; it ends with the session. Raises MigrationError."""
    deadline = time.monotonic() + WAIT_FOR_OTHER_SECONDS
    statement = text("SELECT pg_try_advisory_lock(:key)").bindparams(key=ADVISORY_LOCK)
    waiting = False
    while not (await connection.execute(statement)).scalar_one():
        if time.monotonic() > deadline:
            raise MigrationError(f"another migration runs since {WAIT_FOR_OTHER_SECONDS} seconds")
        if not waiting:
            log.info("waiting for another migration to end")
            waiting = True
        await asyncio.sleep(0.5)


def parse(arguments: list[str]) -> Callable[[Config], None]:
    """Return the Alembic command that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m app.migrate", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, default in (("up", "head"), ("down", "-1")):
        sub = commands.add_parser(name)
        sub.add_argument("revision", nargs="?", default=default)
    commands.add_parser("current")
    commands.add_parser("new").add_argument("message")
    options = parser.parse_args(arguments)
    match options.command:
        case None:
            return lambda config: command.upgrade(config, "head")
        case "up":
            return lambda config: command.upgrade(config, options.revision)
        case "down":
            return lambda config: command.downgrade(config, options.revision)
        case "current":
            return lambda config: command.current(config, verbose=True)
        case _:
            return lambda config: _new(config, options.message)


def _new(config: Config, message: str) -> None:
    number = sum(1 for _ in Path(__file__).with_name("migrations").glob("versions/*.py")) + 1
    command.revision(config, message, autogenerate=True, rev_id=f"{number:04}")


def main(arguments: list[str]) -> int:
    """Run the command; return the exit code."""
    run = parse(arguments)

    def work(connection: Connection, schema: str) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        config.attributes["schema"] = schema
        run(config)

    try:
        env = Environment(os.environ)
        service = read_settings(env)
        settings = DatabaseSettings(env, service)
        env.check()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    configure_logging(service.log_level)
    try:
        asyncio.run(with_connection(settings, work))
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
