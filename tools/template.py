"""Where the template's parts are, and its questions as cookiecutter.json states them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RENDERED_ROOT = ROOT / "{{cookiecutter.app_name}}"


def context() -> dict[str, Any]:
    """The whole of cookiecutter.json."""
    loaded: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    return loaded


def questions() -> dict[str, str | list[str]]:
    """What a person is asked, in order: the default, or the choices with the default first."""
    return {name: default for name, default in context().items() if not name.startswith("_")}


def labels() -> dict[str, dict[str, str]]:
    """The words for each question (`__prompt__`) and for each of its choices."""
    prompts = context()["__prompts__"]
    return {name: prompt if isinstance(prompt, dict) else {"__prompt__": prompt} for name, prompt in prompts.items()}
