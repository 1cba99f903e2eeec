"""The record of deployments: a parameter whose history is the list of healthy ones, and one with the newest commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import ClientError

from ops.aws import Aws, code
from ops.project import Project


@dataclass(frozen=True)
class Release:
    """A version that was deployed and found healthy."""

    digest: str
    moment: datetime
    by: str


def record(aws: Aws, project: Project, digest: str) -> None:
    """Note that this image is deployed and healthy. The same one twice in a row is noted once."""
    client = aws.client("ssm")
    name = project.names["image_parameter"]
    if latest := history(aws, project, 1):
        if latest[0].digest == digest:
            return
        client.put_parameter(Name=name, Value=digest, Type="String", Overwrite=True)
        return
    tags = [{"Key": key, "Value": value} for key, value in project.tags.items()]
    description = "Image of the last healthy deployment; its history is the list of deployments"
    client.put_parameter(Name=name, Value=digest, Type="String", Description=description, Tags=tags)


def history(aws: Aws, project: Project, count: int = 5) -> list[Release]:
    """The newest deployments, newest first. AWS keeps 100."""
    pages = aws.client("ssm").get_paginator("get_parameter_history")
    try:
        versions = [
            version for page in pages.paginate(Name=project.names["image_parameter"]) for version in page["Parameters"]
        ]
    except ClientError as error:
        if code(error) == "ParameterNotFound":
            return []
        raise
    versions.sort(key=lambda version: version["Version"], reverse=True)
    return [
        Release(
            item["Value"],
            item["LastModifiedDate"],
            item.get("LastModifiedUser", "").rsplit("/", 1)[-1],
        )
        for item in versions[:count]
    ]


def begin(aws: Aws, project: Project, commit: str) -> None:
    """Note which commit is being delivered, whatever becomes of it: a run of an older one is refused from now on."""
    before = begun(aws, project)
    if before == commit:
        return
    # AWS takes tags with a new parameter only.
    tags = {} if before else {"Tags": [{"Key": key, "Value": value} for key, value in project.tags.items()]}
    name = project.names["commit_parameter"]
    aws.client("ssm").put_parameter(Name=name, Value=commit, Type="String", Overwrite=bool(before), **tags)


def begun(aws: Aws, project: Project) -> str:
    """The commit that was delivered last; empty before the first."""
    try:
        return str(aws.client("ssm").get_parameter(Name=project.names["commit_parameter"])["Parameter"]["Value"])
    except ClientError as error:
        if code(error) == "ParameterNotFound":
            return ""
        raise


def delete(aws: Aws, project: Project) -> None:
    """Remove the record, if it is there."""
    for name in ("image_parameter", "commit_parameter"):
        try:
            aws.client("ssm").delete_parameter(Name=project.names[name])
        except ClientError as error:
            if code(error) != "ParameterNotFound":
                raise
