"""Puts the service together: settings, parts, routes."""

import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import parts, problems, routes
from app.middleware import Requests
from app.settings import Settings

log = logging.getLogger(__name__)


def create_app() -> tuple[FastAPI, Settings]:
    """Return the application that the environment describes. Raises SettingsError."""
    modules = routes.discover()
    used = list(dict.fromkeys(part for module in modules for part in getattr(module, "parts", ())))
    settings, running = parts.configure(used)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with running():
            log.info("started %s %s", settings.environment, settings.release)
            yield

    # FastAPI whose /docs has its files from here: a private subnet reaches no CDN.
    app = FastAPIOffline(
        redoc_url=None,
        title=settings.app_name,
        version=settings.release,
        exception_handlers=problems.HANDLERS,
        responses=problems.RESPONSES,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_middleware(Requests, limit=settings.request_bytes)
    for module in modules:
        app.include_router(module.router)
    app.state.parts = used
    return app, settings
