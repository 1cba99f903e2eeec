"""The service as a process of its own, as the container runs it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A running service: `ask` it, read its `lines`, end it with `stop`."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], output: Path) -> None:
        self.port = port
        self.process = process
        self._output = output

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, timeout: float = 20) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """Send one request; a body that is not bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        used = connection or self.connect()
        started = time.monotonic()
        try:
            used.request(method, path, body, headers)
            response = used.getresponse()
            content = response.read()
        finally:
            if connection is None:
                used.close()
        return Answer(response.status, response.headers, content, time.monotonic() - started)

    def raw(self, data: bytes, timeout: float = 3) -> bytes:
        """Send bytes; return what comes back until the service closes the connection or is silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                while part := connection.recv(65536):
                    received += part
        return received

    def lines(self) -> list[dict[str, Any]]:
        """Return what the service wrote on standard output: every line is a JSON object."""
        return [json.loads(line) for line in self._output.read_text(encoding="utf-8").splitlines()]

    def logged(self, **fields: object) -> list[dict[str, Any]]:
        """Return the lines that have these fields."""
        return [line for line in self.lines() if fields.items() <= line.items()]

    def stop(self) -> int:
        """End the service as ECS does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return when the condition is true; fail when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@contextlib.contextmanager
def running(environment: dict[str, str], root: Path = ROOT) -> Iterator[Service]:
    """Run `python -m app` with nothing but this environment."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "stdout")
        with output.open("wb") as stdout:
            process = subprocess.Popen(
                [sys.executable, "-m", "app"],
                cwd=root,
                env={"PATH": os.environ["PATH"], **environment, "PORT": str(port)},
                stdout=stdout,
            )
        service = Service(port, process, output)

        def alive() -> bool:
            assert process.poll() is None, f"it ended with {process.returncode}"
            try:
                return service.ask("GET", "/health").status == 200
            except OSError:
                return False

        try:
            wait_until(alive)
            yield service
        finally:
            process.kill()
            process.wait()
