"""Checks a program against docs/bring-your-own-application.md.

    make check-contract URL=http://localhost:8000      one that runs already
    make check-contract START="docker run --rm -p 8000:8000 IMAGE"
                                                       one that this starts, and ends with SIGTERM

With START the command gets PORT and the rest of this shell's environment; URL then says where it
answers (http://localhost:PORT, PORT is 8000, when left out). Exit code 1 when a rule is broken.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 30
HEALTH_SECONDS = 2


class BrokenRuleError(Exception):
    """A rule of the contract does not hold; the message says what was seen."""


class Program:
    """The program under test, by its address."""

    def __init__(self, url: str) -> None:
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port or 80
        except ValueError:  # A port that is no number, or half an IPv6 address.
            host = None
        if not host or parts.scheme != "http":
            raise BrokenRuleError(f"URL is {url!r}: http://HOST:PORT is needed")
        self.host = host
        self.port = port

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        return http.client.HTTPConnection(self.host, self.port, timeout=10)

    def ask(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes, float]:
        """Send one request on a connection of its own; return status, headers, body and seconds."""
        started = time.monotonic()
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read(), time.monotonic() - started


def health(program: Program) -> str:
    """GET /health answers 200 within two seconds, whatever else is down."""
    status, _headers, _body, seconds = program.ask("GET", "/health")
    if status != 200:
        raise BrokenRuleError(f"it answered {status}")
    if seconds > HEALTH_SECONDS:
        raise BrokenRuleError(f"it took {seconds:.1f} s")
    return f"200 after {seconds * 1000:.0f} ms"


def keep_alive(program: Program) -> str:
    """A connection serves more than one request, as the load balancer expects."""
    with contextlib.closing(program.connect()) as connection:
        for number in (1, 2, 3):
            try:
                connection.request("GET", "/health")
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise BrokenRuleError(f"request {number} on one connection: {error!r}") from None
            if answer.will_close and number < 3:
                raise BrokenRuleError("it closes the connection after an answer")
    return "three requests on one connection"


def unknown_path(program: Program) -> str:
    """An unknown path is the client's mistake: 404, and nothing of the program's inside."""
    status, _headers, body, _seconds = program.ask("GET", "/no-such-path-8d1f")
    if status != 404:
        raise BrokenRuleError(f"it answered {status}")
    for trace in (b"Traceback (most recent", b"\tat ", b"goroutine ", b"stack trace"):
        if trace in body:
            raise BrokenRuleError("the answer shows a stack trace")
    return "404"


def broken_requests(program: Program) -> str:
    """What is not HTTP gets a 4xx or a closed connection, and does no harm."""
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA" * 1000):
        answer = b""
        with (
            socket.create_connection((program.host, program.port), timeout=3) as connection,
            contextlib.suppress(OSError),
        ):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        if answer.startswith(b"HTTP/1.1 5"):
            raise BrokenRuleError(f"it answered {answer[:40]!r}")
    return health(program)


def offers(program: Program) -> str:
    """An offer to upgrade the connection is ignored: curl --http2 and Java's HttpClient make it with every request."""
    offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    request = f"POST /health HTTP/1.1\r\nHost: {program.host}\r\n{offer}Content-Length: 2\r\n\r\n{{}}"
    with (
        contextlib.closing(socket.create_connection((program.host, program.port), timeout=5)) as connection,
        contextlib.closing(connection.makefile("rb")) as answers,
    ):
        seen = []
        for _ in (1, 2):
            connection.sendall(request.encode())
            status = answers.readline().split(maxsplit=2)[1:2]
            seen.append(status[0].decode() if status else "nothing")
            length = 0
            while (line := answers.readline()) not in (b"\r\n", b""):
                name, _colon, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answers.read(length)
    if not all(status[0] in "24" and status != "400" for status in seen):
        raise BrokenRuleError(f"two POSTs with the offer Upgrade: h2c were answered with {' and '.join(seen)}")
    return f"{seen[0]}, twice on one connection"


def many_at_once(program: Program) -> str:
    """Fifty requests at once are all answered."""
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: program.ask("GET", "/health"), range(200)))
    bad = sum(status != 200 for status, *_ in answers)
    if bad:
        raise BrokenRuleError(f"{bad} of 200 were not answered with 200")
    slowest = max(seconds for *_, seconds in answers)
    return f"200 requests, the slowest took {slowest * 1000:.0f} ms"


RULES: tuple[Callable[[Program], str], ...] = (
    health,
    keep_alive,
    unknown_path,
    broken_requests,
    offers,
    many_at_once,
)


@contextlib.contextmanager
def started(command: str, program: Program, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the end of the block; begins when /health answers."""
    with output.open("wb") as stdout:
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is the caller's own
                shlex.split(command), stdout=stdout, env={**os.environ, "PORT": str(program.port)}
            )
        except (OSError, ValueError, IndexError) as error:
            raise BrokenRuleError(f"START is {command!r}, which cannot be started: {error}") from None
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if program.ask("GET", "/health")[0] == 200:
                    break
            if process.poll() is not None:
                raise BrokenRuleError(f"it ended with {process.returncode} before it answered")
            if time.monotonic() > deadline:
                raise BrokenRuleError(f"GET /health does not answer 200 within {START_SECONDS} s")
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def stops(program: Program, process: subprocess.Popen[bytes]) -> str:
    """SIGTERM: the request that is running is answered, exit code 0, within 30 seconds."""
    with contextlib.closing(program.connect()) as connection:
        # This request is running while its body is incomplete.
        connection.putrequest("GET", "/health")
        connection.putheader("Content-Length", "2")
        connection.endheaders(b"a")
        time.sleep(1)  # Until it has the request, on a machine that does much else too.
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        try:
            with contextlib.suppress(BrokenPipeError):
                connection.send(b"b")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise BrokenRuleError(f"the running request was not answered: {error!r}") from None
    if status >= 500:
        raise BrokenRuleError(f"the running request was answered with {status}")
    try:
        code = process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise BrokenRuleError(f"it still runs after {STOP_SECONDS} s: ECS would kill it") from None
    if code != 0:
        raise BrokenRuleError(f"its exit code is {code}")
    return f"exit code 0 after {time.monotonic() - begun:.1f} s"


def json_lines(output: Path) -> str:
    """Every line on standard output is one JSON object, so that logs can be searched by field."""
    lines = output.read_text(errors="replace", encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            good = isinstance(json.loads(line), dict)
        except ValueError:
            good = False
        if not good:
            raise BrokenRuleError(f"line {number} is {line[:80]!r}")
    return f"{len(lines)} lines"


def report(rule: Callable[..., str], check: Callable[[], str]) -> bool:
    """Check one rule and print what was seen."""
    text = (rule.__doc__ or "").strip()
    try:
        seen, good = check(), True
    except (BrokenRuleError, OSError, http.client.HTTPException) as error:
        seen, good = str(error) or repr(error), False
    sys.stdout.write(f"{'ok     ' if good else 'BROKEN '} {text}\n        {seen}\n")
    return good


def main() -> int:
    """Check every rule; return the exit code."""
    start = os.environ.get("START", "")
    url = os.environ.get("URL", "")
    if not (start or url):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        program = Program(url or f"http://localhost:{os.environ.get('PORT') or 8000}")
        if not start:
            good = [report(rule, functools.partial(rule, program)) for rule in RULES]
        else:
            with tempfile.TemporaryDirectory() as directory:
                output = Path(directory, "stdout")
                with started(start, program, output) as process:
                    good = [report(rule, functools.partial(rule, program)) for rule in RULES]
                    good.append(report(stops, lambda: stops(program, process)))
                good.append(report(json_lines, lambda: json_lines(output)))
    except BrokenRuleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{sum(good)} of {len(good)} rules hold.\n")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
