"""Start and end of the process: settings, signals, file system."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.tests.service import ROOT, Service, free_port, running, wait_until


def start_and_end(environment: dict[str, str], *module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *(module or ("app",))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_all_problems_of_the_environment_are_told_at_once(environment: dict[str, str]) -> None:
    broken = {**environment, "PORT": "eighty", "LOG_LEVEL": "loud", "REQUEST_SECONDS": "nan"}
    del broken["APP_NAME"]
    ended = start_and_end(broken)
    assert ended.returncode == 1
    for name in ("APP_NAME is missing", "PORT is 'eighty'", "LOG_LEVEL", "REQUEST_SECONDS"):
        assert name in ended.stderr
    assert "Traceback" not in ended.stderr
    nothing = start_and_end({})
    assert nothing.returncode == 1
    assert "Traceback" not in nothing.stderr
    required = {"APP_NAME", "ENVIRONMENT"} | {
        name for name in environment if name.startswith("DB_") and name not in ("DB_PORT", "DB_CA_BUNDLE")
    }
    for name in required:
        assert f"\n  {name} is " in nothing.stderr


def test_a_port_in_use_is_told(environment: dict[str, str], service: Service) -> None:
    ended = start_and_end({**environment, "PORT": str(service.port)})
    assert ended.returncode == 3
    assert "Address already in use" in ended.stdout


def test_healthcheck_command(service: Service) -> None:
    good = start_and_end({"PORT": str(service.port)}, "app.healthcheck")
    assert good.returncode == 0, good.stderr
    bad = start_and_end({"PORT": str(free_port())}, "app.healthcheck")
    assert bad.returncode == 1
    assert "did not answer" in bad.stderr


def test_nothing_is_written(environment: dict[str, str]) -> None:
    """A read-only file system is what ECS gives it: no file of the application changes."""

    def state() -> dict[str, int]:
        return {
            str(path): path.stat().st_mtime_ns for path in (ROOT / "app").rglob("*") if "__pycache__" not in path.parts
        }

    before = state()
    with running({**environment, "PYTHONDONTWRITEBYTECODE": "1"}) as service:
        service.ask("GET", "/ready")
        descriptors = Path(f"/proc/{service.process.pid}/fd").iterdir()
        opened = [str(link.readlink()) for link in descriptors if int(link.name) > 2]
        assert service.stop() == 0
    assert state() == before
    assert [path for path in opened if path[0] == "/" and not path.startswith("/dev/")] == []


class Load:
    """Threads that send requests one after another, each counted as answered, refused or failed."""

    def __init__(self, service: Service, path: str, *, keep_alive: bool) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._service = service
        self._keep_alive = keep_alive
        self._path = path
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send) for _ in range(8)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stopped.is_set():
            if connection is None:
                connection = self._service.connect()
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return  # It does not accept any more: not a request that failed.
            try:
                answer = self._service.ask("GET", self._path, connection=connection)
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(repr(error))
                return
            with self._lock:
                self.answered += 1
                if answer.status != 200:
                    self.failures.append(str(answer.status))
            closes = answer.headers["Connection"] == "close"
            if closes or not self._keep_alive:
                connection.close()
                connection = None


@pytest.mark.parametrize("keep_alive", [True, False])
def test_sigterm_fails_no_request(environment: dict[str, str], keep_alive: bool) -> None:
    for path in ("/health", "/ready"):
        with running(environment) as service:
            with Load(service, path, keep_alive=keep_alive) as load:
                wait_until(lambda: load.answered > 50, 60)
                started = time.monotonic()
                assert service.stop() == 0
                assert time.monotonic() - started < 20
            assert load.failures == []


def test_sigterm_lets_a_slow_request_finish(environment: dict[str, str]) -> None:
    """The body of this request is still on its way when the signal comes."""
    with running(environment) as service:
        connection = service.connect()
        connection.putrequest("GET", "/health")
        connection.putheader("Content-Length", "4")
        connection.endheaders()
        connection.send(b"ab")
        service.process.terminate()
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            service.connect().connect()
        with contextlib.suppress(BrokenPipeError):
            connection.send(b"cd")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        connection.close()
        assert service.process.wait(timeout=10) == 0
