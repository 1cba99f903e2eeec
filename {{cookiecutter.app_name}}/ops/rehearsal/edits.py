"""Edits of project.yaml by its text, as a person makes them."""

from __future__ import annotations

import re
from pathlib import Path


def change(file: Path, environment: str, zones: int) -> list[str]:
    """Change a setting of each layer; returns what was changed, in words.

    `zones` is the number of zones of the environment's network, which limits that of its endpoints. Raises
    ValueError where the file has no such environment.
    """
    text = file.read_text(encoding="utf-8")
    start = re.search(rf"(?m)^  {re.escape(environment)}:\n", text)
    if start is None:
        raise ValueError(f"project.yaml has no environment {environment}")
    changed = []
    for setting, most in (("endpoint_zones", zones), ("max_capacity", None), ("max_tasks", None)):
        match = re.compile(rf"(?m)^(      {setting}: )(\d+)").search(text, start.end())
        if match:
            value = str(int(match[2]) + (-1 if int(match[2]) == most else 1))
            text = text[: match.start(2)] + value + text[match.end(2) :]
            changed.append(f"{setting} {match[2]} → {value}")
    file.write_text(text, encoding="utf-8")
    return changed


def unprotect(file: Path, environment: str) -> None:
    """Set `protected: false` for an environment."""
    text = file.read_text(encoding="utf-8")
    pattern = rf"(?ms)^(  {re.escape(environment)}:\n.*?^    protected: )true"
    file.write_text(re.sub(pattern, r"\1false", text, count=1), encoding="utf-8")
