"""The service's secrets: project.yaml has their names, encrypted parameters have their values.

A value goes from the keyboard (or standard input) to AWS and nowhere else: into no file, argument, log or Terraform state.
"""

from __future__ import annotations

import getpass
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import ClientError

from ops.aws import Aws, code
from ops.errors import OpsError, WrongUse
from ops.project import Project

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
LARGEST_BYTES = 4096
GENERATED_BYTES = 32


@dataclass(frozen=True)
class Stored:
    """What is known of a value without reading it."""

    name: str
    moment: datetime
    by: str


def parameter(project: Project, name: str) -> str:
    """Name of a secret's parameter."""
    return f"{project.names['secrets_path']}/{name}"


def stored(aws: Aws, project: Project) -> dict[str, Stored]:
    """The values that this environment has, by their names; no value is read."""
    path = project.names["secrets_path"]
    filters = [{"Key": "Path", "Option": "OneLevel", "Values": [path]}]
    pages = aws.client("ssm").get_paginator("describe_parameters").paginate(ParameterFilters=filters)
    found = {}
    for item in (item for page in pages for item in page["Parameters"]):
        name = item["Name"].removeprefix(f"{path}/")
        found[name] = Stored(name, item["LastModifiedDate"], item.get("LastModifiedUser", "").rpartition("/")[2])
    return found


def missing(aws: Aws, project: Project) -> list[str]:
    """Names of project.yaml that have no value here, sorted."""
    return sorted(set(project.secrets) - stored(aws, project).keys()) if project.secrets else []


def require(aws: Aws, project: Project) -> str:
    """The values that are there, in words. Raises OpsError with the names that have none."""
    lacking = missing(aws, project)
    if lacking:
        raise OpsError(
            f"These secrets have no value in {project.place}: {', '.join(lacking)}. The service was not touched.",
            next_step="; ".join(project.make("secret", NAME=name) for name in lacking)
            + "; then repeat the command. GENERATE=1 makes a random value.",
        )
    return f"{len(project.secrets)} of {len(project.secrets)} have a value"


def newer(aws: Aws, project: Project, moment: datetime) -> list[str]:
    """Names of secrets that were stored after a moment, sorted."""
    if not project.secrets:
        return []
    found = stored(aws, project)
    return sorted(name for name in project.secrets if name in found and found[name].moment > moment)


def require_declared(project: Project, name: str) -> None:
    """Raises WrongUse for a name that project.yaml does not have."""
    if name not in project.secrets:
        has = f"It has {', '.join(project.secrets)}" if project.secrets else "It has none"
        raise WrongUse(
            f"project.yaml has no secret {name}. {has}.", next_step="Add the name to service.secrets of project.yaml."
        )


def read(project: Project, name: str) -> str:
    """Ask for a value without showing it, or take standard input but for the newline at its end. Raises WrongUse."""
    if sys.stdin.isatty():
        value = getpass.getpass(f"{name} for {project.place} (not shown): ")
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    size = len(value.encode())
    # The value itself is not repeated.
    if not value or size > LARGEST_BYTES:
        raise WrongUse(f"{name} has {size} bytes; a value has 1 to {LARGEST_BYTES}.")
    return value


def generated() -> str:
    """A random value of 256 bits, as text of letters, digits, - and _."""
    return secrets.token_urlsafe(GENERATED_BYTES)


def store(aws: Aws, project: Project, name: str, value: str) -> None:
    """Store a value with the environment's key. Raises OpsError where the key is not there yet."""
    client = aws.client("ssm")
    words = {"Name": parameter(project, name), "Value": value, "Type": "SecureString"}
    words |= {"KeyId": project.names["network_key"], "Description": "Written by make secret"}
    tags = [{"Key": key, "Value": value} for key, value in _tags(project).items()]
    try:
        # AWS takes tags with a new parameter only.
        if name in stored(aws, project):
            client.put_parameter(**words, Overwrite=True)
        else:
            client.put_parameter(**words, Tags=tags)
    except ClientError as error:
        if code(error) not in ("InvalidKeyId", "NotFoundException"):
            raise
        raise OpsError(
            f"The key {project.names['network_key']} that encrypts secrets is not there yet.",
            next_step=f"make up ENV={project.environment} makes it, and stops before the service; then repeat the command.",
        ) from error


def _tags(project: Project) -> dict[str, str]:
    # Temporary environments share them, so none of them owns them.
    return {key: value for key, value in project.tags.items() if key != "temporary"}


def lines(project: Project, found: dict[str, Stored]) -> Sequence[str]:
    """Each name with whether it has a value, since when and by whom."""
    names = sorted({*project.secrets, *found})
    width = max((len(name) for name in names), default=0)
    out = []
    for name in names:
        is_set = found.get(name)
        text = f"set {is_set.moment:%Y-%m-%d %H:%M} by {is_set.by or 'unknown'}" if is_set else "not set"
        out.append(f"{name:<{width}}  {text}{'' if name in project.secrets else ', no longer in project.yaml'}")
    return out


def delete(aws: Aws, project: Project) -> None:
    """Remove the values of an environment and those of its temporary environments, if they are there."""
    client = aws.client("ssm")
    path = project.names["secrets_path"]
    base = path.removesuffix("/secrets")
    for below in (path, f"{base}/previews/secrets"):
        filters = [{"Key": "Path", "Option": "OneLevel", "Values": [below]}]
        pages = client.get_paginator("describe_parameters").paginate(ParameterFilters=filters)
        for name in [item["Name"] for page in pages for item in page["Parameters"]]:
            client.delete_parameter(Name=name)
