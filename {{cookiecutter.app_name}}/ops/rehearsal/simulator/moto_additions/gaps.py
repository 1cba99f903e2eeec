"""How an addition to moto is written down: which resource needs it and what moto does without it.

Each addition is a function marked with `@gap`, so that the list in the report is the list in the code.
Delete an addition when moto no longer needs it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Gap:
    """A Terraform resource (or a call) and what moto lacks for it."""

    resource: str
    lack: str


GAPS: list[Gap] = []


def gap(resource: str, lack: str) -> Callable[[Function], Function]:
    """Record that the decorated function closes a gap."""

    def record(function: Function) -> Function:
        GAPS.append(Gap(resource, lack))
        return function

    return record


def wraps(owner: type, name: str) -> Callable[[Function], Function]:
    """Put the decorated function around a method: it gets the original and the method's arguments."""

    def install(function: Function) -> Function:
        original = getattr(owner, name)
        setattr(owner, name, lambda *args, **kwargs: function(original, *args, **kwargs))
        return function

    return install


def adds(owner: type) -> Callable[[Function], Function]:
    """Make the decorated function a method of a class that has none of this name, or another one."""

    def install(function: Function) -> Function:
        setattr(owner, function.__name__, function)
        return function

    return install
