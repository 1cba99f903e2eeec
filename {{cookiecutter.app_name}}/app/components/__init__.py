"""What this service consists of.

Each module here has a class `Component(Base)` and is part of the service by being here: remove the
module and the part is gone, add one and it is there. Components are made, and started, in the
alphabetical order of their modules, and stopped in reverse.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Protocol

from app.api import Operation
from app.settings import Environment, Settings
from app.telemetry import Metrics


class NotReady(Exception):  # noqa: N818 - a state, said in words
    """The component can not do its work now; the message says why, without secrets."""


class Base:
    """A part of the service. Override what it needs.

    The constructor reads the environment and connects to nothing: problems with variables of all
    components are reported together.
    """

    operations: Sequence[Operation] = ()

    def __init__(self, env: Environment, settings: Settings, metrics: Metrics) -> None:
        """Read what the component needs from the environment."""

    async def start(self) -> None:
        """Begin work that runs beside requests. Must not wait for another system."""

    async def stop(self) -> None:
        """End that work. No request is running any more."""

    async def ready(self) -> str | None:
        """Say in words how it is; None when there is nothing to say.

        Raises NotReady.
        """
        return None


class _Module(Protocol):
    Component: type[Base]


def discover() -> dict[str, type[Base]]:
    """Return the component classes by the names of their modules."""
    found: dict[str, type[Base]] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        loaded: _Module = importlib.import_module(f"{__name__}.{module.name}")
        found[module.name] = loaded.Component
    return found
