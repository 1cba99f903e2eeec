"""What a client is told when a request fails: problem+json (RFC 9457), with no secret and no internal name."""

from collections.abc import Mapping
from http.client import responses
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.logs import request_id

MEDIA_TYPE = "application/problem+json"
MOST = 20  # How much of what is wrong with one request is told.


class Problem(BaseModel):
    """The body of every error answer."""

    type: str = "about:blank"
    status: int
    title: str
    detail: str
    request_id: str


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error answer."""
    body = Problem(status=status, title=responses.get(status, ""), detail=detail, request_id=request_id.get())
    return Response(body.model_dump_json(), status, headers, MEDIA_TYPE)


async def _on_http_exception(_request: Request, error: HTTPException) -> Response:
    detail = "Nothing is here: check the path." if error.detail == "Not Found" else str(error.detail)
    return problem(error.status_code, detail, error.headers)


async def _on_validation_error(request: Request, error: RequestValidationError) -> Response:
    """400 for a body that is no JSON, 415 for one that does not say it is, 422 for what does not fit."""
    errors = error.errors()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and any(found["loc"][0] == "body" for found in errors):
        return problem(415, "The body must be JSON: send it with Content-Type: application/json")
    # One body may be wrong in 100,000 places.
    details = "; ".join(f"{' '.join(map(str, found['loc']))}: {found['msg']}" for found in errors[:MOST])
    details += f"; and {len(errors) - MOST} more" if len(errors) > MOST else ""
    return problem(400 if errors[0]["type"] == "json_invalid" else 422, details)


# What FastAPI is given: who answers errors, and how the answers are described in /openapi.json.
HANDLERS: dict[Any, Any] = {HTTPException: _on_http_exception, RequestValidationError: _on_validation_error}
CONTENT = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
RESPONSES: dict[int | str, dict[str, Any]] = {"default": {"description": "What went wrong", "content": CONTENT}}
