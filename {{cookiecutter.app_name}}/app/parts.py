"""What has a beginning and an end, such as a pool of connections. It is imported where it is used.

A module of `routes/` names the parts that it uses in `parts`; a worker or a job calls `configure` with its own.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager as Block
from typing import Any, Protocol

from app import logs
from app.settings import FromEnvironment, Settings, read


class Part(Protocol):
    """A part of the service. It works in the block `running`, which is entered without waiting for another system."""

    name: str
    settings: type[FromEnvironment]
    running: Callable[[Any], Block[None]]

    async def ready(self) -> str:
        """Say in words how it is. Raises HTTPException, a 503, when it can not do its work."""


def configure(parts: Sequence[Part]) -> tuple[Settings, Callable[[], Block[None]]]:
    """Read the settings and return the process's own, and a block in which the parts run. Raises SettingsError."""
    settings: Any
    settings, *own = read(Settings, *(part.settings for part in parts))
    logs.configure(settings)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for part, its in zip(parts, own, strict=True):
                await stack.enter_async_context(part.running(its))
            yield

    return settings, running
