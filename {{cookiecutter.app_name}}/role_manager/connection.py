"""Connects to PostgreSQL, over verified TLS only, and to the AWS services that give the passwords.

Nothing here puts a password or token into a message, a log or a statement.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pg8000.native

# The certificate authorities of RDS in the regions of the partition aws, as AWS publishes them in
# https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem
CA_BUNDLE = Path(__file__).with_name("rds-ca-bundle.pem")

_ATTEMPTS = 3
_PAUSE_SECONDS = 1.0
# The server is starting, stopping or full: https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRY_AGAIN = {"57P01", "57P02", "57P03", "53300"}


class ServerError(Exception):
    """What went wrong between here and the server."""


class ConnectionFailedError(ServerError):
    """The connection could not be made; the message says why and what to do. `passing`: it may work in a moment."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class AuthenticationFailedError(ConnectionFailedError):
    """The server refused the login."""


class ConnectionLostError(ServerError):
    """The connection broke while a statement ran."""


class StatementError(ServerError):
    """The server refused a statement; `state` is its SQLSTATE."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.state = fields.get("C", "")
        parts = [fields.get("M", ""), fields.get("D"), fields.get("H")]
        message = ". ".join(part.rstrip(".") for part in parts if part)
        super().__init__(f"{message} (SQLSTATE {self.state})")


@dataclasses.dataclass(frozen=True)
class Server:
    """Where the database is, and whom to trust about it.

    Attributes:
        host: name or address; the certificate must be for it. A path is a Unix socket's directory.
        port: TCP port.
        database: name of the database.
        ca_bundle: PEM file of the certificate authorities to trust.
        encrypted: False only for a server on this machine.

    """

    host: str
    port: int
    database: str
    ca_bundle: Path = CA_BUNDLE
    encrypted: bool = True


@dataclasses.dataclass(frozen=True)
class Timeouts:
    """Limits in seconds for connecting, each statement, waiting on a lock, and waiting for the end of another apply."""

    connect: float = 30  # a paused Aurora cluster needs about 15 to take its first connection
    statement: float = 120
    lock: float = 2  # who waits to change an owner makes everybody else wait behind
    lock_of_apply: float = 60


class Session:
    """A connection that reports its failures as this module's exceptions, and counts requests in `meter`."""

    def __init__(self, connection: pg8000.native.Connection, meter: Counter[str]) -> None:
        self._connection = connection
        self._meter = meter

    def run(self, sql: str) -> list[list[Any]]:
        """Run SQL, which may be several statements, in one round trip; return the rows of all.

        Raises:
            StatementError: the server refused it.
            ConnectionLostError: the connection broke; whether the SQL ran is not known.

        """
        self._meter["round trips"] += 1
        try:
            return self._connection.run(sql) or []
        except pg8000.native.DatabaseError as error:
            failure = StatementError(error.args[0])
            if failure.state.startswith(("57P", "08")):  # the server ended the session
                raise ConnectionLostError(str(failure)) from None
            raise failure from None
        except (pg8000.native.InterfaceError, OSError) as error:
            raise ConnectionLostError(_reason(error)) from None

    def close(self) -> None:
        """End the session; the server rolls back what was not committed."""
        raw = self._connection._usock
        with contextlib.suppress(pg8000.native.Error, OSError):
            self._connection.close()
        # At once, whatever tracebacks still refer to the socket.
        with contextlib.suppress(AttributeError, OSError):
            raw.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def connect(
    server: Server,
    user: str,
    password: Callable[[], str],
    *,
    settings: Mapping[str, str] | None = None,
    timeouts: Timeouts | None = None,
    attempts: int = _ATTEMPTS,
    meter: Counter[str] | None = None,
) -> Iterator[Session]:
    """Log in, try again when the server is not reachable or not ready, and close in the end.

    Args:
        server: where.
        user: the role.
        password: gives the password or token; called for each attempt, since tokens expire and
            secrets are rotated.
        settings: run-time parameters of the session.
        timeouts: limits; the statement limit also bounds waiting for any answer.
        attempts: how often to try.
        meter: counts requests under `round trips`.

    Raises:
        ConnectionFailedError: with the reason.
        AuthenticationFailedError: the server refused the login.

    """
    timeouts = timeouts or Timeouts()
    for attempt in range(1, attempts + 1):
        try:
            connection = _open(server, user, password(), settings or {}, timeouts)
            break
        except ConnectionFailedError as error:
            if attempt == attempts or not error.passing:
                raise
            time.sleep(_PAUSE_SECONDS * attempt)
    session = Session(connection, Counter() if meter is None else meter)
    try:
        yield session
    finally:
        session.close()


def _open(
    server: Server, user: str, password: str, settings: Mapping[str, str], timeouts: Timeouts
) -> pg8000.native.Connection:
    local = server.host.startswith("/")
    context = _tls(server) if server.encrypted else False
    try:
        connection = pg8000.native.Connection(
            user,
            host=server.host,
            port=server.port,
            unix_sock=f"{server.host}/.s.PGSQL.{server.port}" if local else None,
            database=server.database,
            password=password,
            timeout=timeouts.connect,
            ssl_context=context,
            application_name="role-manager",
            # Whatever the database or the role says: a name may have any letter.
            startup_params={"client_encoding": "UTF8", **settings},
        )
    except (pg8000.native.Error, OSError) as error:
        raise _failure(error, server, user) from None
    # The server ends a long statement itself; this is for a server that is gone.
    connection._usock.settimeout(timeouts.statement + 10)
    if not local:
        connection._usock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _failure(error: BaseException, server: Server, user: str) -> BaseException:
    """Say what went wrong before or at the login."""
    where = f"{server.host}:{server.port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionFailedError(
            f"{where} is not trusted: {error.verify_message}. No password was sent. Its certificate "
            f"must be for {server.host} and signed by an authority in {server.ca_bundle.name}"
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return ConnectionFailedError(
            f"{where} answers, but TLS failed: {error.reason or error}. No password was sent. It must speak TLS 1.2 or "
            "newer, and nothing may stand between that changes what is sent"
        )
    if isinstance(error, pg8000.native.DatabaseError):
        failure = StatementError(error.args[0])
        if failure.state in _TRY_AGAIN:
            return ConnectionFailedError(f"{where} takes no connections: {failure}", passing=True)
        if failure.state.startswith("28"):
            return AuthenticationFailedError(f"{where} refused the login of {user}: {failure}")
        return ConnectionFailedError(f"{where}: {failure}")
    if isinstance(error, pg8000.native.InterfaceError) and "SSL" in str(error):
        return ConnectionFailedError(f"{where} does not offer TLS. No password was sent")
    if str(error).startswith(("Can't create a connection", "communication error")):
        message = f"{where} cannot be reached: {_reason(error)}. Check the host, the port and the security groups"
        return ConnectionFailedError(message, passing=True)
    if isinstance(error, pg8000.native.InterfaceError | OSError):
        return ConnectionFailedError(f"{where} closed the connection: {_reason(error)}", passing=True)
    return error


def _tls(server: Server) -> ssl.SSLContext:
    """Build what libpq calls verify-full: trusted authority, right name, nothing older than TLS 1.2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=server.ca_bundle)
    except OSError as error:
        raise ConnectionFailedError(
            f"The certificate bundle {server.ca_bundle} cannot be read: {_reason(error)}"
        ) from None
    return context


def _reason(error: BaseException) -> str:
    inner = error.__cause__ if error.__cause__ is not None else error
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


# --- Where passwords come from ------------------------------------------------------------------


@contextlib.contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """Say what it was that AWS's client could not do."""
    from botocore.exceptions import BotoCoreError, ClientError  # late: they cost more than all the rest

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise ConnectionFailedError(f"{what}: {error}") from None


def master_login(secret_arn: str) -> tuple[str, str]:
    """Read the master's user name and password from Secrets Manager.

    Raises:
        ConnectionFailedError: the secret cannot be read or has another form.

    """
    import boto3

    with _failing_as(f"The secret {secret_arn} cannot be read"):
        answer = boto3.client("secretsmanager").get_secret_value(SecretId=secret_arn)
    try:
        secret = json.loads(answer["SecretString"])
        return str(secret["username"]), str(secret["password"])
    except (KeyError, TypeError, ValueError):
        # Not even the parser's words: they quote what they could not parse.
        raise ConnectionFailedError(f"The secret {secret_arn} is not JSON with username and password") from None


def tokens(server: Server) -> Callable[[str], str]:
    """What makes IAM tokens for roles, each good for 15 minutes; boto3 finds region and credentials as always.

    Raises:
        ConnectionFailedError: there is no region; of what is returned: there are no credentials.

    """
    import boto3

    with _failing_as("IAM tokens cannot be made"):
        client = boto3.client("rds")

    @_failing_as("IAM tokens cannot be made")
    def token(user: str) -> str:
        return str(client.generate_db_auth_token(DBHostname=server.host, Port=server.port, DBUsername=user))

    return token
