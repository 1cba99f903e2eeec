"""The service while its database is killed, frozen, failing over, or not there at all."""

from __future__ import annotations

import asyncio
import collections
import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg  # type: ignore[import-untyped]
import pytest

from app.database import Database, DatabaseSettings, Lost
from app.settings import read
from app.tests.service import Answer, Service, free_port, running, wait_until
from ops.laptop.dev.database import create_roles, migrate, user, variables
from ops.laptop.postgres import Fault, LocalPostgres

# DB_WAIT_SECONDS, DB_STATEMENT_SECONDS and a margin for a slow machine.
BOUND_SECONDS = 5 + 10 + 3


@pytest.fixture
def own_service(own_environment: dict[str, str], server: LocalPostgres) -> Iterator[Service]:
    server.front.forget()
    with running(own_environment) as service:
        yield service


def write(service: Service) -> Answer:
    return service.ask("POST", "/items", {"name": "x"})


def assert_unavailable(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.seconds < BOUND_SECONDS
    assert b"asyncpg" not in answer.body


class Load:
    """Eight clients that read and write, one request after another; counts the statuses."""

    def __init__(self, service: Service) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()
        self.slowest = 0.0
        self.problems: list[str] = []
        self._service = service
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(8)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def successes(self) -> int:
        return self.statuses[200] + self.statuses[201]

    def _send(self, number: int) -> None:
        connection = self._service.connect(timeout=30)
        while not self._stopped.is_set():
            method, body = ("GET", None) if number % 2 else ("POST", {"name": "under load"})
            try:
                answer = self._service.ask(method, "/items", body, connection=connection)
            except (OSError, http.client.HTTPException) as error:
                self.problems.append(repr(error))
                return
            with self._lock:
                self.statuses[answer.status] += 1
                self.slowest = max(self.slowest, answer.seconds)
                if answer.status == 503 and "Retry-After" not in answer.headers:
                    self.problems.append("a 503 without Retry-After")
                if answer.status not in (200, 201, 503):
                    self.problems.append(f"{answer.status} {answer.body!r}")
        connection.close()


def test_killing_and_restarting_under_load(own_service: Service, server: LocalPostgres) -> None:
    with Load(own_service) as load:
        wait_until(lambda: load.successes() > 100)
        for _ in range(2):
            server.crash()
            crashed = time.monotonic()
            while time.monotonic() < crashed + 2.5:
                health = own_service.ask("GET", "/health")
                assert (health.status, health.seconds < 2) == (200, True)
                time.sleep(0.1)
            server.restart()
            load.statuses.clear()
            wait_until(lambda: load.successes() > 100, 10)
    assert load.problems == []
    assert load.slowest < BOUND_SECONDS


def test_connections_cut_by_a_failover(own_service: Service, server: LocalPostgres) -> None:
    """Reads are asked again on a new connection; the client sees nothing of it."""
    for _ in range(5):
        assert own_service.ask("GET", "/items").status == 200
        server.front.cut_all()
        assert own_service.ask("GET", "/items").status == 200
    server.front.faults.append(Fault(at="FROM items WHERE id >", action="cut-before"))
    assert own_service.ask("GET", "/items").status == 200
    server.front.faults.append(Fault(at="INSERT INTO items", action="cut-after"))
    assert_unavailable(write(own_service))  # Nobody knows whether it was done: not repeated.
    assert write(own_service).status == 201


def test_a_transaction_that_is_cut_is_unavailable(
    own_environment: dict[str, str], server: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a statement as at its end, where asyncpg says no more than that the connection is closed."""
    for name, value in own_environment.items():
        monkeypatch.setenv(name, value)

    async def cut(database: Database, more: str) -> None:
        async with database.connection() as connection, connection.transaction():
            await connection.execute("SELECT 1")
            await asyncio.to_thread(server.front.cut_all)
            await asyncio.sleep(0.1)
            await connection.execute(more)

    async def transactions() -> None:
        database = Database()
        async with database.running(read(DatabaseSettings)[0]):
            for more in ("SELECT 1", ""):
                with pytest.raises(Lost):
                    await cut(database, more)
            with pytest.raises(asyncpg.InterfaceError, match="expects 0 arguments"):  # the caller's mistake
                await database.read("SELECT 1", 1)
            assert await database.read("SELECT 1")

    asyncio.run(transactions())


def test_database_that_does_not_answer(own_environment: dict[str, str], server: LocalPostgres) -> None:
    limits = {"DB_WAIT_SECONDS": "2", "DB_STATEMENT_SECONDS": "2"}
    with running({**own_environment, **limits}) as service:
        wait_until(lambda: write(service).status == 201)
        server.freeze(frozen=True)
        try:
            for answer in (service.ask("GET", "/items"), write(service)):
                assert_unavailable(answer)
                assert answer.seconds < 8
            assert service.ask("GET", "/health").seconds < 1
            assert service.ask("GET", "/ready").status == 503
        finally:
            server.freeze(frozen=False)
        wait_until(lambda: write(service).status == 201, 15)


def test_starts_without_a_database(own_environment: dict[str, str]) -> None:
    with running({**own_environment, "DB_PORT": str(free_port())}) as service:
        assert_unavailable(write(service))
        assert_unavailable(service.ask("GET", "/items"))
        assert service.ask("GET", "/items").seconds < 2, "what refuses is away: no wait"
        ready = service.ask("GET", "/ready")
        assert ready.status == 503
        assert "database" in ready.json["detail"]
        assert service.ask("GET", "/health").status == 200


def test_database_that_comes_later(environment: dict[str, str]) -> None:
    """As with a paused cluster, or a first deployment: the service is there before it."""
    port = free_port()
    with LocalPostgres(port=port) as later:
        create_roles(later)
        with later.superuser() as connection:
            connection.run("CHECKPOINT")
        later.crash()
        with running({**environment, **variables(later)}) as service:
            assert_unavailable(service.ask("GET", "/items"))
            later.restart()
            migrate(later, environment)
            wait_until(lambda: service.ask("GET", "/items").status == 200, 10)


def test_pool_that_is_used_up(own_environment: dict[str, str], server: LocalPostgres) -> None:
    small = {**own_environment, "DB_POOL_SIZE": "1", "DB_WAIT_SECONDS": "1"}
    with running(small) as service:
        wait_until(lambda: write(service).status == 201)
        fault = Fault(at="FROM items WHERE id >", action="delay", seconds=6)
        server.front.faults.append(fault)
        slow = threading.Thread(target=lambda: service.ask("GET", "/items"))
        slow.start()
        wait_until(lambda: fault.times < 1)
        answer = write(service)
        assert_unavailable(answer)
        assert answer.seconds < 4
        slow.join()
        assert write(service).status == 201


def test_no_connection_without_requests(own_environment: dict[str, str], server: LocalPostgres) -> None:
    """A cluster that scales to zero pauses when nobody is connected."""

    def connections() -> int:
        with server.superuser(server.database) as connection:
            return int(connection.run("SELECT count(*) FROM pg_stat_activity WHERE usename = :user", user=user())[0][0])

    with running({**own_environment, "DB_IDLE_SECONDS": "4"}) as service:
        for _ in range(3):
            assert service.ask("GET", "/health").status == 200
        assert connections() == 0
        assert service.ask("GET", "/items").status == 200
        assert connections() == 1
        wait_until(lambda: connections() == 0, 20)
        assert service.ask("GET", "/items").status == 200


@pytest.mark.parametrize("certificate", ["self-signed", "wrong-name", "none"])
def test_a_server_that_cannot_prove_itself_is_not_used(
    own_service: Service, server: LocalPostgres, certificate: str
) -> None:
    server.front.certificate = certificate
    try:
        assert_unavailable(own_service.ask("GET", "/items"))
        assert not any(session.password_received for session in server.front.sessions)
    finally:
        server.front.certificate = "good"
    assert own_service.ask("GET", "/items").status == 200


def test_sigterm_answers_what_it_has(own_environment: dict[str, str], server: LocalPostgres) -> None:
    """Requests that wait for the database when the signal comes."""
    with running(own_environment) as service:
        wait_until(lambda: write(service).status == 201)
        server.front.faults.append(Fault(at="FROM items WHERE id >", action="delay", seconds=2, times=8))
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(service.ask, "GET", "/items?limit=1") for _ in range(8)]
            time.sleep(1)
            assert service.stop() == 0
            assert [answer.result().status for answer in answers] == [200] * 8


def test_what_is_away_is_counted(own_environment: dict[str, str]) -> None:
    """In CloudWatch's embedded format; METRICS=off writes none."""
    away = {**own_environment, "DB_PORT": str(free_port())}
    for more in ({}, {"METRICS": "off"}):
        with running({**away, **more}) as service:
            assert_unavailable(write(service))
            assert service.stop() == 0
            documents = [line for line in service.lines() if "_aws" in line]
        assert len(documents) == (0 if more else 1)
        for document in documents:
            (directive,) = document["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == own_environment["APP_NAME"]
            assert directive["Dimensions"] == [["Environment"]]
            assert directive["Metrics"] == [{"Name": "DatabaseErrors", "Unit": "Count"}]
            assert document["Environment"] == own_environment["ENVIRONMENT"]
            assert document["DatabaseErrors"] == 1
