"""Feature flags in AWS AppConfig: change one, and follow its launch to the end or its rollback."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ops import waiting
from ops.aws import Aws
from ops.errors import AccountError, DeploymentFailed, OpsError, WrongUse
from ops.output import Step, duration, table
from ops.project import Project

PERCENT = "percent"  # the attribute by which the service launches a flag to a part of its users
POLL_SECONDS = 5.0
TIMEOUT_SECONDS = 3 * 3600


@dataclass(frozen=True)
class Profile:
    """Identifiers of the flags in AppConfig."""

    application: str
    environment: str
    profile: str
    strategy: str


def find(aws: Aws, project: Project, *, immediate: bool = False) -> Profile:
    """Find the flags of an environment, and the strategy of a gradual (or immediate, as all of a preview's) launch.

    Raises WrongUse without the component, AccountError when it is not deployed yet.
    """
    if project.settings["feature_flags"] == "none":
        raise WrongUse("This project has no feature flags.")
    return _found(aws, project, immediate=immediate)


def _found(aws: Aws, project: Project, *, immediate: bool = False) -> Profile:
    client = aws.client("appconfig")
    names = project.names
    application = _named(client, "list_applications", names["flags_application"], project)
    environment = _named(client, "list_environments", names["flags_environment"], project, ApplicationId=application)
    profile = _named(
        client,
        "list_configuration_profiles",
        names["flags_profile"],
        project,
        ApplicationId=application,
    )
    strategy = _named(
        client,
        "list_deployment_strategies",
        names["service"] + ("-immediate" if immediate or project.temporary else ""),
        project,
    )
    return Profile(application, environment, profile, strategy)


def _named(client: Any, operation: str, name: str, project: Project, **arguments: str) -> str:
    for page in client.get_paginator(operation).paginate(**arguments):
        for item in page["Items"]:
            if item["Name"] == name:
                return str(item["Id"])
    raise AccountError(
        f"AppConfig has no {operation.removeprefix('list_').removesuffix('s').replace('_', ' ')} {name}.",
        next_step=f"Run {project.make('up')} first.",
    )


def read(aws: Aws, found: Profile) -> dict[str, Any]:
    """The newest flags document: {version, flags, values}."""
    client = aws.client("appconfig")
    versions = _versions(client, found)
    if not versions:
        raise AccountError("The flags have no first version.", next_step="Run make up first.")
    answer = client.get_hosted_configuration_version(
        ApplicationId=found.application,
        ConfigurationProfileId=found.profile,
        VersionNumber=max(versions),
    )
    return dict(json.loads(answer["Content"].read()))


def _versions(client: Any, found: Profile) -> list[int]:
    return [
        item["VersionNumber"]
        for page in client.get_paginator("list_hosted_configuration_versions").paginate(
            ApplicationId=found.application, ConfigurationProfileId=found.profile
        )
        for item in page["Items"]
    ]


def text(document: dict[str, Any]) -> str:
    """A table of all flags: name, on or off, attributes."""
    rows = []
    for name in sorted(document.get("flags", {})):
        value = document.get("values", {}).get(name, {})
        attributes = ", ".join(f"{key} {item}" for key, item in value.items() if key != "enabled")
        rows.append((name, "on" if value.get("enabled") else "off", attributes))
    return table(rows) or "There are no flags."


def change(document: dict[str, Any], name: str, enabled: bool | None, percent: float | None) -> dict[str, Any]:
    """A document with one flag changed. Raises WrongUse for an unknown flag, or one without a percentage."""
    flags = document.get("flags", {})
    if name not in flags:
        raise WrongUse(
            f"There is no flag {name!r}.",
            next_step=f"One of {', '.join(sorted(flags)) or '(none)'}.",
        )
    value = dict(document.get("values", {}).get(name, {}))
    if enabled is not None:
        value["enabled"] = enabled
    value.setdefault("enabled", False)
    if percent is not None:
        if PERCENT not in flags[name].get("attributes", {}):
            raise WrongUse(f"The flag {name} has no attribute {PERCENT!r}: it is only on or off.")
        value[PERCENT] = int(percent) if percent == int(percent) else percent
    return document | {"values": document.get("values", {}) | {name: value}}


def empty(aws: Aws, project: Project) -> None:
    """Delete all versions of the flags, so that Terraform can delete their profile; project.yaml may say none by then."""
    try:
        found = _found(aws, project)
    except OpsError:
        return
    client = aws.client("appconfig")
    for number in _versions(client, found):
        client.delete_hosted_configuration_version(
            ApplicationId=found.application,
            ConfigurationProfileId=found.profile,
            VersionNumber=number,
        )


def deploy(aws: Aws, found: Profile, document: dict[str, Any], description: str, step: Step) -> None:
    """Store a new version and launch it. Raises DeploymentFailed when AppConfig rolls it back."""
    client = aws.client("appconfig")
    version = client.create_hosted_configuration_version(
        ApplicationId=found.application,
        ConfigurationProfileId=found.profile,
        Content=json.dumps(document).encode(),
        ContentType="application/json",
        Description=description[:1024],
    )["VersionNumber"]
    try:
        number = client.start_deployment(
            ApplicationId=found.application,
            EnvironmentId=found.environment,
            DeploymentStrategyId=found.strategy,
            ConfigurationProfileId=found.profile,
            ConfigurationVersion=str(version),
            Description=description[:1024],
        )["DeploymentNumber"]
    except client.exceptions.ConflictException as error:
        raise DeploymentFailed(
            f"Another launch is under way: {error}",
            next_step="Wait until it is over, then repeat the command.",
        ) from error
    step.say(f"version {version}, launch {number}")
    follow(aws, found, number, step)


def follow(aws: Aws, found: Profile, number: int, step: Step) -> None:
    """Show a launch until it is complete. Raises DeploymentFailed when it is rolled back or takes hours."""
    client = aws.client("appconfig")
    last = ""

    def look() -> bool:
        nonlocal last
        state = client.get_deployment(
            ApplicationId=found.application,
            EnvironmentId=found.environment,
            DeploymentNumber=number,
        )
        text = f"{state['State'].lower().replace('_', ' ')}, {state.get('PercentageComplete', 0):g} % of the service"
        if text != last:
            step.say(text)
            last = text
        if state["State"] in ("ROLLED_BACK", "REVERTED"):
            events = "; ".join(event.get("Description", "") for event in state.get("EventLog", [])[:3])
            raise DeploymentFailed(
                f"AppConfig rolled the launch back: {events or 'an alarm went off'}. The flags are as before.",
                next_step="make status shows the alarms.",
            )
        return bool(state["State"] == "COMPLETE")

    if not waiting.until(look, TIMEOUT_SECONDS, every=POLL_SECONDS):
        raise DeploymentFailed(f"The launch is not complete after {duration(TIMEOUT_SECONDS)}: {last}.")
