"""The server with its roles, databases, certificates and files, from start to stop."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pg8000.native
import trustme

from ops import processes
from ops.laptop.postgres.found import (
    TEMPORARY_PREFIX,
    StartFailedError,
    find_installation,
    reachable_data,
    reachable_programs,
    temporary_directory,
    temporary_roots,
    unprivileged_account,
)
from ops.laptop.postgres.front import TOKEN_SECONDS, Front

SUPERUSER = "rdsadmin"
_INITDB = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
_SOCKET_NAME = ".s.PGSQL.5432"
_DETAILS = "running.json"


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
        extensions: names of those that it should offer; a server that does is preferred.

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
        extensions: Collection[str] = (),
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
        kept = self._wanted_data and reachable_data(self._wanted_data) / "data" / "PG_VERSION"
        if version is None and kept and kept.exists():
            version = int(kept.read_text(encoding="utf-8"))
        self.installation = find_installation(version, extensions)
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
            expires=TOKEN_SECONDS,
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
            ssl_context=False,  # otherwise it reads all authorities of the system first, for each connection
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
        """Everything a program needs to connect, as plain values; :func:`running` returns the same."""
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
        self._account = account = unprivileged_account()
        if self._wanted_data is None:
            self.directory = temporary_directory(in_memory=True)
            (self.directory / "owner").write_text(str(os.getpid()), encoding="utf-8")
        else:
            self.directory = reachable_data(self._wanted_data)
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.directory.stat().st_uid not in {os.geteuid(), account.get("user")}:
                raise StartFailedError(f"{self.directory} belongs to somebody else")
            self._lock_data()
        self._bin = reachable_programs(self.installation)
        # The path of a Unix socket has at most 103 bytes (macOS), hence not below the data directory.
        self.socket_directory = temporary_directory()
        self.socket_path = self.socket_directory / _SOCKET_NAME
        (self.socket_directory / "owner").write_text(str(os.getpid()), encoding="utf-8")
        try:
            for directory in (self.directory, self.socket_directory):
                self._give_away(directory)
            self._start_server()
            if self._wanted_data:
                _write_secret(self.directory / _DETAILS, json.dumps(self.details()))
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
        (self.directory / _DETAILS).unlink(missing_ok=True)
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
        (self.directory / _DETAILS).unlink(missing_ok=True)  # of a killed run

    def _start_server(self) -> None:
        data = self.directory / "data"
        secrets_file = self.directory / "passwords.json"
        if not secrets_file.exists():
            shutil.rmtree(data, ignore_errors=True)  # an initialization that did not finish
            self.superuser_password = secrets.token_urlsafe(24)
            self.master_password = secrets.token_urlsafe(24)
            self._initialize(data)
            passwords = {"superuser": self.superuser_password, self.master: self.master_password}
            _write_secret(secrets_file, json.dumps(passwords))
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
            settings |= {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}
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


def running(data: Path | str) -> dict[str, Any] | None:
    """How to reach the server that runs on a kept data directory: its :meth:`LocalPostgres.details`.

    Returns:
        None when none runs there, or none that is ready.

    """
    directory = reachable_data(Path(data).absolute())
    try:
        with (directory / "lock").open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((directory / _DETAILS).read_text(encoding="utf-8"))
            return found
    return None


def _write_secret(file: Path, text: str) -> None:
    """Write a file that nobody else may read, whole or not at all."""
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(text, encoding="utf-8")
    partial.rename(file)


def _children(process: int) -> list[int]:
    pairs = [line.split() for line in processes.run(["ps", "-A", "-o", "pid=,ppid="]).out.splitlines()]
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


def _remove_leftovers() -> None:
    """Stop the servers and remove the files of runs that were killed."""
    for owner in (path for root in temporary_roots() for path in root.glob(f"{TEMPORARY_PREFIX}*/owner")):
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
    if str(data) not in processes.run(["ps", "-ww", "-o", "args=", "-p", str(process)]).out:
        return
    for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 5)):
        os.kill(process, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not pid_file.exists():
                return
            time.sleep(0.1)
