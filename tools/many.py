"""Many renders by Cookiecutter in one process: each text is compiled once, and hooks start no interpreter.

Cookiecutter compiles every file, name and hook for every render, and starts Python twice for the hooks: that is most of
what a render takes. Here compiled texts are kept, a hook runs in a fork of this process, with all that Cookiecutter has
imported, and folders that are copied as they are can be linked instead.
"""

from __future__ import annotations

import functools
import json
import os
import runpy
import shutil
import sys
import traceback
import types
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cookiecutter import generate, hooks, utils
from cookiecutter.exceptions import CookiecutterException, FailedHookException
from cookiecutter.main import cookiecutter

_in_its_own_interpreter = hooks.run_script
_LINKING = types.SimpleNamespace(
    **{**vars(shutil), "copytree": functools.partial(shutil.copytree, copy_function=os.link)}
)
_Environment: Any = utils.StrictEnvironment
# What was compiled of each template, by text and name: Jinja's settings are the same in all its renders.
_compiled: defaultdict[Path, dict[tuple[str, str | None], Any]] = defaultdict(dict)


def render(root: Path, out: Path, options: Mapping[str, str], *, linked: bool) -> str:
    """Render one option set of a template into a folder.

    Args:
        root: the template. Answers to questions that it does not have are left out.
        out: the folder.
        options: the answers that are not the defaults.
        linked: what is copied as it is gets another name and no content of its own; who writes to it writes to the
            template.

    Returns:
        The path of the render, or `refused:` and the reason.

    """
    asked = json.loads((root / "cookiecutter.json").read_text(encoding="utf-8"))
    known = {name: value for name, value in options.items() if name in asked}
    utils.StrictEnvironment = functools.partial(_Compiled, _compiled[root])
    hooks.run_script = _in_a_fork
    generate.shutil = _LINKING if linked else shutil
    try:
        return str(cookiecutter(str(root), no_input=True, extra_context=known, output_dir=str(out)))
    except CookiecutterException as error:
        return f"refused: {error}"
    finally:
        utils.StrictEnvironment, hooks.run_script, generate.shutil = _Environment, _in_its_own_interpreter, shutil


class _Compiled(_Environment):  # type: ignore[misc] # Cookiecutter has no types
    """Cookiecutter's environment, which keeps what it has compiled."""

    def __init__(self, known: dict[tuple[str, str | None], Any], **settings: Any) -> None:
        super().__init__(**settings)
        self._known = known

    def compile(self, source: str, name: str | None = None, *given: Any, **named: Any) -> Any:
        """As Jinja does, once for each text."""
        key = (source, name)
        if key not in self._known:
            self._known[key] = super().compile(source, name, *given, **named)
        return self._known[key]


def _in_a_fork(script: str, cwd: Path | str = ".") -> None:
    """Run a hook as Cookiecutter does. FailedHookException when it fails."""
    if not script.endswith(".py"):
        _in_its_own_interpreter(script, cwd)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        os._exit(_main(script, cwd))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise FailedHookException(f"Hook script failed (exit status: {status})")


def _main(script: str, cwd: Path | str) -> int:
    """Run a program as `python program` does in a folder; its exit status."""
    try:
        os.chdir(cwd)
        sys.argv, sys.path[:0] = [script], [str(Path(script).parent)]
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - whatever a template's hook does
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status
