"""What happens around every request: its id, the limit of its body, the access log."""

import logging
import random
import re
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import request_id, write_log
from app.problems import problem

log = logging.getLogger(__name__)

ACCEPTED_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=-]{1,128}")  # What else a caller says does not get into the logs.
LOGGED = (("forwarded_for", b"x-forwarded-for"), ("trace_id", b"x-amzn-trace-id"), ("user_agent", b"user-agent"))


class Requests:
    """Takes or makes the `X-Request-Id`; answers HEAD as GET; refuses a body of more than `limit` bytes; logs.

    Plain ASGI: Starlette's BaseHTTPMiddleware costs as much as a small handler.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; pass on everything else."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        identity = given.decode() if ACCEPTED_REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        request_id.set(identity)  # Each request runs in a task, and so a context, of its own.
        too_large = HTTPException(413, f"The body may have at most {self._limit} bytes.")
        status = received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise too_large
            return message

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] += [(b"x-request-id", identity.encode()), (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            if int(headers.get(b"content-length", 0)) > self._limit:
                return await problem(413, too_large.detail)(scope, receive, marked)
            # (uvicorn leaves out the body of an answer to HEAD.)
            inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await self._app(inner, limited, marked)
        except ClientDisconnect:
            status = status or 499  # No standard status: what access logs say of a client that left.
        except Exception:  # The one place where any error ends.
            log.exception("unexpected error")
            if status:  # The head is sent already: an incomplete answer is what tells the client.
                raise
            await problem(500, "Something went wrong here; the request id finds it.")(scope, receive, marked)
        finally:
            line: dict[str, Any] = {"method": scope["method"], "path": scope["path"], "status": status or 500}
            line["duration_ms"] = round((time.perf_counter() - started) * 1000, 3)
            line |= {key: headers[name][:512].decode("latin-1") for key, name in LOGGED if name in headers}
            write_log("info", "access", "request", **line)
