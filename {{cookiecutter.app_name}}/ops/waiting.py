"""Waiting until something is so: the one loop for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ops import interruption

T = TypeVar("T")
FIRST_PAUSE = 0.25  # seconds; each is twice as long as the one before it


def until(look: Callable[[], T | None], seconds: float, *, every: float) -> T | None:
    """Look at least once, then again and again, until there is something true.

    Args:
        look: gives what is waited for, or something false; what it raises ends the waiting.
        seconds: for how long.
        every: pause between two looks, in seconds. The first are shorter: what is soon there is soon seen.

    Returns:
        What `look` found, or None when the time is over. Raises KeyboardInterrupt in every thread that waits when the
        main one was interrupted.

    """
    deadline = time.monotonic() + seconds
    pause = min(FIRST_PAUSE, every)
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            return None
        interruption.pause(pause)
        pause = min(2 * pause, every)
