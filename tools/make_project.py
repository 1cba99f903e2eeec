"""Makes a project from the template: what `make project` runs.

ARGS and OUTPUT come through the environment (PROJECT_ANSWERS, PROJECT_FOLDER), so that neither make nor a
shell expands what is in them; PROJECT_VARIABLES has the names of all that make was given. Answers in ARGS are
checked before anything is written, and stay as typed: a `{{` in one is text, not Jinja. On a terminal the other
answers are asked for, each until it is a right one; otherwise they are the defaults.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hooks import pre_gen_project as rules
from tools import record, template

DEFAULT_OUTPUT = "projects"


def parse(arguments: str) -> dict[str, str]:
    """Answers from `name=value name='value with spaces'`.

    ValueError with one line for each word that is not an answer to a question of the template.
    """
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise ValueError(f"ARGS: {arguments!r} — {error} — for example \"description='Takes orders'\"") from error
    known = tuple(template.questions())
    answers: dict[str, str] = {}
    wrong = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            wrong.append(f"ARGS: {word!r} — name=value, quoted when it has spaces — for example {known[0]}=shop")
        elif name not in known:
            nearest = rules.nearest(name, known)
            wrong.append(f"{name}: no such question — did you mean {nearest}? — all of them: {', '.join(known)}")
        elif name in answers:
            wrong.append(f"{name}: answered twice")
        answers[name] = value
    wrong += filter(None, (rules.problem(name, value) for name, value in answers.items() if name in known))
    if wrong:
        raise ValueError(rules.report(wrong))
    return answers


def require_answers_in_args() -> None:
    """Exit with 1 where an answer is a variable of make's own, as in `make project app_name=shop`: nobody reads it."""
    typed = os.environ.get("PROJECT_VARIABLES", "").split()
    if outside := [name for name in template.questions() if name in typed]:
        sys.exit(f'{", ".join(outside)}: answers stand in ARGS — for example make project ARGS="{outside[0]}=…"')


def literal(value: str) -> str:
    """A Jinja expression for exactly this text: cookiecutter renders every answer that it is given."""
    return '{{ "' + "".join(f"\\U{ord(character):08x}" for character in value) + '" }}'


def ask_until_right(ask: Callable[..., Any]) -> Callable[..., Any]:
    """Cookiecutter's question, repeated until the hook would take the answer."""

    def asked(name: str, *details: Any, **named_details: Any) -> Any:
        while True:
            answer = ask(name, *details, **named_details)
            wrong = rules.problem(name, answer)
            if wrong is None:
                return answer
            sys.stderr.write(f"  {wrong}\n")

    return asked


def output_folder(given: str) -> Path:
    """Where to make the project. ValueError in words when Cookiecutter could not take it."""
    output = Path(given or template.ROOT / DEFAULT_OUTPUT).expanduser()
    if any(mark in str(output.absolute()) for mark in ("{{", "{%", "{#")):
        raise ValueError(
            f"OUTPUT: {output} — Cookiecutter takes {{{{, {{% and {{# in it for Jinja — use another folder"
        )
    return output


def require_own_defaults() -> None:
    """Exit with 1 where Cookiecutter could not take a person's own file of defaults.

    Names with an underscore in front are the template's own, which nobody is asked for.
    """
    from cookiecutter.config import USER_CONFIG_PATH, get_user_config
    from cookiecutter.exceptions import CookiecutterException

    file = os.environ.get("COOKIECUTTER_CONFIG") or USER_CONFIG_PATH
    try:
        defaults = get_user_config()["default_context"] or {}
    except OSError as error:
        sys.exit(f"\n{file} — {error.strerror} — Cookiecutter reads your own defaults there: correct or remove it")
    except UnicodeDecodeError as error:
        sys.exit(f"\n{file} — {error} — Cookiecutter reads your own defaults there: correct or remove it")
    except CookiecutterException as error:
        sys.exit(f"\n{error}")
    if not isinstance(defaults, dict):
        sys.exit(f"\n{file} — default_context: {defaults!r} — answers by their names — for example owner: team-x")
    if private := [name for name in defaults if str(name).startswith("_")]:
        sys.exit(f"\n{file} — default_context: {', '.join(private)} — what begins with _ is no question — remove it")


def explained(error: OSError, output: Path) -> str:
    """The line for a person when the system refuses a file: whose it is, and what to do."""
    told = error.__cause__ if error.filename is None and isinstance(error.__cause__, OSError) else error
    reason = told.strerror or str(told)
    if told.filename is None:  # no folder for temporary files can be written to, or the reason is all there is
        return f"{reason} — TMPDIR names a folder that can be written to"
    path = Path(told.filename).absolute()
    output = output.absolute()
    if path == output or output in path.parents or path in output.parents:
        return f"OUTPUT: {path} — {reason} — choose a folder that can be written to"
    if Path.home() in (path, *path.parents):
        return f"HOME: {path} — {reason} — Cookiecutter keeps the answers there; give it a HOME that can be written to"
    if Path(tempfile.gettempdir()) in (path, *path.parents):
        return f"TMPDIR: {path} — {reason} — name a folder that can be written to"
    return f"{path} — {reason}"


def main() -> None:
    """Render into OUTPUT. Exit with 1 and words when an answer or the folder is not right."""
    require_answers_in_args()
    try:
        output = output_folder(os.environ.get("PROJECT_FOLDER", ""))
        answers = parse(os.environ.get("PROJECT_ANSWERS", ""))
    except (ValueError, RuntimeError) as error:  # RuntimeError: ~somebody without a home
        sys.exit(str(error))
    # Imported late: wrong answers are said at once.
    from cookiecutter import prompt
    from cookiecutter.exceptions import CookiecutterException, FailedHookException, OutputDirExistsException
    from cookiecutter.main import cookiecutter

    require_own_defaults()
    # Choices must stay as they are: cookiecutter compares them with its list.
    given = {name: value if name in rules.CHOICES else literal(value) for name, value in answers.items()}
    logging.getLogger("cookiecutter").addHandler(logging.NullHandler())  # no traceback below the hook's words
    prompt.read_user_variable = ask_until_right(prompt.read_user_variable)
    try:
        made = cookiecutter(
            str(template.ROOT), no_input=not sys.stdin.isatty(), extra_context=given, output_dir=str(output)
        )
    except FailedHookException:
        sys.exit(1)  # the hook has said why
    except OutputDirExistsException as error:
        sys.exit(f'\n{error}\nChoose another name (ARGS="app_name=…") or folder (OUTPUT=…).')
    except CookiecutterException as error:
        sys.exit(f"\n{error}")
    except OSError as error:
        sys.exit(f"\n{explained(error, output)}")
    except (KeyboardInterrupt, EOFError):
        sys.exit("\nStopped; nothing was made.")
    if why := record.write(Path(made)):
        sys.stderr.write(f"Updates of the template will not find this repository: {why}.\n")


if __name__ == "__main__":
    main()
