"""How an operation is declared: one decorator on a typed function.

    @operation("POST", "/items", "Create an item", status=201)
    async def create(request: Request, body: NewItem) -> Item: ...

The function's annotations are the contract. `body` is the JSON body and `query` the query string,
both msgspec structs; every other parameter is a part of the path. Values are validated before the
function runs, the result is encoded as JSON, and `openapi` describes the same types. Validation
problems are answered with 400 (not JSON), 415 (another media type) or 422 (JSON of another shape).
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.problems import Problem

Handler = Callable[..., Awaitable[Any]]
JSON = "application/json"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Operation:
    """One method of one path, as its function declares it."""

    method: str
    path: str
    summary: str
    status: int
    errors: tuple[int, ...]
    handler: Handler
    body: type | None
    query: type | None
    path_parameters: dict[str, Any]
    result: Any

    def route(self) -> Route:
        """Return the route that validates, calls the handler and encodes."""
        return Route(self.path, _Endpoint(self), methods=[self.method], name=self.handler.__name__)


class _Endpoint:
    """The ASGI application of one operation."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._decode_body: Callable[[bytes], Any] | None = None
        if operation.body is not None:
            self._decode_body = msgspec.json.Decoder(operation.body).decode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        arguments = await self._arguments(request)
        result = await self._operation.handler(request, **arguments)
        if result is None:
            response = Response(status_code=self._operation.status)
        else:
            response = Response(_encode(result), self._operation.status, media_type=JSON)
        await response(scope, receive, send)

    async def _arguments(self, request: Request) -> dict[str, Any]:
        operation = self._operation
        arguments: dict[str, Any] = {}
        where = ""
        try:
            for name, kind in operation.path_parameters.items():
                where = f"path parameter {name}: "
                value = request.path_params[name]
                arguments[name] = msgspec.convert(value, kind, strict=False)
            if operation.query is not None:
                where = "query string: "
                values = dict(request.query_params)
                arguments["query"] = msgspec.convert(values, operation.query, strict=False)
            if self._decode_body is not None:
                where = "body: "
                require_json(request)
                arguments["body"] = self._decode_body(await request.body())
        except msgspec.ValidationError as error:
            raise Problem(422, f"{where}{error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, f"The body is not JSON: {error}") from None
        return arguments


def require_json(request: Request) -> None:
    """Refuse a body that says it is something else than JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise Problem(415, f"The body must be JSON: send it with Content-Type: {JSON}")


def operation(
    method: str, path: str, summary: str, *, status: int = 200, errors: tuple[int, ...] = ()
) -> Callable[[Handler], Operation]:
    """Declare the function as the operation at `method` and `path`.

    `status` is the status of success; `errors` are those that the function itself raises as
    Problem, beside the ones that validation and the gateway answer.
    """

    def declare(handler: Handler) -> Operation:
        hints = typing.get_type_hints(handler, include_extras=True)
        parameters = list(inspect.signature(handler).parameters)[1:]
        return Operation(
            method=method,
            path=path,
            summary=summary,
            status=status,
            errors=errors,
            handler=handler,
            body=hints["body"] if "body" in parameters else None,
            query=hints["query"] if "query" in parameters else None,
            path_parameters={name: hints[name] for name in parameters if name not in ("body", "query")},
            result=hints["return"],
        )

    return declare
