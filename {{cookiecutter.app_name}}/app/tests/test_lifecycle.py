"""Start and end of the process: settings, signals, file system."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    broken = {**environment, "PORT": "eighty", "LOG_LEVEL": "loud", "STOP_SECONDS": "nan", "METRICS": ""}
    del broken["APP_NAME"]
    ended = start_and_end(broken)
    assert ended.returncode == 1
    for name in ("APP_NAME is missing", "PORT is 'eighty'", "LOG_LEVEL is 'loud'", "STOP_SECONDS is 'nan'"):
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
    assert "address already in use" in ended.stdout.lower()


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
        opened = []
        for link in Path(f"/proc/{service.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # It was closed meanwhile.
                if int(link.name) > 2:
                    opened.append(str(link.readlink()))
        assert service.stop() == 0
    assert state() == before
    assert [path for path in opened if path[0] == "/" and not path.startswith("/dev/")] == []


def test_sigterm_as_ecs_sends_it(environment: dict[str, str]) -> None:
    """The load balancer has stopped sending; connections of it may still be open."""
    with running(environment) as service:
        idle = [service.connect() for _ in range(20)]
        for connection in idle:
            assert service.ask("GET", "/health", connection=connection).status == 200
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 25
        for connection in idle:
            connection.close()


def test_sigint_is_a_good_end_too(environment: dict[str, str]) -> None:
    with running(environment) as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(timeout=20) == 0


def test_sigterm_loses_no_answer(environment: dict[str, str]) -> None:
    """The body of this request is still on its way when it was answered and the signal comes."""
    with running(environment) as service:
        connection = service.connect()
        connection.putrequest("GET", "/health")
        connection.putheader("Content-Length", "4")
        connection.putheader("X-Request-Id", "unfinished")
        connection.endheaders()
        connection.send(b"ab")
        wait_until(lambda: len(service.logged(path="/health", request_id="unfinished")) == 1)
        service.process.terminate()
        assert service.process.wait(timeout=20) == 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(b"cd")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        connection.close()
