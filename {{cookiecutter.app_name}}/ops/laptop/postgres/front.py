"""The proxy before the server: TLS, IAM tokens, and for tests counted round trips and injected faults."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import re
import socket
import ssl
import struct
import threading
import urllib.parse
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import trustme

# Request codes of the startup packet:
# https://www.postgresql.org/docs/current/protocol-message-formats.html
_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
# An IAM token is good for 15 minutes:
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/UsingWithRDS.IAMDBAuth.html
TOKEN_SECONDS = 900


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
    if made.strftime("%Y%m%d") != credential[1] or not 0 < seconds <= TOKEN_SECONDS:
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
