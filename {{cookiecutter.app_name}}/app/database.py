"""PostgreSQL over TLS with IAM authentication: asyncpg's pool, bounded waits, 503 while the database is away.

A connection is opened when a request needs it and closed when it is idle, so a cluster that scales to zero can pause.
"""

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import asyncpg  # type: ignore[import-untyped]
from fastapi import HTTPException
from pydantic import BeforeValidator, Field

from app import logs
from app.settings import FromEnvironment

log = logging.getLogger(__name__)

# In the image and in the repository alike: where the role manager keeps it.
CA_BUNDLE = Path(__file__).parents[1] / "role_manager" / "rds-ca-bundle.pem"
# The database, or the way to it, failed; the statement did not: classes 08, 28, 53, 57 and 58 of
# https://www.postgresql.org/docs/current/errcodes-appendix.html, and a writer that is a reader now.
REFUSALS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
LOSSES = (OSError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError)  # OSError includes time-outs and TLS
FAILURES = (asyncpg.InsufficientResourcesError, asyncpg.OperatorInterventionError, asyncpg.PostgresSystemError)
CONNECTION_ERRORS = (*REFUSALS, *LOSSES, *FAILURES, asyncpg.ReadOnlySQLTransactionError)


def _trusting(bundle: object) -> ssl.SSLContext:
    """Return TLS that verifies certificate and host name, as libpq's verify-full does."""
    try:
        return ssl.create_default_context(cafile=str(bundle))
    except ssl.SSLError:
        raise ValueError("it holds no certificates in PEM form") from None
    except OSError as error:
        raise ValueError(error.strerror) from None


class DatabaseSettings(FromEnvironment):
    """Where the database is and who this process is there; for the service and for migrations."""

    db_host: str = Field(description="host name of the database's writer endpoint")
    db_port: int = Field(5432, ge=1, le=65535, description="port of the database")
    db_name: str = Field(description="name of the database")
    db_user: str = Field(description="database role to log in as")
    db_schema: str = Field(description="schema of the tables")
    db_ca_bundle: Annotated[ssl.SSLContext, BeforeValidator(_trusting)] = Field(
        CA_BUNDLE, validate_default=True, description="file with the certificates that the server's must be signed by"
    )
    aws_region: str = Field(description="region that tokens are signed for")
    release: str = Field("unknown", description="what is running: how the server's list of sessions calls it")
    db_pool_size: int = Field(10, ge=1, le=500, description="most connections of one process")
    db_wait_seconds: float = Field(5, ge=0.1, le=60, description="longest wait of a request for a connection")
    db_statement_seconds: float = Field(10, ge=0.1, le=3600, description="longest time of one statement")
    db_idle_seconds: float = Field(60, ge=1, le=3600, description="time until an idle connection is closed")

    def connect_arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`."""
        quoted = '"' + self.db_schema.replace('"', '""') + '"'
        return {
            "host": self.db_host,
            "port": self.db_port,
            "user": self.db_user,
            "database": self.db_name,
            "password": token_maker(self),  # One for each connection.
            "ssl": self.db_ca_bundle,
            "target_session_attrs": "read-write",  # After a failover the address may for a while be a reader's.
            "server_settings": {"application_name": self.release[:63], "search_path": quoted},
        }


def token_maker(settings: DatabaseSettings) -> Callable[[], Coroutine[Any, Any, str]]:
    """Return what makes passwords: requests, signed for 15 minutes, that prove who this task is. Raises OSError."""
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
    clients: list[Any] = []
    lock = threading.Lock()

    def sign() -> str:
        # In a thread, and imported there: it takes its time, and credentials may have to be fetched.
        from botocore import exceptions, session

        try:
            with lock:
                if not clients:
                    clients.append(session.get_session().create_client("rds", region_name=settings.aws_region))
            return str(clients[0].generate_db_auth_token(settings.db_host, settings.db_port, settings.db_user))
        except exceptions.BotoCoreError as error:
            raise OSError(f"no token for the database: {error}") from error

    return lambda: asyncio.to_thread(sign)


class Unavailable(HTTPException):
    """The database can not be asked now: 503, with the time after which to try again. Why is in the log alone."""

    def __init__(self, why: str) -> None:
        log.warning(why)
        logs.metric("DatabaseErrors", 1, "Count")
        super().__init__(503, "The database is not available. Try again in a moment.", {"Retry-After": "5"})


class Lost(Unavailable):
    """There was no connection, or it broke: another one may work at once."""


async def _leave_as_it_is(_connection: asyncpg.Connection) -> None:
    """Undo nothing in the session: it costs a round trip. A transaction left open is rolled back by asyncpg."""


class Database:
    """The pool. `read` and `write` do for one statement, `connection` for several."""

    name = "database"
    settings = DatabaseSettings

    @contextlib.asynccontextmanager
    async def running(self, settings: DatabaseSettings) -> AsyncIterator[None]:
        """Keep a pool, without a connection until one is needed."""
        self._wait_seconds = settings.db_wait_seconds
        # The pool lets newcomers overtake those that wait; this does not.
        self._turns = asyncio.Semaphore(settings.db_pool_size)
        arguments = settings.connect_arguments()
        # The first token costs half a second; no request needs to wait for it.
        first = asyncio.create_task(arguments["password"]())
        first.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._pool = await asyncpg.create_pool(
            **arguments,
            min_size=0,
            max_size=settings.db_pool_size,
            max_inactive_connection_lifetime=settings.db_idle_seconds,
            command_timeout=settings.db_statement_seconds,
            timeout=settings.db_wait_seconds,
            reset=_leave_as_it_is,
        )
        try:
            yield
        finally:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await asyncio.wait_for(self._pool.close(), 2)

    async def ready(self) -> str:
        """Ask the database who and where this is. Raises Unavailable."""
        ((role, name),) = await self.read("SELECT current_user, current_database()")
        return f"connected to {name} as {role}"

    async def read(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """As `write`, and asked once more when the connection broke: for a statement that changes nothing."""
        try:
            return await self.write(statement, *arguments)
        except Lost:
            return await self.write(statement, *arguments)

    async def write(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement. Raises Unavailable: nobody knows then whether it was done."""
        async with self.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, first come, first served. Raises Unavailable, also when it breaks in the block."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable("all connections are busy") from None
        try:
            try:
                connection = await self._pool.acquire()
            except CONNECTION_ERRORS as error:
                raise Lost(f"no connection to the database: {error!r}") from error
            try:
                yield connection
            except (*CONNECTION_ERRORS, asyncpg.InterfaceError) as error:
                # A transaction whose connection broke says no more than that; else it is the caller's mistake.
                if isinstance(error, asyncpg.InterfaceError) and not _closed(connection):
                    raise
                # What broke this connection may have broken the others: none is used again.
                await self._pool.expire_connections()
                raise (Unavailable if isinstance(error, TimeoutError) else Lost)(f"it failed: {error!r}") from error
            finally:
                with contextlib.suppress(*CONNECTION_ERRORS):
                    await self._pool.release(connection, timeout=2)
        finally:
            self._turns.release()


def _closed(connection: asyncpg.Connection) -> bool:
    """Whether a connection of the pool broke: the pool may have taken it back by then, and it answers nothing."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


database = Database()
