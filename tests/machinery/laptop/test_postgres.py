"""The local PostgreSQL is like Aurora where this project relies on it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from ops.laptop.postgres import (
    Fault,
    Installation,
    LocalPostgres,
    ServerNotFoundError,
    StartFailedError,
    check_token,
    find_installation,
    installations,
)
from ops.laptop.postgres.found import reachable_programs
from role_manager.connection import (
    CA_BUNDLE,
    AuthenticationFailedError,
    ConnectionFailedError,
    ConnectionLostError,
    Server,
    Session,
    connect,
)


@pytest.fixture(scope="module", params=[15, 16, 18], ids=lambda version: f"pg{version}")
def server(request: pytest.FixtureRequest) -> Iterator[LocalPostgres]:
    try:
        found = LocalPostgres(request.param)
    except ServerNotFoundError as error:
        pytest.skip(str(error))
    with found:
        with found.superuser() as connection:
            connection.run("CREATE ROLE app LOGIN PASSWORD 'ordinary'")
            connection.run("GRANT rds_iam TO app")
        yield found


def login(server: LocalPostgres, user: str, password: str, **options: Any) -> AbstractContextManager[Session]:
    place = Server(server.names[0], server.port, server.database, server.ca_file)
    return connect(dataclasses.replace(place, **options), user, lambda: password, attempts=1)


def test_the_master_is_no_superuser_and_owns_its_database(server: LocalPostgres) -> None:
    with login(server, server.master, server.master_password) as connection:
        assert connection.run(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, pg_has_role('rds_superuser', 'MEMBER'),"
            " (SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database())"
            " FROM pg_roles WHERE rolname = current_user"
        ) == [[False, True, True, True, server.master]]
        connection.run("CREATE ROLE other LOGIN")
        connection.run("GRANT rds_iam TO other")
        connection.run("DROP ROLE other")


def test_members_of_rds_iam_need_a_token(server: LocalPostgres) -> None:
    with login(server, "app", server.iam_token("app")) as connection:
        assert connection.run("SELECT current_user") == [["app"]]
    for password in ("ordinary", "", server.iam_token("master")):
        with (
            pytest.raises(AuthenticationFailedError, match="PAM authentication failed") as caught,
            login(server, "app", password),
        ):
            pass
        assert "ordinary" not in str(caught.value)


def test_others_need_their_password(server: LocalPostgres) -> None:
    for password in ("wrong", server.iam_token(server.master)):
        with (
            pytest.raises(AuthenticationFailedError, match="password authentication failed"),
            login(server, server.master, password),
        ):
            pass


def test_nobody_connects_without_tls(server: LocalPostgres) -> None:
    with (
        pytest.raises(AuthenticationFailedError, match="no encryption"),
        login(server, server.master, server.master_password, encrypted=False),
    ):
        pass


def test_nobody_is_trusted_without_the_authority(server: LocalPostgres) -> None:
    with (
        pytest.raises(ConnectionFailedError, match="not trusted"),
        login(server, "app", server.iam_token("app"), ca_bundle=CA_BUNDLE),
    ):
        pass


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Action=connect", "Action=drop", "Action"),
        ("DBUser=app", "DBUser=master", "another user"),
        ("localhost:5432", "elsewhere:5432", "made for"),
        ("localhost:5432", "localhost:5433", "made for"),
        ("us-east-1", "eu-west-1", "region"),
        ("rds-db", "s3", "credential"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5", "algorithm"),
        ("X-Amz-Signature=", "X-Amz-Signature=x", "signature"),
        ("X-Amz-Expires=900", "X-Amz-Expires=9000", "expiry"),
        ("/?", "", "presigned URL"),
    ],
)
def test_each_part_of_a_token_is_checked(old: str, new: str, words: str) -> None:
    server = LocalPostgres.__new__(LocalPostgres)  # its address is all a token needs
    server.names, server.port, server._region = ("localhost",), 5432, None
    token = server.iam_token("app")
    assert _problem(token) is None
    assert words in (_problem(token.replace(old, new)) or "")


def test_tokens_expire() -> None:
    server = LocalPostgres.__new__(LocalPostgres)
    server.names, server.port, server._region = ("localhost",), 5432, None
    token = server.iam_token("app")
    now = datetime.datetime.now(datetime.UTC)
    assert _problem(token, now=now + datetime.timedelta(minutes=14)) is None
    assert _problem(token, now=now + datetime.timedelta(minutes=16)) == "it has expired"
    assert _problem(token, now=now - datetime.timedelta(minutes=10)) == "it has expired"


def _problem(token: str, **options: Any) -> str | None:
    names = ["localhost"]
    return check_token(token, names=names, port=5432, user="app", region="us-east-1", **options)


def test_faults_cut_where_they_are_told(server: LocalPostgres) -> None:
    server.front.faults.append(Fault(at="CREATE TABLE cut"))
    with pytest.raises(ConnectionLostError):
        _statement(server, "CREATE TABLE cut (id int)")
    server.front.faults.append(Fault(at=1, action="cut-after"))
    with pytest.raises(ConnectionLostError):
        _statement(server, "CREATE TABLE made (id int)")
    with server.superuser() as connection:
        assert connection.run("SELECT to_regclass('cut'), to_regclass('made')::text") == [[None, "made"]]
    server.front.faults.append(Fault(at=1, action="delay", seconds=0.2))
    started = time.monotonic()
    _statement(server, "SELECT 1")
    assert time.monotonic() - started > 0.2


def _statement(server: LocalPostgres, sql: str) -> None:
    with login(server, server.master, server.master_password) as session:
        session.run(sql)


def test_every_connection_can_be_cut_at_once(server: LocalPostgres) -> None:
    with login(server, server.master, server.master_password) as session:
        server.front.cut_all()
        with pytest.raises(ConnectionLostError):
            session.run("SELECT 1")
    _statement(server, "SELECT 1")


def test_round_trips_are_counted(server: LocalPostgres) -> None:
    server.front.forget()
    with login(server, server.master, server.master_password) as connection:
        connection.run("SELECT 1")
        connection.run("SELECT 1; SELECT 2")
    session = server.front.sessions[-1]
    assert (session.round_trips, list(session.sql)) == (2, ["SELECT 1", "SELECT 1; SELECT 2"])


def test_data_is_kept_where_it_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with LocalPostgres(data=data) as first:
        password = first.master_password
        _statement(first, "CREATE TABLE kept (id int)")
        with pytest.raises(StartFailedError, match="in use"), LocalPostgres(data=data):
            pass
    with LocalPostgres(data=data) as second:
        assert second.master_password == password
        _statement(second, "SELECT * FROM kept")


def test_what_a_killed_run_left_is_cleaned_up(tmp_path: Path) -> None:
    process, details = _start("--data", str(tmp_path / "data"))
    process.kill()
    process.communicate()
    process, again = _start("--data", str(tmp_path / "data"))
    assert again["master_password"] == details["master_password"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_temporary_server_leaves_nothing() -> None:
    process, details = _start()
    folder = Path(details["ca_file"]).parent
    assert folder.exists()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not folder.exists()


def _start(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.laptop.postgres", "--json", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    line = process.stdout.readline()
    return process, json.loads(line)


def test_a_server_that_offers_what_is_needed_is_preferred() -> None:
    assert 15 in [found.version for found in installations(["plpgsql"])]
    assert find_installation(extensions=["no such extension"]) == find_installation()
    for offering in installations(["pg_trgm", "pgcrypto"]):  # a distribution's: the wheel's servers have neither
        assert "pixeltable" not in str(offering.bin)
        assert find_installation(offering.version, ["pg_trgm"]) == offering
        with LocalPostgres(extensions=["pg_trgm"]) as server, server.superuser() as connection:
            connection.run("CREATE EXTENSION pg_trgm")


def test_a_server_that_is_not_here_is_named() -> None:
    with pytest.raises(ServerNotFoundError, match="was not found on this machine"):
        find_installation(9)


@pytest.mark.skipif(
    15 not in [installation.version for installation in installations()],
    reason="only a system's server is built with OpenSSL",
)
def test_a_server_can_speak_tls_itself() -> None:
    with (
        LocalPostgres(15, direct_tls=True) as server,
        login(server, server.master, server.master_password) as connection,
    ):
        assert connection.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [[True]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")
def test_programs_that_an_umask_closed_are_copied_open(tmp_path: Path) -> None:
    """As after `make setup` under umask 027 or 077."""
    programs = tmp_path / "package" / "pginstall" / "bin"
    for file in (programs / "postgres", programs.parent / "lib" / "x.so", tmp_path / "package.libs" / "y.so"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o700 if file.name == "postgres" else 0o600)
    copied = reachable_programs(Installation(18, programs))
    try:
        assert copied != programs
        files = [path for path in (copied.parents[2]).rglob("*") if path.is_file()]
        assert len(files) == 3
        assert all(path.stat().st_mode & 0o004 for path in files)
        assert (copied / "postgres").stat().st_mode & 0o001
        assert all(parent.stat().st_mode & 0o001 for parent in (copied / "postgres").parents)
    finally:
        shutil.rmtree(copied.parents[2])
