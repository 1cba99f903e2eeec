"""What a person sees: lines that say which step they are of, aligned tables, and questions."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import click

from ops.errors import WrongUse


def say(text: str = "") -> None:
    """Print a line."""
    click.echo(text)


def warn(text: str) -> None:
    """Print a warning to standard error."""
    click.echo(click.style("warning: ", fg="yellow") + text, err=True)


def duration(seconds: float) -> str:
    """`75.2` as `1m15s`."""
    whole = round(seconds)
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def table(rows: Iterable[Sequence[str]], *, indent: int = 2) -> str:
    """Rows as aligned columns; the last column is not padded."""
    listed = [list(row) for row in rows]
    if not listed:
        return ""
    widths = [max(len(row[column]) for row in listed) for column in range(len(listed[0]) - 1)] + [0]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in listed)
    return "\n".join(" " * indent + line.rstrip() for line in lines)


@dataclass
class Step:
    """A step that tells what it does: `[network]  text`, a line at a time, also beside other steps."""

    name: str
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print lines of this step."""
        prefix = f"[{self.name}]".ljust(20)
        click.echo("\n".join(prefix + line for line in text.splitlines()))

    def done(self, text: str = "done") -> None:
        """Say the result, with the elapsed time."""
        self.say(f"{click.style('✓', fg='green')} {text} ({duration(time.monotonic() - self.started)})")

    def failed(self, text: str = "failed") -> None:
        """Say that it stopped, with the elapsed time."""
        self.say(f"{click.style('✗', fg='red')} {text} ({duration(time.monotonic() - self.started)})")


def confirm(question: str, *, yes: bool) -> None:
    """Ask y/n. Raises WrongUse when the answer is no, or when nobody is there to answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUse(f"{question} Nobody is there to answer.", next_step="Repeat with YES=1 (--yes).")
    if not click.confirm(question, default=False):
        raise WrongUse("Nothing was changed.")


def confirm_name(question: str, name: str, *, given: str | None) -> None:
    """Let a person type `name` before something is deleted for good. `given` answers in scripts."""
    if given is None:
        if not sys.stdin.isatty():
            raise WrongUse(
                f"{question}\nNobody is there to answer.",
                next_step=f"Repeat with CONFIRM={name} (--confirm {name}).",
            )
        given = click.prompt(f"{question}\nType {name} to go on", default="", show_default=False)
    if given != name:
        raise WrongUse(f"{given!r} is not {name!r}: nothing was changed.")
