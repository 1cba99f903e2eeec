"""The secrets that the service has on this laptop: a git-ignored file of NAME=value lines, for its owner's eyes only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = ".secrets.env"


class NotUsableError(Exception):
    """The file, or something else that the service has on this laptop, can't be used; the message says why."""


def values(names: Iterable[str], root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """Return the value of each name: this shell's own, else the file's, which is made where it is not there.

    Raises NotUsableError where others may read the file, or it lacks a value.
    """
    wanted = [name for name in names if not shell.get(name)]
    found = {name: shell[name] for name in names if shell.get(name)}
    if not wanted:
        return found
    file = root / FILE
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as new:
            new.write(
                "# Secrets of `make dev`, as NAME=value. Git does not see this file, and nobody else may read it.\n"
            )
            new.writelines(f"{name}=\n" for name in wanted)
    if file.stat().st_mode & 0o077:
        raise NotUsableError(f"Others may read {FILE}: chmod 600 {FILE}")
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    written = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    if lacking := [name for name in wanted if not written.get(name)]:
        raise NotUsableError(f"{FILE} has no value of {', '.join(lacking)}: write NAME=value lines into it.")
    return found | {name: written[name] for name in wanted}


def made_up(names: Iterable[str]) -> dict[str, str]:
    """Return a random value for each name: for tests, which know nobody's secrets."""
    return {name: secrets.token_urlsafe() for name in names}
