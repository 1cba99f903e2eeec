"""The record of successful deployments: a parameter whose history is the list."""

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


def delete(aws: Aws, project: Project) -> None:
    """Remove the record, if it is there."""
    try:
        aws.client("ssm").delete_parameter(Name=project.names["image_parameter"])
    except ClientError as error:
        if code(error) != "ParameterNotFound":
            raise
