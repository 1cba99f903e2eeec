"""Ctrl-C for the threads: Python gives it to the main one alone, so the others ask here while they wait."""

from __future__ import annotations

import threading

_requested = threading.Event()


def request() -> None:
    """Ask all threads to stop at their next pause."""
    _requested.set()


def forget() -> None:
    """Begin anew, for a process that runs more than one command."""
    _requested.clear()


def check() -> None:
    """Raises KeyboardInterrupt where it was asked for: for what must not begin any more."""
    if _requested.is_set():
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Sleep. Raises KeyboardInterrupt as soon as it is asked for, in any thread."""
    if _requested.wait(seconds):
        raise KeyboardInterrupt
