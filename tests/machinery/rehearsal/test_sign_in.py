"""Signing in as GitHub's jobs do."""

from __future__ import annotations

from pathlib import Path

import pytest
from ops.rehearsal import sign_in

from tests.machinery import ROOT

ACTION = "inputs:\n  role: {}\n  session-seconds: {default: '900'}\nruns: {using: composite, steps: []}\n"


def render(folder: Path, action: str, workflow: str) -> Path:
    (folder / ".github/actions/setup").mkdir(parents=True)
    (folder / ".github/workflows").mkdir()
    (folder / ".github/actions/setup/action.yml").write_text(action)
    (folder / ".github/workflows/deploy.yml").write_text(workflow)
    return folder


def job(**given: str) -> str:
    inputs = "".join(f"          {name}: {value}\n" for name, value in given.items())
    return f"jobs:\n  one:\n    steps:\n      - uses: ./.github/actions/setup\n        with:\n{inputs}"


def test_sessions_are_as_long_as_the_workflows_ask_for(tmp_path: Path) -> None:
    root = render(tmp_path, ACTION, job(role="apply", **{"session-seconds": "'7200'"}))
    assert sign_in.session_seconds(root, "apply") == 7200
    assert sign_in.session_seconds(root, "plan") == 900


def test_without_a_word_of_the_workflows_it_is_the_actions_own(tmp_path: Path) -> None:
    root = render(tmp_path, "inputs:\n  role: {}\n", job(role="apply"))
    assert sign_in.session_seconds(root, "apply") == sign_in.DEFAULT_SECONDS


def test_a_form_that_is_not_read_is_said(tmp_path: Path) -> None:
    root = render(tmp_path, ACTION, job(role="apply", **{"session-seconds": "${{ inputs.seconds }}"}))
    with pytest.raises(ValueError, match="write a number"):
        sign_in.session_seconds(root, "apply")


def test_the_workflows_of_a_render_are_read() -> None:
    assert all(sign_in.session_seconds(ROOT, role) >= 900 for role in ("plan", "build", "apply"))
