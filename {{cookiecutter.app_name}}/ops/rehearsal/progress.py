"""Shows what a rehearsal does while it does it, and remembers it for the report's timeline."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TextIO

State = Literal["running", "done", "failed", "skipped"]

# A line of the operator commands: `[network]   18/36 create aws_route_table.private (0s)`.
PART = re.compile(r"^\[([a-z -]+)\]\s+(.*)$")
COLORS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Bar:
    """A bar of the timeline, in seconds since the beginning."""

    name: str
    started: float
    ended: float | None = None
    state: State = "running"
    detail: str = ""
    parts: dict[str, Bar] = field(default_factory=dict)


class Progress:
    """One line for each step on any output; on a terminal also a last line that is alive."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.started = time.monotonic()
        self.bars: list[Bar] = []
        self.calls = 0
        self.live = out.isatty()
        self._last = ""
        self._lock = threading.RLock()
        self._stop = threading.Event()
        if self.live:
            threading.Thread(target=self._tick, daemon=True).start()

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.started

    @contextmanager
    def step(self, name: str) -> Iterator[Bar]:
        """Show a step while it runs; a step that raises has failed."""
        bar = Bar(name, self.elapsed)
        with self._lock:
            self.bars.append(bar)
        self.say(f"{clock(self.elapsed)}  {name} …")
        try:
            yield bar
        except BaseException:
            self._end(bar, "failed", "✗")
            raise
        self._end(bar, "done", "✓")

    def _end(self, bar: Bar, state: State, sign: str) -> None:
        bar.ended, bar.state = self.elapsed, state
        for part in bar.parts.values():
            if part.ended is None:
                part.ended, part.state = self.elapsed, state
        detail = f": {bar.detail}" if bar.detail else ""
        seconds = bar.ended - bar.started
        self.say(f"{clock(self.elapsed)}  {sign} {bar.name}{detail} ({seconds:.0f} s)")

    def line(self, bar: Bar, text: str) -> None:
        """Take a line that a command printed in a step."""
        text = COLORS.sub("", text).rstrip()
        match = PART.match(text)
        if match is None:
            return
        name, words = match[1], match[2]
        part = bar.parts.setdefault(name, Bar(name, self.elapsed))
        part.detail = words
        if words[:1] in "✓✗":
            part.ended = self.elapsed
            part.state = "done" if words[0] == "✓" else "failed"
            self.say(f"{clock(self.elapsed)}    [{name}] {words}")
        else:
            part.ended, part.state = None, "running"

    def say(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._erase()
            self.out.write(text + "\n")
            self.out.flush()

    def close(self) -> None:
        """Print nothing that is alive from now on."""
        self._stop.set()
        with self._lock:
            self._erase()

    def _erase(self) -> None:
        if self._last:
            self.out.write("\r\x1b[2K")
            self._last = ""

    def _tick(self) -> None:
        spinner = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
        turn = 0
        while not self._stop.wait(0.2):
            running = [bar for bar in self.bars if bar.state == "running"]
            if not running:
                continue
            parts = [
                f"{part.name}: {part.detail}"
                for bar in running
                for part in bar.parts.values()
                if part.state == "running"
            ]
            text = " · ".join(
                [
                    f"{spinner[turn % len(spinner)]} {clock(self.elapsed)}",
                    running[-1].name,
                    f"{self.calls} AWS calls",
                    *parts,
                ]
            )
            turn += 1
            with self._lock:
                self._erase()
                self._last = text[: _width() - 1]
                self.out.write(self._last)
                self.out.flush()


def clock(seconds: float) -> str:
    """Return minutes and seconds: `3:07`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns
