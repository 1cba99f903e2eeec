"""A `gh` on the PATH that answers from a file, refuses as GitHub does, and writes down what it was asked."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

GH = f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path(os.environ["GH_FAKE"])
arguments = sys.argv[1:]
method = arguments[arguments.index("--method") + 1] if "--method" in arguments else "GET"
body = json.loads(sys.stdin.read()) if "--input" in arguments else None
with (here / "calls").open("a") as file:
    file.write(json.dumps([method, arguments[1], body, arguments]) + "\\n")
answers = json.loads((here / "answers").read_text()) if (here / "answers").exists() else {{}}
if arguments[0] == "attestation":
    digest = arguments[2].rsplit("@", 1)[1]
    login = json.loads((pathlib.Path(os.environ["DOCKER_CONFIG"]) / "config.json").read_text())
    assert arguments[2].removeprefix("oci://").split("/")[0] in login["auths"]
    sys.exit(0 if digest in answers.get("attested", []) else f"no attestations found for {{digest}}")
if arguments[0] != "api":
    sys.exit(0)
answer = answers.get(f"{{method}} {{arguments[1]}}", answers.get(arguments[1]) if method == "GET" else {{}})
if answer is None:
    answer = {{"refuse": 404, "says": "Not Found"}}
if isinstance(answer, dict) and "refuse" in answer:
    taken = body is not None and not (answer.get("with") is None or answer["with"] in json.dumps(body))
    if not taken:
        sys.exit(f"gh: {{answer['says']}} (HTTP {{answer['refuse']}})")
    answer = {{}}
printed = json.dumps([answer] if "--slurp" in arguments else answer)
# https://cli.github.com/manual/gh_help_environment
coloured = os.environ.get("CLICOLOR_FORCE", "0") not in ("", "0") or os.environ.get("GH_FORCE_TTY")
print(f"\\033[1;38m{{printed}}\\033[m" if coloured else printed)
"""


class GitHub:
    """The `gh` of the tests: what it answers, and what it was asked to change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers: dict[str, Any] = {}

    def answer(self, path: str, value: Any) -> None:
        """Answer GET of `path`, or what `METHOD path` says, with a value."""
        self.answers[path] = value
        (self.folder / "answers").write_text(json.dumps(self.answers))

    def refuse(self, call: str, status: int, says: str, *, where: str | None = None) -> None:
        """Refuse a call (where its body holds `where`) with a status of HTTP."""
        self.answer(call, {"refuse": status, "says": says, "with": where})

    @property
    def calls(self) -> list[list[Any]]:
        """[method, path, body] of every call."""
        return [json.loads(line)[:3] for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def words(self) -> list[list[str]]:
        """What every call was typed as."""
        return [json.loads(line)[3] for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def changes(self) -> list[list[Any]]:
        """Those that change something."""
        return [call for call in self.calls if call[0] != "GET"]


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Put it on the PATH."""
    folder = tmp_path / "gh"
    folder.mkdir()
    program = folder / "gh"
    program.write_text(GH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GH_FAKE", str(folder))
    (folder / "calls").touch()
    return GitHub(folder)
