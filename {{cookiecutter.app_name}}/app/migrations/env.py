"""Alembic's entry point: one process at a time, in one schema."""

import asyncio
import logging
import re
import time
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.database import CONNECTION_ERRORS, REFUSALS, DatabaseSettings
from app.models import metadata

log = logging.getLogger("app.migrate")

ADVISORY_LOCK = 1_477_019_582  # Any number that nothing else in this database locks, together with the schema.

settings: DatabaseSettings = context.config.attributes["settings"]


async def connect() -> asyncpg.Connection:
    """Return a connection as soon as the database gives one. Raises CommandError."""
    deadline = time.monotonic() + 60  # A paused cluster needs about 15 to wake.
    while True:
        try:
            return await asyncpg.connect(timeout=60, **settings.connect_arguments())
        except CONNECTION_ERRORS as error:
            if isinstance(error, REFUSALS) or time.monotonic() > deadline:  # Waiting mends no refusal.
                raise CommandError(f"no connection to the database: {error}") from error
            await asyncio.sleep(2)


async def alone() -> None:
    """Run the command while no other process migrates this schema. Raises CommandError."""
    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=connect)
    async with engine.connect() as holder, engine.connect() as connection:
        await holder.execution_options(isolation_level="AUTOCOMMIT")
        lock = text("SELECT pg_try_advisory_lock(:key, hashtext(:schema))")  # It ends with the session.
        deadline = time.monotonic() + 600
        while not (await holder.execute(lock, {"key": ADVISORY_LOCK, "schema": settings.db_schema})).scalar_one():
            log.info("waiting for another migration to end")
            if time.monotonic() > deadline:
                raise CommandError("another migration runs since ten minutes")
            await asyncio.sleep(1)
        # A migration that waits for a table holds up every statement that comes after it: it gives up.
        await connection.execute(text("SET lock_timeout = '5s'"))
        await connection.commit()
        await connection.run_sync(run)
        await connection.commit()


def run(connection: Connection) -> None:
    """Run the command, unless a newer release than this one has migrated the database."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=settings.db_schema,
        compare_server_default=True,
        # Alembic's own table is in that schema, and in no model: it would be dropped.
        include_name=lambda name, kind, _: not (kind == "table" and name == "alembic_version"),
        process_revision_directives=name_revisions,
        # So that one may leave its transaction (`op.get_context().autocommit_block()`, for CREATE INDEX CONCURRENTLY).
        transaction_per_migration=True,
    )
    there = context.get_context().get_current_revision()
    if there and there not in {script.revision for script in context.script.walk_revisions()}:
        # Revisions begin with their number. One that is unknown and not higher is of another branch.
        numbers = [re.match(r"\d+", name or "") for name in (there, context.script.get_current_head())]
        if all(numbers) and int(numbers[0][0]) <= int(numbers[1][0]):  # type: ignore[index]
            raise CommandError(f"the database is at {there}, which is not among the migrations of this release")
        log.info("the database is at %s, ahead of this release: nothing to do", there)
        return
    with context.begin_transaction():
        context.run_migrations()


def name_revisions(_context: object, _revision: object, directives: list[Any]) -> None:
    """Name new revisions by number and words, so that two branches make different ones. Alembic keeps 32 characters."""
    for directive in directives:
        number = sum(1 for _ in context.script.walk_revisions()) + 1
        words = re.sub(r"\W+", "_", (directive.message or "").lower())
        directive.rev_id = f"{number:04}_{words}"[:32].strip("_")


asyncio.run(alone())
