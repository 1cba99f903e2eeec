"""What still exists of a project after everything was deleted: one row for each kind of thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Clients = Callable[[str], Any]


def _items(
    service: str, operation: str, key: str, name: str | None = None, **parameters: Any
) -> Callable[[Clients], Iterator[str]]:
    """Return a look that lists names: those of the items below `key` of every page of an operation's answer."""

    def look(client: Clients) -> Iterator[str]:
        found = client(service)
        pages = (
            found.get_paginator(operation).paginate(**parameters)
            if found.can_paginate(operation)
            else [getattr(found, operation)(**parameters)]
        )
        for page in pages:
            for item in page[key]:
                yield str(item if name is None else item[name])

    return look


def _clusters(client: Clients) -> Iterator[str]:
    """A deleted ECS cluster is listed for a while."""
    ecs = client("ecs")
    for cluster in ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"])["clusters"]:
        if cluster["status"] == "ACTIVE":
            yield str(cluster["clusterArn"])


def _queues(client: Clients) -> Iterator[str]:
    """The answer has no list where there is none."""
    yield from client("sqs").list_queues().get("QueueUrls", [])


def _scans(client: Clients) -> Iterator[str]:
    """A plan of GuardDuty's has a number; its bucket has the name."""
    guardduty = client("guardduty")
    for plan in guardduty.list_malware_protection_plans()["MalwareProtectionPlans"]:
        found = guardduty.get_malware_protection_plan(MalwareProtectionPlanId=plan["MalwareProtectionPlanId"])
        yield str(found["ProtectedResource"]["S3Bucket"]["BucketName"])


# What carries the application's name. Kind, and how its names are listed.
NAMED: tuple[tuple[str, Callable[[Clients], Iterator[str]]], ...] = (
    ("bucket", _items("s3", "list_buckets", "Buckets", "Name")),
    ("table", _items("dynamodb", "list_tables", "TableNames")),
    ("role", _items("iam", "list_roles", "Roles", "RoleName")),
    ("policy", _items("iam", "list_policies", "Policies", "PolicyName", Scope="Local")),
    ("repository", _items("ecr", "describe_repositories", "repositories", "repositoryName")),
    ("cluster", _items("rds", "describe_db_clusters", "DBClusters", "DBClusterIdentifier")),
    ("instance", _items("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier")),
    ("function", _items("lambda", "list_functions", "Functions", "FunctionName")),
    ("log group", _items("logs", "describe_log_groups", "logGroups", "logGroupName")),
    ("topic", _items("sns", "list_topics", "Topics", "TopicArn")),
    ("schedule group", _items("scheduler", "list_schedule_groups", "ScheduleGroups", "Name")),
    ("queue", _queues),
    ("malware scan", _scans),
    ("alarm", _items("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName")),
    (
        "composite alarm",
        _items("cloudwatch", "describe_alarms", "CompositeAlarms", "AlarmName", AlarmTypes=["CompositeAlarm"]),
    ),
    ("load balancer", _items("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName")),
    ("target group", _items("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupName")),
    ("ECS cluster", _clusters),
    ("task definition", _items("ecs", "list_task_definitions", "taskDefinitionArns", status="ACTIVE")),
    ("parameter", _items("ssm", "describe_parameters", "Parameters", "Name")),
    ("secret", _items("secretsmanager", "list_secrets", "SecretList", "Name")),
    ("rule", _items("events", "list_rules", "Rules", "Name")),
    ("flags", _items("appconfig", "list_applications", "Items", "Name")),
    ("alias", _items("kms", "list_aliases", "Aliases", "AliasName")),
)
# What EC2 keeps under numbers and finds by tag: kind, key of the answer, key of the number.
NUMBERED = (
    ("vpcs", "Vpcs", "VpcId"),
    ("subnets", "Subnets", "SubnetId"),
    ("security_groups", "SecurityGroups", "GroupId"),
    ("vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    ("route_tables", "RouteTables", "RouteTableId"),
    ("internet_gateways", "InternetGateways", "InternetGatewayId"),
)


def left_over(client: Clients, app: str) -> list[str]:
    """Return what still exists of a project, by name or by tag."""
    found = [f"{kind} {name}" for kind, look in NAMED for name in look(client) if app in name]
    ec2 = client("ec2")
    tagged = [{"Name": "tag:application", "Values": [app]}]
    for kind, key, identifier in NUMBERED:
        found += [
            f"{kind} {item[identifier]}"
            for item in getattr(ec2, f"describe_{kind}")(Filters=tagged)[key]
            if str(item.get("State", "")).lower() != "deleted"
        ]
    kms = client("kms")
    for key in kms.list_keys()["Keys"]:
        metadata = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        tags = kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
        if {"TagKey": "application", "TagValue": app} in tags and metadata["KeyState"] == "Enabled":
            found.append(f"key {key['KeyId']}")
    return found
