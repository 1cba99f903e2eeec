"""A rehearsal that is left running (KEEP=1), and repeating after an edit what it concerns (AGAIN=1), or one part (ONLY=…)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops.rehearsal import courses, machine, report, steps, use
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.progress import Progress
from ops.terraform import LAYERS

PARTS = (*(layer.name for layer in LAYERS), "proofs")


def _note(render: Path) -> Path:
    return render / "ops" / "rehearsal" / "report" / "kept.json"


def find(render: Path, *, needed: bool = False) -> Mapping[str, Any] | None:
    """Return where the kept rehearsal of this repository is, or None when none runs.

    Raises UnusableError when it is needed and none runs.
    """
    with contextlib.suppress(OSError, ValueError, KeyError):
        note: dict[str, Any] = json.loads(_note(render).read_text(encoding="utf-8"))
        os.kill(note["process"], 0)
        if Path(note["directory"]).is_dir():
            return note
    if needed:
        raise machine.UnusableError(
            "No rehearsal is kept: make rehearse KEEP=1 in another terminal, then AGAIN=1 here."
        )
    return None


def wait(rehearsal: Rehearsal, progress: Progress) -> None:
    """Say how to play with it, and wait for Ctrl-C."""
    note = _note(rehearsal.render)
    note.parent.mkdir(parents=True, exist_ok=True)
    _remember(rehearsal)
    note.write_text(
        json.dumps(
            {
                "process": os.getpid(),
                "directory": str(rehearsal.directory.path),
                "endpoint": rehearsal.endpoint,
                "environment": rehearsal.environment,
                "variables": {
                    name: value
                    for name, value in rehearsal.variables.items()
                    if name.startswith(("AWS_", "TF_", "HTTP_PROXY", "NO_PROXY"))
                },
            }
        ),
        encoding="utf-8",
    )
    port = use.service_port(rehearsal)
    shown = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    exports = " ".join(f"{name}={rehearsal.variables[name]}" for name in shown)
    progress.say(
        f"\nThe service:   http://127.0.0.1:{port}/health\n"
        f"The AWS API:   export {exports}\n"
        f"The copy:      {rehearsal.copy}\n"
        "After an edit: make rehearse AGAIN=1, in another terminal; a part alone: "
        f"ONLY={'|'.join(layer.name for layer in rehearsal.layers())}|proofs\n"
        "Ctrl-C ends it and removes everything."
    )
    try:
        while True:
            time.sleep(3600)
    finally:
        note.unlink(missing_ok=True)


def repeat(note: Mapping[str, Any], render: Path, only: str | None, progress: Progress) -> int:
    """Bring the edited files into a kept rehearsal and repeat there one part, or without `only` what they concern.

    Returns the exit code. What failed counts as edited until it worked.
    """
    rehearsal = Rehearsal(render, str(note["environment"]), progress)
    rehearsal.attach(Path(note["directory"]), str(note["endpoint"]), note["variables"])
    worked = False
    try:
        with progress.step("copy what was edited") as bar:
            edited = _edited(rehearsal)
            for path in edited:
                (rehearsal.copy / path).unlink(missing_ok=True)  # what was deleted is gone in the copy as well
            machine.copy_render(render, rehearsal.copy)
            bar.detail = f"{len(edited)} files" if len(edited) != 1 else edited[0]
        if only is None:
            courses.after(rehearsal, edited)
        else:
            courses.again(rehearsal, only)
        worked = True
        _remember(rehearsal)
    except (FailedError, ClientError) as error:
        rehearsal.findings.error = str(error)
    finally:
        progress.close()
        rehearsal.detach()
        steps.compare_privileges(rehearsal)
        report.write(rehearsal, progress, worked=worked)
    return 0 if worked else 1


def _rehearsed(rehearsal: Rehearsal) -> Path:
    return rehearsal.directory.path / "rehearsed.json"


def _remember(rehearsal: Rehearsal) -> None:
    """Keep what the repository's files were when all of them had been rehearsed."""
    _rehearsed(rehearsal).write_text(json.dumps(machine.digests(rehearsal.render)), encoding="utf-8")


def _edited(rehearsal: Rehearsal) -> list[str]:
    """Return the paths of files that are not what they were then, deleted ones too."""
    before = json.loads(_rehearsed(rehearsal).read_text(encoding="utf-8"))
    now = machine.digests(rehearsal.render)
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
