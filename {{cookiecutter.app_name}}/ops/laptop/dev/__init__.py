"""What the service needs around it on a laptop, in place of AWS.

Each module here but `__main__` stands for one thing, and is found by being here: its function
`provide(directory, environment)` is a context manager that yields the environment variables by
which the service finds it. `directory` is where state is kept between runs, None for none.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ops import answers
from ops.laptop import secret_file

ROOT = Path(__file__).parents[3]
# What `make dev` stores is kept here; remove the folder to begin anew.
DATA = ROOT / "ops" / "laptop" / "data"


def inherited() -> dict[str, str]:
    """Return this process's environment without what would lead the service, or its tools, elsewhere.

    A person's AWS_PROFILE or PGSERVICE is about other things than this laptop's stand-ins.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PG"))}


def settings() -> dict[str, Any]:
    """Return what project.yaml says. Raises secret_file.NotUsableError where nothing can run with it.

    infra/config has the rules of each setting; this only looks at what is taken from it here, without Terraform.
    """
    try:
        read = answers.read(ROOT / "project.yaml")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise secret_file.NotUsableError(f"project.yaml can't be read: {error}") from error
    project: dict[str, Any] = read if isinstance(read, dict) else {}
    service, files, workers = (project.get(key) or {} for key in ("service", "files", "workers"))
    variables, secrets = (service.get(key) if isinstance(service, dict) else None for key in ("variables", "secrets"))
    sound = {
        "app_name": isinstance(project.get("app_name"), str),
        "aws_region": isinstance(project.get("aws_region"), str),
        "service": isinstance(service, dict),
        "service.variables": not variables
        or (isinstance(variables, dict) and _all_names(variables, variables.values())),
        "service.secrets": not secrets or (isinstance(secrets, list) and _all_text(secrets)),
        "workers": isinstance(workers, dict) and _all_names(workers),
        "files": isinstance(files, dict) and isinstance(files.get("max_megabytes", 0), int),
    }
    if wrong := [key for key, right in sound.items() if not right]:
        raise secret_file.NotUsableError(
            f"project.yaml: {', '.join(wrong)}: missing or of the wrong kind. `make doctor` says what each may be."
        )
    return project


def extensions() -> list[str]:
    """The database's extensions; none where the role manager, which comes after, will refuse what is declared."""
    declared = settings().get("database_roles")
    found = declared.get("extensions") if isinstance(declared, dict) else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and "\0" not in value for value in values)


def _all_names(names: Iterable[Any], values: Iterable[Any] = ()) -> bool:
    """Whether a process can be given variables of these names, with these values."""
    return _all_text([*names, *values]) and not any("=" in name for name in names)


def of_this_laptop() -> dict[str, str]:
    """Return the variables that name the project, and an AWS that is nowhere."""
    project = settings()
    return {
        "APP_NAME": project["app_name"],
        "ENVIRONMENT": "laptop",
        "RELEASE": "working-copy",
        "AWS_REGION": project["aws_region"],
        # Good for nothing but what runs on this laptop; and nothing is asked of this person's AWS configuration.
        "AWS_ACCESS_KEY_ID": "laptop",
        "AWS_SECRET_ACCESS_KEY": "laptop",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def declared(project: dict[str, Any]) -> dict[str, str]:
    """Return the variables that project.yaml gives to the service in all environments; this shell's own win."""
    variables = (project.get("service") or {}).get("variables") or {}
    shell = inherited()
    return {name: shell.get(name, value) for name, value in variables.items()}


@contextlib.contextmanager
def laptop(directory: Path | None = None) -> Iterator[dict[str, str]]:
    """Yield the variables of the service's environment; what they name runs until the end.

    Without a directory, as for tests, secrets are random. Raises secret_file.NotUsableError.
    """
    project = settings()
    names = (project.get("service") or {}).get("secrets") or []
    secrets = secret_file.values(names, ROOT, inherited()) if directory else secret_file.made_up(names)
    variables = declared(project) | secrets | of_this_laptop()
    with contextlib.ExitStack() as stack:
        for module in pkgutil.iter_modules(__path__):
            if module.name != "__main__":
                part = importlib.import_module(f"{__name__}.{module.name}")
                variables |= stack.enter_context(part.provide(directory, variables))
        yield variables
