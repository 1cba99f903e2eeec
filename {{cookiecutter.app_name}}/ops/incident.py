"""The incident service's URL: a credential. It goes from the keyboard (or standard input) to AWS and nowhere else."""

from __future__ import annotations

import getpass
import re
import sys

from botocore.exceptions import ClientError

from ops.aws import Aws, code
from ops.errors import WrongUse
from ops.project import Project

# What each service hands out for Amazon CloudWatch by SNS.
_FORMS = {
    "pagerduty": (
        r"https://events(\.eu)?\.pagerduty\.com/integration/[A-Za-z0-9]+/enqueue",
        "https://events.pagerduty.com/integration/<KEY>/enqueue",
    ),
    "splunk-on-call": (
        r"https://alert\.victorops\.com/integrations/cloudwatch/\d{8}/alert/[A-Za-z0-9-]+/[^/\s?#]+",
        "https://alert.victorops.com/integrations/cloudwatch/20131130/alert/<KEY>/<ROUTING KEY>",
    ),
    "email": (r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address"),
}


def wanted(project: Project) -> bool:
    """Whether the project sends alarms anywhere."""
    return project.settings["incident_management"] in _FORMS


def is_set(aws: Aws, project: Project) -> bool:
    """Whether the URL was stored for this environment. Its value is not read."""
    name = project.names["incident_url_parameter"]
    filters = [{"Key": "Name", "Option": "Equals", "Values": [name]}]
    return bool(aws.client("ssm").describe_parameters(ParameterFilters=filters)["Parameters"])


def read(project: Project) -> str:
    """Ask for the URL without showing it, or take a line of standard input. Raises WrongUse when it is not one."""
    service = str(project.settings["incident_management"])
    if service not in _FORMS:
        raise WrongUse("project.yaml says incident_management: none, so there is no URL to store.")
    pattern, form = _FORMS[service]
    if sys.stdin.isatty():
        value = getpass.getpass(f"{service} URL for {project.environment}, {form} (not shown): ")
    else:
        value = sys.stdin.readline()
    value = value.strip()
    # The value itself is not repeated: it may be a credential with a typing error.
    if not re.fullmatch(pattern, value):
        raise WrongUse(f"That is not the form that {service} hands out.", next_step=f"It looks like {form}.")
    return value


def store(aws: Aws, project: Project, value: str) -> None:
    """Store the URL as an encrypted parameter."""
    client = aws.client("ssm")
    name = project.names["incident_url_parameter"]
    client.put_parameter(
        Name=name,
        Value=value,
        Type="SecureString",
        Overwrite=True,
        Description="Where alarms go: written by make incident-url",
    )
    client.add_tags_to_resource(
        ResourceType="Parameter",
        ResourceId=name,
        Tags=[{"Key": key, "Value": value} for key, value in project.tags.items()],
    )


def delete(aws: Aws, project: Project) -> None:
    """Remove the URL, if it is there."""
    try:
        aws.client("ssm").delete_parameter(Name=project.names["incident_url_parameter"])
    except ClientError as error:
        if code(error) != "ParameterNotFound":
            raise
