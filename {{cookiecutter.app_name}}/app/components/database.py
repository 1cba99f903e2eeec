"""PostgreSQL over TLS with IAM authentication: one pool, bounded waits, no connection while idle.

The pool opens connections when requests need them and closes them when they are idle, so that a
cluster that scales to zero can pause. Nothing here runs unless a request asks for the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
import time
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg  # type: ignore[import-untyped]
import asyncpg.pool  # type: ignore[import-untyped]

from app.components import Base, NotReady
from app.problems import Problem
from app.settings import Environment, Settings
from app.telemetry import Metrics

if TYPE_CHECKING:
    _PooledConnection: TypeAlias = asyncpg.pool.PoolConnectionProxy[Any]

log = logging.getLogger(__name__)

# RDS accepts a token for 15 minutes, and only while a connection is being opened
# (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html).
TOKEN_SECONDS = 900
TOKEN_REUSED_SECONDS = 600
# A connection that was idle this long is asked for a sign of life before a request relies on it.
CHECK_AFTER_SECONDS = 5.0
CHECK_SECONDS = 2.0
# Between attempts to connect: the first is soon because a failover may be over.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
RETRY_AFTER = {"Retry-After": "5"}

# The database, or the way to it, failed; the statement did not: classes 08, 28, 53, 57 and 58 of
# https://www.postgresql.org/docs/current/errcodes-appendix.html, and a writer that is a reader now.
CONNECTION_ERRORS = (
    OSError,  # includes ssl.SSLError and TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,
)


class CredentialsError(OSError):
    """There are no AWS credentials to sign a token with."""


class IamToken:
    """The password of the moment: a presigned request that proves who this task is."""

    def __init__(self, host: str, port: int, user: str, region: str) -> None:
        self._host = host
        self._port = port
        self._user = user
        self._region = region
        self._lock = threading.Lock()
        self._signer: Any = None
        self._token = ""
        self._made_at = float("-inf")

    def get(self) -> str:
        """Return a token with at least five minutes to live.

        Blocks while credentials are fetched; signing itself is local. Raises CredentialsError.
        """
        with self._lock:
            if time.monotonic() - self._made_at > TOKEN_REUSED_SECONDS:
                self._token = self._sign()
                self._made_at = time.monotonic()
            return self._token

    def forget(self) -> None:
        """Make the next call return a new token."""
        self._made_at = float("-inf")

    def _sign(self) -> str:
        # Imported here: in a thread, beside the start of the service.
        import botocore.exceptions
        import botocore.session
        from botocore.model import ServiceId
        from botocore.signers import RequestSigner

        try:
            if self._signer is None:
                session = botocore.session.get_session()
                credentials = session.get_credentials()
                if credentials is None:
                    raise CredentialsError("no AWS credentials: the task has no role")
                self._signer = RequestSigner(
                    ServiceId("RDS"),
                    self._region,
                    "rds-db",
                    "v4",
                    credentials,
                    session.get_component("event_emitter"),
                )
            query = urllib.parse.urlencode({"Action": "connect", "DBUser": self._user})
            url: str = self._signer.generate_presigned_url(
                {
                    "method": "GET",
                    "url": f"https://{self._host}:{self._port}/?{query}",
                    "body": {},
                    "headers": {},
                    "context": {},
                },
                operation_name="connect",
                expires_in=TOKEN_SECONDS,
                region_name=self._region,
            )
        except botocore.exceptions.BotoCoreError as error:
            raise CredentialsError(f"no token for the database: {error}") from error
        return url.removeprefix("https://")


class DatabaseSettings:
    """Where the database is and who this process is there; for the service and for migrations."""

    def __init__(self, env: Environment, settings: Settings) -> None:
        self.host = env.text("DB_HOST", "host name of the database's writer endpoint")
        self.port = env.integer("DB_PORT", "port of the database", 5432, low=1, high=65535)
        self.name = env.text("DB_NAME", "name of the database")
        self.user = env.text("DB_USER", "database role to log in as")
        self.schema = env.text("DB_SCHEMA", "schema of the tables")
        self.ca_bundle = env.file(
            "DB_CA_BUNDLE",
            "file with the certificates that the server's must be signed by",
            # In the image and in the repository alike: where the role manager keeps it.
            Path(__file__).parents[2] / "role_manager" / "rds-ca-bundle.pem",
        )
        try:
            # Verifies the certificate and the host name, as libpq's verify-full does.
            self.tls = ssl.create_default_context(cafile=str(self.ca_bundle))
        except ssl.SSLError:
            env.problem(f"DB_CA_BUNDLE is '{self.ca_bundle}': it holds no certificates in PEM form")
        except OSError:
            pass  # It cannot be read: reported already.
        self.region = env.text("AWS_REGION", "region that tokens are signed for")
        self.application = f"{settings.app_name} {settings.release}"[:63]
        self.token = IamToken(self.host, self.port, self.user, self.region)

    def connect_arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`.

        The server must accept writes: after a failover the address may for a while be a reader's.
        """
        schema = self.schema.replace('"', '""')

        async def password() -> str:
            return await asyncio.to_thread(self.token.get)

        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "database": self.name,
            "password": password,
            "ssl": self.tls,
            "target_session_attrs": "read-write",
            "server_settings": {
                "application_name": self.application,
                "search_path": f'"{schema}"',
            },
        }


class _Connection(asyncpg.Connection):  # type: ignore[misc] # it has no annotations
    """A connection that remembers when it last worked."""

    _worked_at = 0.0

    def worked(self) -> None:
        """Remember that it works now."""
        self._worked_at = time.monotonic()

    def idle_seconds(self) -> float:
        """Return the time since it worked."""
        return time.monotonic() - self._worked_at

    def get_reset_query(self) -> str:
        """Return nothing: statements here leave no state in the session, so none is undone.

        Saves a round trip for each request. (A transaction left open is still rolled back.)
        """
        return ""


def _is_closed(connection: _PooledConnection) -> bool:
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # It broke, and the pool has taken it back.
        return True


class Unavailable(Problem):
    """The database can not be asked now: 503, with the time after which to try again.

    `lost` tells that a connection broke, so that another one may work at once.
    """

    def __init__(self, *, lost: bool = False) -> None:
        super().__init__(503, "The database is not available. Try again in a moment.", RETRY_AFTER)
        self.lost = lost


class Component(Base):
    """The pool. `read` and `write` do for one statement, `connection` for several.

    Metrics: DatabaseWait (milliseconds until a request had its connection), DatabaseErrors,
    DatabaseConnections and DatabaseConnectionsIdle.
    """

    def __init__(self, env: Environment, settings: Settings, metrics: Metrics) -> None:
        self._settings = DatabaseSettings(env, settings)
        self._size = env.integer("DB_POOL_SIZE", "most connections of one process", 10, low=1, high=500)
        self._idle_seconds = env.seconds(
            "DB_IDLE_SECONDS", "time until an idle connection is closed", 60, low=1, high=3600
        )
        self._wait_seconds = env.seconds(
            "DB_WAIT_SECONDS", "longest wait of a request for a connection", 5, low=0.1, high=60
        )
        self._statement_seconds = env.seconds(
            "DB_STATEMENT_SECONDS", "longest time of one statement", 10, low=0.1, high=3600
        )
        self._metrics = metrics
        self._pool: asyncpg.Pool[Any] | None = None
        self._failing_since: float | None = None
        # Waiting requests get connections in the order in which they came.
        self._turns = asyncio.Semaphore(self._size)

    async def start(self) -> None:
        """Make the pool, without a connection."""
        self._pool = pool = await asyncpg.create_pool(
            **self._settings.connect_arguments(),
            min_size=0,
            max_size=self._size,
            max_inactive_connection_lifetime=self._idle_seconds,
            command_timeout=self._statement_seconds,
            timeout=self._wait_seconds,
            connection_class=_Connection,
        )
        # The first token costs half a second; no request needs to wait for it.
        self._warming = asyncio.create_task(self._warm_up())
        self._metrics.count("DatabaseErrors", 0)
        self._metrics.gauge("DatabaseConnections", pool.get_size)
        self._metrics.gauge("DatabaseConnectionsIdle", pool.get_idle_size)

    async def _warm_up(self) -> None:
        with contextlib.suppress(CredentialsError):  # A request will say so.
            await asyncio.to_thread(self._settings.token.get)

    async def stop(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), timeout=CHECK_SECONDS)
            except CONNECTION_ERRORS:
                self._pool.terminate()

    async def ready(self) -> str:
        """Ask the database who and where this is."""
        try:
            role, name = (await self.read("SELECT current_user, current_database()"))[0]
        except Unavailable as error:
            raise NotReady(error.detail) from None
        return f"connected to {name} as {role}"

    async def read(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement that changes nothing.

        It is asked a second time when the connection breaks. Raises Unavailable.
        """
        try:
            return await self.write(statement, *arguments)
        except Unavailable as error:
            if not error.lost:
                raise
        return await self.write(statement, *arguments)

    async def write(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement that may change something.

        Raises Unavailable; when the connection broke under it, nobody knows whether it was done.
        """
        async with self.connection() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[_PooledConnection]:
        """Lend a connection that works. Raises Unavailable, also when it breaks in the block."""
        pool = self._pool
        assert pool is not None, "start() was not called"  # noqa: S101
        started = time.monotonic()
        await self._take_turn()
        try:
            connection = await self._acquire(pool, started + self._wait_seconds)
            self._metrics.observe("DatabaseWait", round((time.monotonic() - started) * 1000, 3))
            try:
                yield connection
                connection.worked()
            except CONNECTION_ERRORS as error:
                if isinstance(error, asyncpg.InterfaceError) and not _is_closed(connection):
                    raise  # A mistake in the use of the driver.
                lost = not isinstance(error, (TimeoutError, asyncpg.QueryCanceledError))
                if lost and not _is_closed(connection):
                    connection.terminate()
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    # The writer became a reader: every connection leads to the wrong server.
                    await pool.expire_connections()
                raise self._unavailable("a statement failed", error, lost) from error
            finally:
                with contextlib.suppress(*CONNECTION_ERRORS):
                    await pool.release(connection, timeout=CHECK_SECONDS)
        finally:
            self._turns.release()

    async def _take_turn(self) -> None:
        """Wait until fewer than DB_POOL_SIZE requests have a connection, first come, first served."""
        if not self._turns.locked():
            await self._turns.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turns.acquire()
        except TimeoutError as error:
            raise self._unavailable(f"all {self._size} connections are busy", error) from error

    async def _acquire(self, pool: asyncpg.Pool[Any], deadline: float) -> _PooledConnection:
        """Return a connection that works, about until the deadline.

        A failover takes seconds, so attempts go on until then; when attempts have failed for longer
        than DB_WAIT_SECONDS already, the first failure is the answer.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                connection = await pool.acquire()
                if connection.idle_seconds() > CHECK_AFTER_SECONDS:
                    await self._check(pool, connection)
            except CONNECTION_ERRORS as error:
                now = time.monotonic()
                if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
                    self._settings.token.forget()
                self._failing_since = self._failing_since or now
                if now + pause > deadline or now - self._failing_since > self._wait_seconds:
                    raise self._unavailable("no connection to the database", error) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._failing_since = None
                return connection

    async def _check(self, pool: asyncpg.Pool[Any], connection: _PooledConnection) -> None:
        """Raise one of CONNECTION_ERRORS, without the connection, when it does not work."""
        try:
            await connection.fetchval("SELECT 1", timeout=CHECK_SECONDS)
        except BaseException:
            if not _is_closed(connection):
                connection.terminate()
            await pool.release(connection)
            raise

    def _unavailable(self, what: str, error: Exception, lost: bool = False) -> Unavailable:
        self._metrics.count("DatabaseErrors")
        log.warning("%s: %s", what, f"{type(error).__name__} {error}".strip())
        return Unavailable(lost=lost)
