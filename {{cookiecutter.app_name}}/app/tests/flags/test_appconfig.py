"""The service and AppConfig: absent, slow, broken, and back again.

The stand-in speaks the two operations of AppConfig's data API over HTTP, as the real client calls them.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.tests.service import Service, free_port, running, wait_until


class AppConfig(ThreadingHTTPServer):
    """Serves `values`; `mode` is how it behaves: good, slow, broken, garbage, refusing."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.values: Any = {}
        self.mode = "good"
        self.sessions: dict[str, Any] = {}
        self.requests: list[str] = []
        self.opened: list[dict[str, Any]] = []
        self.counter = 0


class Handler(BaseHTTPRequestHandler):
    server: AppConfig

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.misbehave():
            return
        self.server.opened.append(json.loads(content))
        self.answer(201, json.dumps({"InitialConfigurationToken": self.token(None)}).encode())

    def do_GET(self) -> None:
        if self.misbehave():
            return
        token = self.path.partition("configuration_token=")[2]
        if token not in self.server.sessions:
            self.answer(400, b'{"message": "The token is not valid"}')
            return
        seen = self.server.sessions.pop(token)  # A token is good for one call.
        current = json.dumps(self.server.values)
        self.answer(
            200,
            b"" if seen == current else current.encode(),
            {
                "Next-Poll-Configuration-Token": self.token(current),
                "Next-Poll-Interval-In-Seconds": "1",
            },
        )

    def misbehave(self) -> bool:
        self.server.requests.append(self.server.mode)
        match self.server.mode:
            case "slow":
                time.sleep(30)
            case "broken":
                self.answer(500, b"oops")
            case "garbage":
                self.answer(200, b"<html>not JSON</html>")
            case _:
                return False
        return True

    def token(self, seen: object) -> str:
        self.server.counter += 1
        self.server.sessions[str(self.server.counter)] = seen
        return str(self.server.counter)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def appconfig(port: int, values: object) -> Iterator[AppConfig]:
    with AppConfig(port) as server:
        server.values = values
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def through_appconfig(environment: dict[str, str], port: int) -> dict[str, str]:
    variables = {name: value for name, value in environment.items() if name != "FLAGS_FILE"}
    return {
        **variables,
        "APPCONFIG_APPLICATION": "shop-dev",
        "APPCONFIG_ENVIRONMENT": "dev",
        "APPCONFIG_PROFILE": "flags",
        "AWS_ENDPOINT_URL_APPCONFIGDATA": f"http://127.0.0.1:{port}",
    }


def shouting(service: Service, user: str = "a") -> bool:
    features = service.ask("GET", f"/features?user={user}").json["features"]
    return bool(features["shout"])


def state(service: Service) -> str:
    return str(service.ask("GET", "/ready").json["components"]["flags"])


ON, OFF = {"shout": {"enabled": True}}, {"shout": {"enabled": False}}


def test_values_arrive_and_change(through_appconfig: dict[str, str], port: int) -> None:
    with appconfig(port, ON) as server, running(through_appconfig) as service:
        wait_until(lambda: shouting(service))
        assert "AppConfig shop-dev/dev/flags" in state(service)
        assert server.opened[0]["ApplicationIdentifier"] == "shop-dev"
        server.values = OFF
        wait_until(lambda: not shouting(service))
        server.values = {"shout": {"enabled": True, "percent": 0, "users_on": ["b"]}}
        wait_until(lambda: shouting(service, "b"))
        assert not shouting(service, "a")
        assert len(server.opened) == 1, "one session is enough"


def test_starts_without_appconfig_and_finds_it_later(through_appconfig: dict[str, str], port: int) -> None:
    with running(through_appconfig) as service:
        wait_until(lambda: "ConnectionError" in state(service) or "Connect" in state(service))
        assert state(service).startswith("defaults of flags.json")
        assert not shouting(service)
        with appconfig(port, ON):
            wait_until(lambda: shouting(service))
            assert state(service).startswith("values of AppConfig")


@pytest.mark.parametrize("mode", ["slow", "broken", "garbage"])
def test_last_good_values_stay(through_appconfig: dict[str, str], port: int, mode: str) -> None:
    with appconfig(port, ON) as server, running(through_appconfig) as service:
        wait_until(lambda: shouting(service))
        server.mode, server.values = mode, OFF
        wait_until(lambda: server.requests.count(mode) >= 1)
        wait_until(lambda: "; " in state(service))  # It says what is wrong.
        answer = service.ask("GET", "/features?user=a")
        assert answer.json["features"]["shout"]
        assert answer.seconds < 1, "requests do not wait for AppConfig"
        server.mode = "good"
        wait_until(lambda: not shouting(service))


def test_bad_values_are_not_taken(through_appconfig: dict[str, str], port: int) -> None:
    with appconfig(port, ON) as server, running(through_appconfig) as service:
        wait_until(lambda: shouting(service))
        server.values = {"shout": {"enabled": True, "percent": 1000}}
        wait_until(lambda: "shout.percent is 1000" in state(service))
        assert shouting(service)
        server.values = OFF
        wait_until(lambda: not shouting(service))


def test_an_expired_session_is_replaced(through_appconfig: dict[str, str], port: int) -> None:
    with appconfig(port, ON) as server, running(through_appconfig) as service:
        wait_until(lambda: shouting(service))
        server.sessions.clear()
        server.values = OFF
        wait_until(lambda: not shouting(service))
        assert len(server.opened) == 2


def test_appconfig_that_hangs_does_not_hold_up_start_or_end(through_appconfig: dict[str, str], port: int) -> None:
    with appconfig(port, ON) as server:
        server.mode = "slow"
        started = time.monotonic()
        with running(through_appconfig) as service:
            wait_until(lambda: server.requests)
            assert service.stop() == 0
        assert time.monotonic() - started < 25, "the answer takes 30"


def test_a_file_is_read_again_when_it_changes(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_text(json.dumps({"values": ON}))
    with running({**environment, "FLAGS_FILE": str(file)}) as service:
        wait_until(lambda: shouting(service))
        file.write_text("{ half an edit")
        wait_until(lambda: "; " in state(service))
        assert shouting(service)
        file.write_text(json.dumps({"values": OFF}))
        wait_until(lambda: not shouting(service))
