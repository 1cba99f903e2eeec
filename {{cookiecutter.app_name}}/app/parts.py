"""What routes work with and what has a beginning and an end, such as a pool of connections.

A part is made where it is defined and imported where it is used; a module of `routes/` names those it uses in `parts`.
`running` is for a worker or a job what it is for the service.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from app import logs
from app.settings import FromEnvironment, Settings, read


class NotReady(Exception):  # noqa: N818 - a state, said in words
    """The part can not do its work now; the message says why, without secrets."""


class Part(Protocol):
    """A part of the service. `running` does its work in a block, which it enters without waiting for another system."""

    name: str
    settings: type[FromEnvironment]
    running: Callable[[Any, Settings, logs.Metrics], AbstractAsyncContextManager[None]]

    async def ready(self) -> str:
        """Say in words how it is. Raises NotReady."""


def configure(parts: Sequence[Part]) -> tuple[Settings, Callable[[], AbstractAsyncContextManager[None]]]:
    """Read the settings and return those of the process, and what runs the parts. Raises SettingsError."""
    settings: Any
    settings, *own = read(Settings, *(part.settings for part in parts))
    logs.configure(settings)

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        metrics = logs.Metrics(settings)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(metrics.flush)
            for part, its in zip(parts, own, strict=True):
                await stack.enter_async_context(part.running(its, settings, metrics))
            yield

    return settings, running
