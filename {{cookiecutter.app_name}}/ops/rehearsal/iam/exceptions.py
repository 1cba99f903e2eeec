"""Where AWS asks for something else than the action and the resources of an operation's own name.

This is the one table of what can't be read from botocore's models and the Service Authorization Reference (SAR). Each row says
where it comes from. `_` in a source stands for https://docs.aws.amazon.com. A service that is met for the first time needs its identifiers in
VARIABLES, and rows for what it does in its caller's name: `make rehearse` stops at the first call that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops.rehearsal.iam.call import Call, State

# Not decided by IAM at all. _/STS/latest/APIReference/API_GetCallerIdentity.html: "No permissions are required".
NO_PERMISSION = frozenset({"sts:GetCallerIdentity"})

# Operations whose action has another name, or depends on a parameter: _/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
# and SAR of each service.
_S3_NAMES = {
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketTagging": "PutBucketTagging",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeleteBucketCors": "PutBucketCORS",
    "DeleteBucketMetricsConfiguration": "PutMetricsConfiguration",
    "GetBucketMetricsConfiguration": "GetMetricsConfiguration",
    "ListBucketMetricsConfigurations": "GetMetricsConfiguration",
    "PutBucketMetricsConfiguration": "PutMetricsConfiguration",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListParts": "ListMultipartUploadParts",
    "PutBucketCors": "PutBucketCORS",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "CompleteMultipartUpload": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
}


def _named(action: str) -> Callable[[Mapping[str, Any]], list[str]]:
    return lambda _parameters: [action]


OTHER_ACTIONS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    **{f"s3:{operation}": _named(f"s3:{action}") for operation, action in _S3_NAMES.items()},
    "lambda:Invoke": _named("lambda:InvokeFunction"),
    "s3:GetObject": lambda p: ["s3:GetObjectVersion" if p.get("VersionId") else "s3:GetObject"],
    "s3:HeadObject": lambda p: ["s3:GetObjectVersion" if p.get("VersionId") else "s3:GetObject"],
    "s3:DeleteObject": lambda p: ["s3:DeleteObjectVersion" if p.get("VersionId") else "s3:DeleteObject"],
    "s3:DeleteObjects": lambda p: sorted(
        {
            "s3:DeleteObjectVersion" if item.get("VersionId") else "s3:DeleteObject"
            for item in p.get("Delete", {}).get("Objects", [])
        }
    ),
    # S3 Control's operations on the account. _/AmazonS3/latest/API/API_control_PutPublicAccessBlock.html
    "s3control:GetPublicAccessBlock": _named("s3:GetAccountPublicAccessBlock"),
    "s3control:PutPublicAccessBlock": _named("s3:PutAccountPublicAccessBlock"),
    "s3control:DeletePublicAccessBlock": _named("s3:PutAccountPublicAccessBlock"),
    "s3control:ListTagsForResource": _named("s3:ListTagsForResource"),
    "s3control:TagResource": _named("s3:TagResource"),
    "s3control:UntagResource": _named("s3:UntagResource"),
}


def actions_of(call: Call) -> list[str]:
    """Return the actions that an operation stands for: mostly the one of its name."""
    other = OTHER_ACTIONS.get(call.name)
    return other(call.parameters) if other is not None else [call.name]


def last(separator: str) -> Callable[[str], str]:
    """Return what stands after the last separator."""
    return lambda value: value.rpartition(separator)[2]


def function_name(value: str) -> str:
    """Return a function's name of its name or ARN."""
    name = value.partition(":function:")[2] or value
    return name.partition(":")[0]


def _cluster(value: str) -> str:
    if ":cluster/" in value:
        return value.rpartition("/")[2]
    if value.startswith("arn:"):  # a service or task of the new form has its cluster in its name
        parts = value.split("/")
        return parts[1] if len(parts) > 2 else "default"
    return value


# How a parameter names what the ARN has: (service, variable) -> text to text.
TRANSFORMS: dict[tuple[str, str], Callable[[str], str]] = {
    ("dynamodb", "TableName"): last("table/"),
    ("ecs", "ClusterName"): _cluster,
    ("ecs", "ServiceName"): last("/"),
    ("ecs", "TaskId"): last("/"),
    ("iam", "OidcProviderName"): lambda value: value.partition("://")[2] or value,
    ("kms", "Alias"): lambda value: value.removeprefix("alias/"),
    ("lambda", "FunctionName"): function_name,
    ("route53", "Id"): last("/"),
    ("sqs", "QueueName"): last("/"),
    ("ssm", "ParameterNameWithoutLeadingSlash"): lambda value: (
        value.partition(":parameter/")[2] or value.removeprefix("/")
    ),
    ("wafv2", "Scope"): lambda value: "global" if value == "CLOUDFRONT" else value.lower(),
}

# The parameters that name what an ARN in SAR has as a variable: service -> variable -> paths.
VARIABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "acm": {"CertificateId": ()},
    "appconfig": {
        "ApplicationId": ("ApplicationId", "ApplicationIdentifier", "Application"),
        "EnvironmentId": ("EnvironmentId", "EnvironmentIdentifier", "Environment"),
        "ConfigurationProfileId": ("ConfigurationProfileId", "ConfigurationProfileIdentifier", "Configuration"),
        "DeploymentNumber": ("DeploymentNumber",),
        "DeploymentStrategyId": ("DeploymentStrategyId",),
        "VersionNumber": ("VersionNumber",),
    },
    "application-autoscaling": {"ResourceId": ("ResourceId", "ResourceARN")},
    "backup": {
        "BackupVaultName": ("BackupVaultName",),
        "BackupPlanId": ("BackupPlanId",),
    },
    "cloudwatch": {
        "AlarmName": ("AlarmName", "AlarmNames[]"),
        "DashboardName": ("DashboardName", "DashboardNames[]"),
    },
    "dynamodb": {"TableName": ("TableName",)},
    "ec2": {
        "AllocationId": ("AllocationId", "AllocationIds[]", "Resources[]", "AssociationId"),
        "DhcpOptionsId": ("DhcpOptionsId", "Resources[]"),
        "InternetGatewayId": ("InternetGatewayId", "GatewayId", "Resources[]"),
        "NaclId": ("NetworkAclId", "Resources[]"),
        "NatGatewayId": ("NatGatewayId", "NatGatewayIds[]", "Resources[]"),
        "NetworkInterfaceId": ("NetworkInterfaceId", "Resources[]", "AttachmentId", "AssociationId"),
        "RouteTableId": (
            "RouteTableId",
            "RouteTableIds[]",
            "AddRouteTableIds[]",
            "RemoveRouteTableIds[]",
            "Resources[]",
            "AssociationId",
        ),
        "SecurityGroupId": (
            "GroupId",
            "GroupIds[]",
            "SecurityGroupIds[]",
            "AddSecurityGroupIds[]",
            "RemoveSecurityGroupIds[]",
            "Groups[]",
            "Resources[]",
        ),
        "SecurityGroupRuleId": ("SecurityGroupRuleIds[]", "SecurityGroupRules[].SecurityGroupRuleId", "Resources[]"),
        "SubnetId": (
            "SubnetId",
            "SubnetIds[]",
            "AddSubnetIds[]",
            "RemoveSubnetIds[]",
            "ResourceIds[]",
            "Resources[]",
            "AssociationId",
        ),
        "VpcEndpointId": ("VpcEndpointId", "VpcEndpointIds[]", "Resources[]"),
        "VpcFlowLogId": ("FlowLogIds[]", "Resources[]"),
        "VpcId": ("VpcId", "VpcIds[]", "ResourceIds[]", "Resources[]"),
    },
    "ecr": {"RepositoryName": ("repositoryName", "repositoryNames[]")},
    "ecs": {
        "ClusterName": ("cluster", "clusters[]", "clusterName"),
        "ServiceName": ("service", "services[]", "serviceName"),
        "TaskDefinitionFamilyName": ("family", "taskDefinition"),
        "TaskDefinitionRevisionNumber": ("taskDefinition",),
        "TaskId": ("task", "tasks[]"),
    },
    "elasticloadbalancing": {"LoadBalancerName": ("Name",), "TargetGroupName": ("Name",)},
    "events": {"RuleName": ("Name", "Rule"), "EventBusName": ("EventBusName",)},
    "iam": {
        "OidcProviderName": ("Url",),
        "PolicyNameWithPath": (),
        "RoleNameWithPath": ("RoleName",),
        "UserNameWithPath": ("UserName",),
    },
    "guardduty": {
        "DetectorId": ("DetectorId",),
        "FilterName": ("FilterName",),
        "IPSetId": ("IpSetId",),
        "MalwareProtectionPlanId": ("MalwareProtectionPlanId",),
        "PublishingDestinationId": ("DestinationId",),
        "ThreatEntitySetId": ("ThreatEntitySetId",),
        "ThreatIntelSetId": ("ThreatIntelSetId",),
        "TrustedEntitySetId": ("TrustedEntitySetId",),
    },
    "kms": {"Alias": ("AliasName",), "KeyId": ("KeyId", "TargetKeyId", "AliasName")},
    "lambda": {"FunctionName": ("FunctionName",), "UUID": ("UUID",)},
    "logs": {"LogGroupName": ("logGroupName", "logGroupIdentifier"), "LogStreamName": ("logStreamName",)},
    "rds": {
        "ClusterParameterGroupName": ("DBClusterParameterGroupName",),
        "ClusterSnapshotName": ("DBClusterSnapshotIdentifier", "FinalDBSnapshotIdentifier", "SnapshotIdentifier"),
        "DbClusterInstanceName": ("DBClusterIdentifier", "SourceDBClusterIdentifier"),
        "DbInstanceName": ("DBInstanceIdentifier",),
        "OptionGroupName": ("OptionGroupName",),
        "ParameterGroupName": ("DBParameterGroupName", "DBInstanceParameterGroupName"),
        "SubnetGroupName": ("DBSubnetGroupName",),
    },
    "route53": {"Id": ("HostedZoneId", "Id", "ResourceId", "DelegationSetId")},
    "s3": {"BucketName": ("Bucket",), "ObjectName": ("Key", "Delete.Objects[].Key")},
    "scheduler": {"GroupName": ("GroupName",), "ScheduleName": ("Name",)},
    "secretsmanager": {"SecretId": ("SecretId",)},
    "sns": {"TopicName": ("Name",)},
    "sqs": {"QueueName": ("QueueName", "QueueUrl")},
    "ssm": {"ParameterNameWithoutLeadingSlash": ("Name", "Names[]", "Path", "ResourceId")},
    "ssmmessages": {},
    "sts": {"RoleNameWithPath": ()},
    "tag": {},
    "wafv2": {"Scope": ("Scope",), "Name": ("Name",), "Id": ("Id",)},
}


def _default_group(call: Call) -> str:
    """RDS's own group of an engine: _/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html."""
    making = call.operation.startswith(("Create", "Restore"))
    return f"default:{call.parameters.get('Engine', 'engine')}" if making else "*"


# What a parameter that is left out means: the services' API references.
DEFAULTS: dict[tuple[str, str], Callable[[Call], str]] = {
    ("ecs", "ClusterName"): lambda call: (
        "*" if call.operation.startswith("List") and "Clusters" in call.operation else "default"
    ),
    ("rds", "OptionGroupName"): _default_group,
    ("rds", "ClusterParameterGroupName"): _default_group,
    ("rds", "SubnetGroupName"): lambda call: "default" if call.operation.startswith("Create") else "*",
    ("scheduler", "GroupName"): lambda _: "default",
    ("wafv2", "Scope"): lambda _: "regional",
}


def _bus(call: Call) -> bool:
    return call.parameters.get("EventBusName") in (None, "", "default")


def _balancer(kind: str) -> Callable[[Call], bool]:
    return lambda call: call.operation != "CreateLoadBalancer" or call.parameters.get("Type", "application") == kind


# Types that only some calls mean, though SAR lists them for the action: (service, type) -> whether this call does.
APPLIES: dict[tuple[str, str], Callable[[Call], bool]] = {
    # SAR, EventBridge: a rule on the default bus has no bus in its ARN.
    ("events", "rule-on-custom-event-bus"): lambda call: not _bus(call),
    ("events", "rule-on-default-event-bus"): _bus,
    # SAR, ELB v2: the three kinds of load balancers.
    ("elasticloadbalancing", "loadbalancer/app/"): _balancer("application"),
    ("elasticloadbalancing", "loadbalancer/gwy/"): _balancer("gateway"),
    ("elasticloadbalancing", "loadbalancer/net/"): _balancer("network"),
    # A cluster that is deleted without a final snapshot makes none. _/AmazonRDS/latest/APIReference/API_DeleteDBCluster.html
    ("rds", "cluster-snapshot"): lambda call: (
        call.operation != "DeleteDBCluster" or bool(call.parameters.get("FinalDBSnapshotIdentifier"))
    ),
    # SAR, RDS: instances inside a Multi-AZ DB cluster; Aurora's are made by CreateDBInstance.
    ("rds", "db"): lambda call: "DBCluster" not in call.operation,
    # Nothing here uses access points.
    ("s3", "accesspoint"): lambda call: ":accesspoint/" in str(call.parameters.get("Bucket")),
    ("s3", "accesspointobject"): lambda call: ":accesspoint/" in str(call.parameters.get("Bucket")),
}


@dataclass(frozen=True)
class ArnForm:
    """How an action names its resource where SAR's ARN does not tell."""

    kind: str
    arns: Callable[[Call, State], list[str]]
    source: str


def _role(call: Call, _state: State) -> list[str]:
    path = call.parameters.get("Path") or "/"
    return [f"arn:{call.partition}:iam::{call.account}:role{path}{call.parameters['RoleName']}"]


def _policy(call: Call, _state: State) -> list[str]:
    path = call.parameters.get("Path") or "/"
    return [f"arn:{call.partition}:iam::{call.account}:policy{path}{call.parameters['PolicyName']}"]


def _service_role(call: Call, _state: State) -> list[str]:
    name = call.parameters["AWSServiceName"]
    return [f"arn:{call.partition}:iam::{call.account}:role/aws-service-role/{name}/*"]


def _flags_session(call: Call, state: State) -> list[str]:
    return [str(state.look("flags session", str(call.parameters.get("ConfigurationToken"))))]


def _logged_web_acl(call: Call, _state: State) -> list[str]:
    return [str(call.parameters["LoggingConfiguration"]["ResourceArn"])]


def _schedule_group(call: Call, _state: State) -> list[str]:
    return [f"arn:{call.partition}:scheduler:{call.region}:{call.account}:schedule-group/{call.parameters['Name']}"]


def _new_secret(call: Call, _state: State) -> list[str]:
    # Six characters follow the name, which nobody knows yet.
    return [f"arn:{call.partition}:secretsmanager:{call.region}:{call.account}:secret:{call.parameters['Name']}-??????"]


ARN_FORMS: dict[str, ArnForm] = {
    "appconfig:GetLatestConfiguration": ArnForm(
        "configuration", _flags_session, "SAR; the token stands for the session's configuration"
    ),
    "iam:CreatePolicy": ArnForm("policy", _policy, "SAR: the name with its path"),
    "iam:CreateRole": ArnForm("role", _role, "SAR: the name with its path"),
    "iam:CreateServiceLinkedRole": ArnForm(
        "role",
        _service_role,
        "_/IAM/latest/UserGuide/using-service-linked-roles.html: role/aws-service-role/SERVICE/NAME",
    ),
    # _/scheduler/latest/APIReference/API_CreateScheduleGroup.html: Name, which is a schedule's elsewhere
    **{
        f"scheduler:{verb}ScheduleGroup": ArnForm("schedule-group", _schedule_group, "SAR; the call has its Name")
        for verb in ("Create", "Delete", "Get")
    },
    "secretsmanager:CreateSecret": ArnForm(
        "Secret", _new_secret, "_/secretsmanager/latest/userguide/auth-and-access_iam-policies.html"
    ),
    "wafv2:PutLoggingConfiguration": ArnForm(
        "webacl", _logged_web_acl, "_/waf/latest/APIReference/API_LoggingConfiguration.html: ResourceArn"
    ),
}

# What follows SAR's ARN in what IAM compares, and for which actions it does not.
# _/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html: tagging takes the group's ARN, all others end in `:*`.
SUFFIXES: dict[tuple[str, str], tuple[str, frozenset[str]]] = {
    ("logs", "log-group"): (":*", frozenset({"logs:TagResource", "logs:UntagResource", "logs:ListTagsForResource"})),
}


@dataclass(frozen=True)
class _Tagging:
    """Tags in a call that makes something: IAM asks for the tagging action as well."""

    actions: Mapping[str, tuple[str, str]]  # service -> action, and the key that names the making operation
    by_operation: Mapping[str, str]
    made: Mapping[str, str]  # the type that an operation makes, where its action is about others too
    without: frozenset[str]

    def action(self, service: str, operation: str) -> tuple[str, str] | None:
        """Return the action for an operation, and the key that names it."""
        if found := self.by_operation.get(f"{service}:{operation}"):
            return found, ""
        return self.actions.get(service)


# Source of each: the service's page "Grant permission to tag resources during creation", or SAR's column of dependent actions.
TAGGING = _Tagging(
    actions={
        "acm": ("acm:AddTagsToCertificate", ""),
        "appconfig": ("appconfig:TagResource", ""),
        "application-autoscaling": ("application-autoscaling:TagResource", ""),
        "backup": ("backup:TagResource", ""),
        "cloudwatch": ("cloudwatch:TagResource", ""),
        "dynamodb": ("dynamodb:TagResource", ""),
        # _/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
        "ec2": ("ec2:CreateTags", "ec2:CreateAction"),
        "ecr": ("ecr:TagResource", ""),
        # _/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html
        "ecs": ("ecs:TagResource", "ecs:CreateAction"),
        # _/elasticloadbalancing/latest/userguide/tagging-resources-during-creation.html
        "elasticloadbalancing": ("elasticloadbalancing:AddTags", "elasticloadbalancing:CreateAction"),
        "events": ("events:TagResource", ""),
        "guardduty": ("guardduty:TagResource", ""),
        "kms": ("kms:TagResource", ""),
        "lambda": ("lambda:TagResource", ""),
        "logs": ("logs:TagResource", ""),
        "rds": ("rds:AddTagsToResource", ""),
        "scheduler": ("scheduler:TagResource", ""),
        "secretsmanager": ("secretsmanager:TagResource", ""),
        "sns": ("sns:TagResource", ""),
        "sqs": ("sqs:TagQueue", ""),
        "ssm": ("ssm:AddTagsToResource", ""),
        "wafv2": ("wafv2:TagResource", ""),
    },
    by_operation={
        # _/IAM/latest/UserGuide/id_tags.html
        "iam:CreateRole": "iam:TagRole",
        "iam:CreatePolicy": "iam:TagPolicy",
        "iam:CreateOpenIDConnectProvider": "iam:TagOpenIDConnectProvider",
        "iam:CreateUser": "iam:TagUser",
        # _/STS/latest/APIReference/API_AssumeRole.html
        "sts:AssumeRole": "sts:TagSession",
        # _/AmazonS3/latest/API/API_CreateBucket.html
        "s3:CreateBucket": "s3:TagResource",
        "s3:PutObject": "s3:PutObjectTagging",
    },
    made={
        "acm:RequestCertificate": "certificate",
        "appconfig:CreateApplication": "application",
        "appconfig:CreateConfigurationProfile": "configurationprofile",
        "appconfig:CreateDeploymentStrategy": "deploymentstrategy",
        "appconfig:CreateEnvironment": "environment",
        "appconfig:StartDeployment": "deployment",
        "backup:CreateBackupPlan": "backupPlan",
        "backup:CreateBackupVault": "backupVault",
        "ecs:CreateService": "service",
        "ecs:RunTask": "task",
        "elasticloadbalancing:CreateListener": "listener/app",
        "elasticloadbalancing:CreateRule": "listener-rule/app",
        "guardduty:CreateMalwareProtectionPlan": "malwareprotectionplan",
        "kms:CreateKey": "key",
        "rds:CreateDBCluster": "cluster",
        "rds:CreateDBInstance": "db",
        "wafv2:CreateWebACL": "webacl",
    },
    without=frozenset({"route53:CreateHostedZone"}),
)
# Operations that do nothing but tag: their own action is all.
TAGS_ONLY = re.compile(r"(Tag|Untag|AddTags|RemoveTags|CreateTags|DeleteTags|Put\w+Tagging|ChangeTags)")
