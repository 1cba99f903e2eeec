"""What happens around every request: its identity, limits, access log and metrics."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import MEDIA_TYPE, Problem, problem_body
from app.telemetry import LineBuffer, Metrics, request_id

log = logging.getLogger(__name__)

# A caller may name its request; anything else would let it write into the logs.
ACCEPTED_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=-]{1,128}")

HEADERS_IN_A_REQUEST = 100
HEADER_BYTES = 32_768
CLIENT_CLOSED_REQUEST = 499  # Not a standard status: what access logs call a client that left.


class Gateway:
    """ASGI middleware, outermost.

    It accepts or makes the `X-Request-Id` and returns it; refuses too many headers (431) and too
    large a body (413); ends a request that takes longer than `request_seconds` (503, or 408 while
    the body is still arriving); turns an unexpected error into a 500 whose cause is in the log
    alone; writes the access log line and the metrics RequestLatency, ServerErrors and ClientErrors.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        request_seconds: float,
        request_bytes: int,
    ) -> None:
        self._app = app
        self._metrics = metrics
        metrics.count("ServerErrors", 0)
        metrics.count("ClientErrors", 0)
        self._request_seconds = request_seconds
        self._request_bytes = request_bytes
        self._access_log = LineBuffer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; pass on everything else."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()


class _Exchange:
    """One request and its response."""

    __slots__ = (
        "_body_complete", "_gateway", "_headers", "_receive", "_received_bytes", "_request_id",
        "_scope", "_send", "_status",
    )  # fmt: skip

    def __init__(self, gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._scope = scope
        self._receive = receive
        self._send = send
        self._status = 0
        self._received_bytes = 0
        self._body_complete = False
        self._headers: dict[bytes, bytes] = {}
        self._request_id = ""

    async def run(self) -> None:
        started = time.perf_counter()
        gateway = self._gateway
        self._headers = dict(self._scope["headers"])
        given = self._headers.get(b"x-request-id", b"")
        self._request_id = given.decode() if ACCEPTED_REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        request_id.set(self._request_id)  # Each request runs in a task, and so a context, of its own.
        try:
            self._check_size()
            async with asyncio.timeout(gateway._request_seconds) as limit:
                await gateway._app(self._scope, self.receive, self.send)
        except Problem as problem:
            await self._refuse(problem)
        except ClientDisconnect:
            self._status = self._status or CLIENT_CLOSED_REQUEST
        except TimeoutError:
            if not limit.expired():
                await self._fail()
            elif self._body_complete or not self._has_body():
                log.exception("no answer within %g s", gateway._request_seconds)
                await self._refuse(Problem(503, "The answer took too long. Try again.", {"Retry-After": "5"}))
            else:
                await self._refuse(Problem(408, "The body did not arrive in time.", {"Connection": "close"}))
        except Exception:  # noqa: BLE001 - the one place where any error ends
            await self._fail()
        finally:
            self._record((time.perf_counter() - started) * 1000)

    async def receive(self) -> Message:
        """Pass on a part of the body, unless it makes the body too large."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received_bytes += len(message.get("body", b""))
            self._body_complete = not message.get("more_body", False)
            if self._received_bytes > self._gateway._request_bytes:
                raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Pass on a part of the response, and mark its head."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self._request_id.encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
        await self._send(message)

    def _has_body(self) -> bool:
        return b"transfer-encoding" in self._headers or self._headers.get(b"content-length", b"0") != b"0"

    def _check_size(self) -> None:
        headers = self._scope["headers"]
        size = len(self._scope["raw_path"]) + len(self._scope["query_string"])
        size += sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > HEADERS_IN_A_REQUEST or size > HEADER_BYTES:
            raise Problem(
                431,
                f"At most {HEADERS_IN_A_REQUEST} headers and {HEADER_BYTES} bytes of address and headers are accepted.",
            )
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > self._gateway._request_bytes:
            raise self._too_large()

    def _too_large(self) -> Problem:
        return Problem(413, f"The body may have at most {self._gateway._request_bytes} bytes.")

    async def _refuse(self, problem: Problem) -> None:
        if self._status:
            # The head is sent already: an incomplete body is what tells the client.
            raise ConnectionAbortedError(problem.detail)
        body = problem_body(problem.status, problem.detail)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        for name, value in (problem.headers or {}).items():
            headers.append((name.lower().encode(), value.encode()))
        await self.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _fail(self) -> None:
        log.exception("unexpected error")
        await self._refuse(Problem(500, "Something went wrong here; the request id finds it."))

    def _record(self, milliseconds: float) -> None:
        gateway, status = self._gateway, self._status or 500
        milliseconds = round(milliseconds, 3)
        metrics = gateway._metrics
        metrics.observe("RequestLatency", milliseconds)
        if status >= 400:
            metrics.count("ServerErrors" if status >= 500 else "ClientErrors")
        line = {
            "time": datetime.now(UTC),
            "level": "info",
            "logger": "access",
            "message": "request",
            "request_id": self._request_id,
            "method": self._scope["method"],
            "path": self._scope["path"],
            "status": status,
            "duration_ms": milliseconds,
        }
        for key, name in (
            ("forwarded_for", b"x-forwarded-for"),
            ("trace_id", b"x-amzn-trace-id"),
            ("user_agent", b"user-agent"),
        ):
            if value := self._headers.get(name):
                line[key] = value[:512].decode("latin-1")
        gateway._access_log.write(line)
