"""A rehearsal that is left running (KEEP=1), and repeating a part of it after an edit (ONLY=…)."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops.rehearsal import machine, report, steps, use
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.progress import Progress
from ops.terraform import LAYERS

PARTS = (*(layer.name for layer in LAYERS), "proofs")


def _note(render: Path) -> Path:
    return render / "ops" / "rehearsal" / "report" / "kept.json"


def find(render: Path) -> Mapping[str, Any] | None:
    """Return where the kept rehearsal of this repository is, or None when none runs."""
    try:
        note: dict[str, Any] = json.loads(_note(render).read_text(encoding="utf-8"))
        os.kill(note["process"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return note if Path(note["directory"]).is_dir() else None


def wait(rehearsal: Rehearsal, progress: Progress) -> None:
    """Say how to play with it, and wait for Ctrl-C."""
    note = _note(rehearsal.render)
    note.parent.mkdir(parents=True, exist_ok=True)
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
        f"After an edit: make rehearse ONLY={'|'.join(layer.name for layer in rehearsal.layers())}|proofs\n"
        "Ctrl-C ends it and removes everything."
    )
    try:
        while True:
            time.sleep(3600)
    finally:
        note.unlink(missing_ok=True)


def repeat(note: Mapping[str, Any], render: Path, only: str, progress: Progress) -> int:
    """Bring the edited files into a kept rehearsal, apply one layer there and prove again."""
    if only not in PARTS:
        raise machine.UnusableError(f"ONLY={only}: one of {', '.join(PARTS)}")
    rehearsal = Rehearsal(render, str(note["environment"]), progress)
    rehearsal.attach(Path(note["directory"]), str(note["endpoint"]), note["variables"])
    worked = False
    try:
        with progress.step("copy what was edited"):
            # What was deleted must be gone in the copy as well.
            shutil.rmtree(rehearsal.copy / "infra")
            machine.copy_render(render, rehearsal.copy)
        steps.again(rehearsal, only)
        worked = True
    except (FailedError, ClientError) as error:
        rehearsal.findings.error = str(error)
    finally:
        progress.close()
        rehearsal.detach()
        steps.compare_privileges(rehearsal)
        report.write(rehearsal, progress, worked=worked)
    return 0 if worked else 1
