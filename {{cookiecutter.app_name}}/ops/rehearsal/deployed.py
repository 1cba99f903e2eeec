"""The deployed platform as the API describes it: what the proofs read."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, replace
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from ops.project import Project
from ops.rehearsal.iam.roles import Role
from ops.rehearsal.reachability import Place, Vpc
from ops.rehearsal.sign_in import ADMINISTRATOR, Keys, administrator, administrator_of

# A session reads the model of a service once, which costs most of a client's time, and makes one client at a time.
_SESSION = boto3.Session()
_MAKING = threading.Lock()


@dataclass(frozen=True, eq=False)
class Platform:
    """One environment of a project in the simulated AWS at `endpoint`; what is read once is remembered."""

    project: Project
    endpoint: str
    keys: Keys | None = None

    @property
    def registry(self) -> Platform:
        """The same seen from the account that has the images."""
        return replace(self, keys=administrator_of(self.project, self.project.registry["account_id"]))

    def client(self, service: str) -> Any:
        """Return a boto3 client of the simulator."""
        return client(service, self.project.region, self.endpoint, self.keys or administrator(self.project))

    @functools.cached_property
    def service(self) -> dict[str, Any]:
        """The ECS service; empty before there is one."""
        ecs, name = self.client("ecs"), self.project.names["service"]
        try:
            found = ecs.describe_services(cluster=name, services=[name])["services"]
        except ecs.exceptions.ClusterNotFoundException:
            return {}
        return dict(found[0]) if found else {}

    def task_definition(self, family_or_arn: str) -> dict[str, Any]:
        """Return a task definition; a family's newest."""
        return dict(self.client("ecs").describe_task_definition(taskDefinition=family_or_arn)["taskDefinition"])

    @functools.cached_property
    def load_balancer(self) -> dict[str, Any]:
        """The load balancer, with its attributes under `Attributes`."""
        client = self.client("elbv2")
        found = client.describe_load_balancers(Names=[self.project.names["service"]])["LoadBalancers"][0]
        attributes = client.describe_load_balancer_attributes(LoadBalancerArn=found["LoadBalancerArn"])["Attributes"]
        return dict(found) | {"Attributes": {a["Key"]: a["Value"] for a in attributes}}

    @functools.cached_property
    def cluster(self) -> dict[str, Any]:
        """The database cluster."""
        return dict(
            self.client("rds").describe_db_clusters(DBClusterIdentifier=self.project.names["database_cluster"])[
                "DBClusters"
            ][0]
        )

    @functools.cached_property
    def role_manager(self) -> dict[str, Any]:
        """The role manager's configuration."""
        return dict(self.client("lambda").get_function_configuration(FunctionName=self.project.names["role_manager"]))

    @functools.cached_property
    def topic(self) -> dict[str, str]:
        """The attributes of the alarms' topic."""
        arn = f"arn:{self.project.partition}:sns:{self.project.region}:{self.project.account}:{self.project.names['alarms_topic']}"
        return dict(self.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"])

    @functools.cached_property
    def alarms(self) -> dict[str, dict[str, Any]]:
        """The alarms of this environment, metric and composite, by name."""
        found = {}
        for page in (
            self.client("cloudwatch")
            .get_paginator("describe_alarms")
            .paginate(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        ):
            for alarm in [*page["MetricAlarms"], *page["CompositeAlarms"]]:
                if alarm["AlarmName"].startswith(self.project.names["service"] + "-"):
                    found[alarm["AlarmName"]] = alarm
        return found

    @functools.cached_property
    def vpc(self) -> Vpc:
        """The network."""
        ec2 = self.client("ec2")
        found = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": [self.project.names["network"]]}])
        return Vpc.read(ec2, found["Vpcs"][0]["VpcId"])

    def role(self, name_or_arn: str) -> Role:
        """Return an IAM role."""
        return Role.read(self.client("iam"), name_or_arn, self.project.region)

    def key_policy(self, key: str) -> str:
        """Return the policy of a KMS key, by its id, ARN or alias."""
        kms = self.client("kms")
        identifier = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyId"]
        return str(kms.get_key_policy(KeyId=identifier, PolicyName="default")["Policy"])

    def is_customer_key(self, key: str | None) -> bool:
        """Tell whether a key is the customer's own: not AWS's, and enabled."""
        if not key or "alias/aws/" in key:
            return False
        metadata = self.client("kms").describe_key(KeyId=key)["KeyMetadata"]
        return bool(metadata["KeyManager"] == "CUSTOMER" and metadata["KeyState"] == "Enabled")

    # Places in the network.

    @property
    def load_balancer_place(self) -> Place:
        """The load balancer."""
        found = self.load_balancer
        return Place(
            "load balancer",
            tuple(zone["SubnetId"] for zone in found["AvailabilityZones"]),
            tuple(found["SecurityGroups"]),
            public=found["Scheme"] == "internet-facing",
        )

    @property
    def service_place(self) -> Place:
        """The service's tasks."""
        network = self.service["networkConfiguration"]["awsvpcConfiguration"]
        return Place(
            "service",
            tuple(network["subnets"]),
            tuple(network["securityGroups"]),
            public=network.get("assignPublicIp") == "ENABLED",
        )

    @property
    def database_place(self) -> Place:
        """The database."""
        groups = self.client("rds").describe_db_subnet_groups(DBSubnetGroupName=self.cluster["DBSubnetGroup"])[
            "DBSubnetGroups"
        ]
        return Place(
            "database",
            tuple(subnet["SubnetIdentifier"] for subnet in groups[0]["Subnets"]),
            tuple(group["VpcSecurityGroupId"] for group in self.cluster["VpcSecurityGroups"]),
        )

    @property
    def role_manager_place(self) -> Place:
        """The role manager's function."""
        network = self.role_manager["VpcConfig"]
        return Place("role manager", tuple(network["SubnetIds"]), tuple(network["SecurityGroupIds"]))


@functools.cache
def client(service: str, region: str, endpoint: str, keys: Keys | None = ADMINISTRATOR) -> Any:
    """Return a boto3 client of the simulator at an endpoint; without keys one that does not sign."""
    with _MAKING:
        return _SESSION.client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            aws_access_key_id=keys.access if keys else None,
            aws_secret_access_key=keys.secret if keys else None,
            aws_session_token=(keys.token or None) if keys else None,
            config=None if keys else Config(signature_version=UNSIGNED),
        )
