"""Feature flags from a file that can be edited while the service runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.laptop.dev import ROOT


@contextlib.contextmanager
def provide(directory: Path | None, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the path of a copy of app/flags.json; a copy that is there already is kept."""
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            sys.stderr.write(f"Feature flags: edit {os.path.relpath(directory / 'flags.json')}\n")
        file = directory / "flags.json"
        if not file.exists():
            shutil.copyfile(ROOT / "app" / "flags.json", file)
        yield {"FLAGS_FILE": str(file)}
