"""Servers that lie, connections that break, others that do the same at the same time."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trustme

from ops.laptop.postgres import Fault
from role_manager import actions
from role_manager.actions import ActionError, Manager, apply, check
from role_manager.connection import (
    AuthenticationFailedError,
    ConnectionFailedError,
    Server,
    Timeouts,
    connect,
    tokens,
)
from role_manager.desired import parse
from role_manager.planning import steps
from role_manager.tests.conftest import DESIRED, Database

# Everything that an action could leave behind.
_EVERYTHING = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
  SELECT c::text AS line FROM pg_class c WHERE relnamespace >= 16384 OR relkind = 'S'
  UNION ALL SELECT n::text FROM pg_namespace n WHERE nspname NOT LIKE 'pg\\_t%'
  UNION ALL SELECT p::text FROM pg_proc p WHERE pronamespace >= 16384
  UNION ALL SELECT r::text FROM pg_roles r
  UNION ALL SELECT m::text FROM pg_auth_members m
  UNION ALL SELECT d::text FROM pg_default_acl d
  UNION ALL SELECT s::text FROM pg_db_role_setting s
  UNION ALL SELECT datacl::text FROM pg_database) x"""


def state(database: Database) -> str:
    return str(database.superuser(_EVERYTHING)[0][0])


def test_a_cut_at_any_step_leaves_all_or_nothing(newest_database: Database) -> None:
    database = newest_database
    steps = len(database.plan().plan.changes) + 3  # reading twice and COMMIT
    before = state(database)
    for step in range(2, steps + 1):
        both = ("cut-before", "cut-after")
        for action in both if step >= steps - 1 else both[step % 2 :][:1]:
            database.server.front.faults.append(Fault(at=step, action=action, user="master"))
            with pytest.raises(ActionError) as caught:
                apply(_impatient(database))
            words = str(caught.value)
            if step == steps:
                assert "at COMMIT" in words
                made = database.plan().result == "nothing to do"
                assert made is (action == "cut-after")
            elif step == steps - 1:
                assert "while reading" in words
                assert state(database) == before
            else:
                assert f"change {step - 1} of" in words
                assert "nothing was changed" in words
                assert state(database) == before
    assert database.apply().result == "nothing to do"


def _impatient(database: Database) -> Manager:
    """The reading before and after the changes is tried again; here the fault comes back each time."""
    faults = database.server.front.faults
    if faults[-1].at == len(database.plan().plan.changes) + 2:
        faults[-1].times = 3
    return database.manager()


@pytest.mark.parametrize("action", ["cut-before", "cut-after"])
def test_a_cut_before_anything_was_done_is_tried_again(newest_database: Database, action: str) -> None:
    newest_database.server.front.faults.append(Fault(at=1, action=action, times=2))
    assert newest_database.apply().result == "applied"
    assert [line["message"] for line in newest_database.log][:2] == ["trying again"] * 2


@pytest.mark.parametrize("certificate", ["self-signed", "wrong-name", "none"])
def test_an_impostor_gets_neither_password_nor_token(newest_database: Database, certificate: str) -> None:
    database = newest_database
    database.apply()
    front, server = database.server.front, database.manager().server
    front.forget()
    front.certificate = certificate
    with pytest.raises(ConnectionFailedError, match="No password was sent") as caught:
        database.apply()
    token = tokens(server)
    with (
        pytest.raises(ConnectionFailedError, match="No password was sent"),
        connect(server, "app", lambda: token("app")),
    ):
        pass
    assert len(front.sessions) >= 2
    assert not any(session.password_received for session in front.sessions)
    assert not any(session.user for session in front.sessions)
    assert database.server.master_password not in str(caught.value)


def test_a_server_of_another_authority_is_refused(newest_database: Database) -> None:
    """The bundle that ships with the package trusts RDS alone."""
    local = newest_database.manager().server
    server = Server(local.host, local.port, local.database)
    with pytest.raises(ConnectionFailedError, match=r"rds-ca-bundle\.pem"):
        apply(Manager(server, lambda: ("master", "x"), parse(DESIRED)))


def test_a_wrong_password_is_said_and_not_repeated(newest_database: Database) -> None:
    manager = Manager(newest_database.manager().server, lambda: ("master", "wrong-secret"), parse(DESIRED))
    with pytest.raises(AuthenticationFailedError, match="refused the login of master") as caught:
        apply(manager)
    assert "wrong-secret" not in str(caught.value)


def test_nobody_listening_is_said(newest_database: Database) -> None:
    server = Server("localhost", 1, "app", newest_database.server.ca_file)
    with pytest.raises(ConnectionFailedError, match="cannot be reached"):
        apply(Manager(server, lambda: ("master", "x"), parse(DESIRED)))


def test_applies_at_the_same_time_do_not_collide(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: database.apply(), range(4)))
    assert sorted(report.result for report in reports) == ["applied", *["nothing to do"] * 3]
    assert database.check().result == "passed"


def test_checks_and_applies_at_the_same_time(newest_database: Database) -> None:
    newest_database.apply()
    work: list[Callable[[], Any]] = [newest_database.check, newest_database.apply] * 3
    with ThreadPoolExecutor(6) as pool:
        for report in pool.map(lambda one: one(), work):
            assert report.result in {"passed", "nothing to do"}


def test_a_statement_that_takes_too_long_ends_the_apply(newest_database: Database) -> None:
    database = newest_database
    database.apply()
    database.as_role("migrator", "CREATE TABLE app.orders (id int)")
    database.superuser("ALTER TABLE app.orders OWNER TO master")
    before = state(database)
    with database.server.superuser() as other:
        other.run("BEGIN; LOCK TABLE app.orders")
        with pytest.raises(ActionError, match="statement timeout") as caught:
            database.apply(statement=2, lock=30)
        other.run("ROLLBACK")
    assert "nothing was changed" in str(caught.value)
    assert state(database) == before


def test_another_apply_that_hangs_is_not_waited_for_forever(newest_database: Database) -> None:
    database = newest_database
    with database.server.superuser() as other:
        key = int.from_bytes(b"rolemngr", "big", signed=True)
        other.run(f"BEGIN; SELECT pg_advisory_xact_lock({key})")
        with pytest.raises(ActionError, match=r"held by rdsadmin \(pid \d+\).*pg_terminate_backend"):
            database.apply(lock_of_apply=0.3)
        other.run("ROLLBACK")
    assert database.apply().result == "applied"


@pytest.mark.parametrize("action", ["cut-before", "cut-after"])
@pytest.mark.parametrize("role", ["migrator", "app", "master"])
def test_check_leaves_nothing_behind_even_when_it_is_cut(newest_database: Database, role: str, action: str) -> None:
    database = newest_database
    desired = DESIRED | {"roles": DESIRED["roles"] | {"batch": {"profile": "read-only", "login": "none"}}}
    database.apply(desired)
    database.as_role("migrator", "CREATE TABLE app.orders (id int)")
    before = state(database)
    assert database.check(desired).result == "passed"
    assert state(database) == before
    for at in ("SHOW search_path", *["SAVEPOINT future"] * (role == "migrator")):
        fault = Fault(at=at, action=action, user=role, times=2)  # what fails is proven once more
        database.server.front.faults.append(fault)
        with pytest.raises(ActionError, match="could not be proven"):
            check(database.manager(desired))
        assert fault.times == 0
        assert state(database) == before
    assert database.check(desired).result == "passed"


def test_a_role_at_its_connection_limit_is_named(newest_database: Database) -> None:
    database = newest_database
    desired = DESIRED | {"roles": DESIRED["roles"] | {"app": {"profile": "read-write", "connection_limit": 1}}}
    database.apply(desired)
    token = database.server.iam_token("app")
    with connect(database.manager().server, "app", lambda: token):
        report = database.failed_check(desired)
    problems = [problem for proof in report.proofs for problem in proof.problems]
    assert any("too many connections" in problem for problem in problems), problems


def test_limits_reach_the_server(newest_database: Database) -> None:
    manager = newest_database.manager(statement=7, lock=3)
    with manager.session() as session:
        rows = session.run("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
    assert rows == [["7s", "3s"]]
    assert Timeouts().lock < Timeouts().statement


# --- Beside other work --------------------------------------------------------------------------


def test_a_table_that_others_hold_is_left_and_the_rest_is_done(database: Database) -> None:
    """Its readers wait for us a moment at a time, and the report names who holds it."""
    database.apply()
    database.as_role("migrator", *(f"CREATE TABLE app.t{n} (id int)" for n in range(3)))
    database.superuser(*(f"ALTER TABLE app.t{n} OWNER TO master" for n in range(3)))
    owners = "SELECT relname::text, relowner::regrole::text FROM pg_class WHERE relname ~ '^t[0-2]$' ORDER BY 1"
    with database.server.superuser() as other:
        other.run("BEGIN; LOCK TABLE app.t1 IN ACCESS SHARE MODE")
        with pytest.raises(ActionError, match=r"rdsadmin \(pid \d+\) holds a lock") as caught:
            database.apply(lock=0.2)
        assert database.superuser(owners) == [["t0", "migrator"], ["t1", "master"], ["t2", "migrator"]]
        other.run("ROLLBACK")
    report = caught.value.report
    assert report.result == "blocked"
    assert {item.object for item in report.plan.blocked} == {"table app.t1"}
    assert database.apply().result == "applied"
    assert database.check().result == "passed"


def test_waiting_for_a_lock_lasts_two_seconds() -> None:
    assert Timeouts().lock == 2


def test_more_objects_than_locks_are_done_in_batches(
    newest_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction ends in a state that is safe to stop after; the last one ends as one would have."""
    database = newest_database
    database.apply()
    database.as_role("migrator", *(f"CREATE TABLE app.t{n} (id serial)" for n in range(25)))
    database.superuser(*(f"ALTER TABLE app.t{n} OWNER TO master" for n in range(25)))
    whole = actions._plan
    monkeypatch.setattr(actions, "_plan", lambda *given: dataclasses.replace(whole(*given), locks=120))
    monkeypatch.setattr(steps, "_PER_STATEMENT", 5)
    database.server.front.sessions.clear()
    assert database.apply().result == "applied"
    commits = [sql for session in database.server.front.sessions for sql in session.sql if sql == "COMMIT"]
    assert len(commits) > 2
    assert database.check().result == "passed"


def test_what_is_dropped_and_made_beside_us_fails_nothing(newest_database: Database) -> None:
    """Migrations that run all the time: no apply fails, no check finds drift."""
    database = newest_database
    database.apply()
    stop = threading.Event()

    def migrate() -> None:
        token = database.server.iam_token("migrator")
        with connect(database.manager().server, "migrator", lambda: token) as session:
            while not stop.is_set():
                for n in range(5):
                    session.run(
                        f"CREATE TABLE app.m{n} (id serial); CREATE FUNCTION app.f{n}(app.m{n}) RETURNS int LANGUAGE sql AS 'SELECT 1'"
                    )
                for n in range(5):
                    session.run(
                        f"REVOKE ALL ON app.m{n} FROM app; GRANT SELECT, INSERT, UPDATE, DELETE ON app.m{n} TO app"
                    )
                    session.run(f"DROP FUNCTION app.f{n}; DROP TABLE app.m{n}")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(migrate)
        try:
            for _ in range(8):
                assert database.apply().result in {"applied", "nothing to do"}
                assert database.check().result == "passed"
        finally:
            stop.set()
        running.result()


@pytest.mark.parametrize(
    "setting",
    [
        "createrole_self_grant = 'set, inherit'",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "search_path = public, pg_catalog",
        "quote_all_identifiers = on",
        "transform_null_equals = on",
        "role = 'pg_monitor'",
        "from_collapse_limit = 1",
        "bytea_output = 'escape'",
    ],
)
def test_the_masters_settings_change_nothing(database: Database, setting: str) -> None:
    if "createrole" in setting and database.server.version < 16:
        pytest.skip("PostgreSQL 16 brought it")
    database.superuser(f"ALTER ROLE master SET {setting}")
    try:
        assert database.apply().result == "applied"
        assert database.apply().result == "nothing to do"
        assert database.check().result == "passed"
    finally:
        database.superuser(f"ALTER ROLE master RESET {setting.partition(' ')[0]}")


def test_another_encoding_changes_nothing(newest_database: Database) -> None:
    """Of the database, or what a role sets for itself: names have letters that it lacks."""
    database, desired = newest_database, DESIRED | {"schemas": ["app", "\u0434\u0430\u043d\u043d\u044b\u0435"]}
    database.superuser("ALTER DATABASE app SET client_encoding = 'LATIN1'")
    assert database.apply(desired).result == "applied"
    assert database.check(desired).result == "passed"
    database.as_role("readonly", "ALTER ROLE readonly SET client_encoding = 'LATIN1'")
    assert "client_encoding" in str(database.failed_check(desired).plan.changes)


def test_the_servers_settings_change_nothing(newest_database: Database) -> None:
    """A parameter group may set what changes how names are written."""
    database = newest_database
    database.superuser("ALTER SYSTEM SET quote_all_identifiers = on", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")
    try:
        database.superuser(
            "CREATE SCHEMA app AUTHORIZATION master",
            "CREATE ROLE intern",
            "GRANT intern TO master WITH ADMIN OPTION",
            "CREATE TABLE app.theirs (id int)",
            "ALTER TABLE app.theirs OWNER TO intern",
        )
        desired = DESIRED | {"adopt": ["table app.theirs"]}
        assert database.apply(desired).result == "applied"
        assert database.apply(desired).result == "nothing to do"
        assert database.check(desired).result == "passed"
    finally:
        database.superuser(
            "ALTER SYSTEM RESET quote_all_identifiers", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)"
        )


# --- TLS that is not as it must be -------------------------------------------------------------


@contextmanager
def answering(work: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that answers each connection with `work`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.recv(8)
                    work(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _old_tls(connection: socket.socket) -> None:
    connection.sendall(b"S")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    trustme.CA().issue_cert("localhost").configure_cert(context)
    context.wrap_socket(connection, server_side=True)


def _injected(connection: socket.socket) -> None:
    connection.sendall(b"S" + b"E\0\0\0\x50SERROR\0C42000\0Mplaintext\0\0")
    connection.recv(1000)


@pytest.mark.parametrize(("work", "words"), [(_old_tls, "TLS 1.2"), (_injected, "what is sent")])
def test_failures_of_tls_are_said_as_such(
    newest_database: Database, work: Callable[[socket.socket], None], words: str
) -> None:
    ca = newest_database.server.ca_file
    with answering(work) as port, pytest.raises(ConnectionFailedError, match="No password was sent") as caught:
        apply(Manager(Server("localhost", port, "app", ca), lambda: ("master", "s3cret"), parse(DESIRED)))
    assert words in str(caught.value)
    assert "security groups" not in str(caught.value)
