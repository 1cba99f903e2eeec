"""What a client is told when a request fails: problem+json (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.telemetry import request_id

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """Ends a request with an error that the client can read.

    `detail` is shown to the client: no secret, no internal name.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class ProblemDetails(msgspec.Struct, rename={"kind": "type"}):
    """The body of every error answer."""

    status: int
    title: str
    detail: str
    request_id: str
    kind: str = "about:blank"


def problem_body(status: int, detail: str) -> bytes:
    """Return the body of an error answer."""
    title = HTTPStatus(status).phrase
    return msgspec.json.encode(ProblemDetails(status, title, detail, request_id.get()))


def problem_response(problem: Problem) -> Response:
    """Return the error answer for a problem."""
    return Response(
        problem_body(problem.status, problem.detail),
        problem.status,
        problem.headers,
        media_type=MEDIA_TYPE,
    )


DETAILS = {
    404: "Nothing is here: check the path.",
    405: "This path does not answer this method; the Allow header lists those it does.",
}


async def on_problem(_request: Request, error: Exception) -> Response:
    """Answer a Problem that a handler raised."""
    assert isinstance(error, Problem)  # noqa: S101 - registered for this type alone
    return problem_response(error)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Answer what Starlette itself refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    detail = DETAILS.get(error.status_code, error.detail)
    return problem_response(Problem(error.status_code, detail, error.headers))
