"""Puts the service together: settings, components, routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import components
from app.api import JSON, operation
from app.gateway import Gateway
from app.openapi import describe
from app.problems import Problem, on_http_exception, on_problem
from app.settings import Environment, Settings, read_settings
from app.telemetry import Metrics

log = logging.getLogger(__name__)


class Health(msgspec.Struct):
    """The process is alive."""

    status: str


class Readiness(msgspec.Struct):
    """How each component is, in words."""

    status: str
    components: dict[str, str]


@operation("GET", "/health", "Tell that the process is alive; touches nothing else")
async def health(_request: Request) -> Health:
    """Answer the load balancer and the container's health check."""
    return Health("ok")


@operation("GET", "/ready", "Tell how each component is, by asking what it needs", errors=(503,))
async def ready(request: Request) -> Readiness:
    """Ask every component."""
    parts: dict[str, components.Base] = request.app.state.components

    async def ask(part: components.Base) -> tuple[bool, str | None]:
        try:
            return True, await part.ready()
        except components.NotReady as reason:
            return False, str(reason)

    answers = await asyncio.gather(*[ask(part) for part in parts.values()])
    words = {name: said for name, (_ok, said) in zip(parts, answers, strict=True) if said}
    if not all(ok for ok, _said in answers):
        summary = "; ".join(f"{name}: {said}" for name, said in words.items())
        raise Problem(503, f"Not ready. {summary}", {"Retry-After": "5"})
    return Readiness("ready", words)


def create_app(variables: Mapping[str, str]) -> tuple[Starlette, Settings]:
    """Return the application that the environment variables describe.

    Raises SettingsError, with every problem in it.
    """
    env = Environment(variables)
    settings = read_settings(env)
    metrics = Metrics(settings.app_name, settings.environment, write=settings.metrics)
    parts = {name: component(env, settings, metrics) for name, component in components.discover().items()}
    env.check()

    operations = [health, ready]
    for part in parts.values():
        operations += part.operations
    description = describe(settings.app_name, settings.release, operations)

    async def openapi(_request: Request) -> Response:
        return Response(description, media_type=JSON)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            flushing = asyncio.create_task(metrics.flush_regularly())
            stack.callback(metrics.flush)
            stack.callback(flushing.cancel)
            for part in parts.values():
                await part.start()
                stack.push_async_callback(part.stop)
            log.info("started %s %s", settings.environment, settings.release)
            yield
            log.info("stopping")

    handlers: dict[Any, Any] = {HTTPException: on_http_exception, Problem: on_problem}
    app = Starlette(
        routes=[
            *(operation.route() for operation in operations),
            Route("/openapi.json", openapi),
        ],
        middleware=[
            Middleware(
                Gateway,
                metrics=metrics,
                request_seconds=settings.request_seconds,
                request_bytes=settings.request_bytes,
            )
        ],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.components = parts
    return app, settings
