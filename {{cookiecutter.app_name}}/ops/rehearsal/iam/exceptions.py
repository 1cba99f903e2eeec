"""Where AWS asks for something else than the action and the resources of an operation's own name.

This is the one table of what can't be read from botocore's models and the Service Authorization Reference (SAR). Each row says
where it comes from. `_` in a source stands for https://docs.aws.amazon.com. A service that is met for the first time needs its identifiers in
VARIABLES, and rows for what it does in its caller's name: `make rehearse` stops at the first call that is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.rehearsal.iam.conditions import Value

if TYPE_CHECKING:
    from ops.rehearsal.iam.calls import Call, State

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


def _function(value: str) -> str:
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
    ("lambda", "FunctionName"): _function,
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
    "application-autoscaling": {},
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
        "AllocationId": ("AllocationId", "AllocationIds[]", "Resources[]"),
        "DhcpOptionsId": ("DhcpOptionsId", "Resources[]"),
        "InternetGatewayId": ("InternetGatewayId", "GatewayId", "Resources[]"),
        "NaclId": ("NetworkAclId", "Resources[]"),
        "NatGatewayId": ("NatGatewayId", "NatGatewayIds[]", "Resources[]"),
        "NetworkInterfaceId": ("NetworkInterfaceId", "Resources[]", "AttachmentId"),
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
    "secretsmanager:CreateSecret": ArnForm(
        "Secret", _new_secret, "_/secretsmanager/latest/userguide/auth-and-access_iam-policies.html"
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
        "kms:CreateKey": "key",
        "rds:CreateDBCluster": "cluster",
        "rds:CreateDBInstance": "db",
        "wafv2:CreateWebACL": "webacl",
    },
    without=frozenset({"route53:CreateHostedZone"}),
)
# Operations that do nothing but tag: their own action is all.
TAGS_ONLY = re.compile(r"(Tag|Untag|AddTags|RemoveTags|CreateTags|DeleteTags|Put\w+Tagging|ChangeTags)")


@dataclass(frozen=True)
class Row:
    """What a call asks for beside its own action.

    `on` is a path to ARNs in the parameters or a function that returns them; "" is `*`. `keys` are condition keys of this question.
    `when` leaves the row out. `of` asks for another principal than the caller: a service's name or a role's ARN. When it is
    refused: `code` is the error that AWS answers, if not the service's usual one; `hides` names what the answer then lacks
    instead of being refused.
    """

    action: str
    on: str | Callable[[Call, State], Iterable[str]]
    source: str
    keys: Mapping[str, Value] | Callable[[Call, State, str], Mapping[str, Value | None]] | None = None
    when: Callable[[Call, State], bool] | None = None
    of: Callable[[Call, State], str] | None = None
    code: str = ""
    hides: str = ""


_ROLES = "_/IAM/latest/UserGuide/id_roles_use_passrole.html; SAR, dependent actions"


def _pass(path: str, service: str) -> Row:
    return Row("iam:PassRole", path, _ROLES, {"iam:PassedToService": service})


def _via(
    service: str, context: Callable[[Call, State], Mapping[str, str]] | None = None, *, for_resource: bool = False
) -> Callable[[Call, State, str], Mapping[str, Value | None]]:
    """Return the keys of a KMS call that a service makes for its caller."""

    def keys(call: Call, state: State, _arn: str) -> Mapping[str, Value | None]:
        from ops.rehearsal.iam.calls import encryption_context

        name = f"{service}.{call.region}.amazonaws.com" + (".cn" if call.partition == "aws-cn" else "")
        found: dict[str, Value | None] = {
            "kms:ViaService": name,
            "aws:ViaAWSService": "true",
            "aws:CalledVia": (f"{service}.amazonaws.com",),
            "aws:CalledViaFirst": f"{service}.amazonaws.com",
            "aws:CalledViaLast": f"{service}.amazonaws.com",
        }
        if for_resource:
            found["kms:GrantIsForAWSResource"] = "true"
        return found | encryption_context(context(call, state) if context else {})

    return keys


def _given_key(path: str) -> Callable[[Call, State], list[str]]:
    """Return the customer's key that a parameter names; AWS's own keys admit whoever may use the service."""

    def keys(call: Call, state: State) -> list[str]:
        from ops.rehearsal.iam.calls import values

        found = [
            state.resolve("kms", "KeyId", value) for value in values(call.parameters, path) if "alias/aws/" not in value
        ]
        return [key for key in found if key]

    return keys


def _key_of(path: str) -> Callable[[Call, State], list[str]]:
    """Return the customer's key of the resource that the call is about."""

    def keys(call: Call, state: State) -> list[str]:
        from ops.rehearsal.iam.calls import resources

        found = (state.encryption_key(arn) for _, arn in resources(call, state, actions_of(call)[0]))
        return [key for key in found if key]

    del path
    return keys


def _s3_key(call: Call, state: State) -> list[str]:
    if given := call.parameters.get("SSEKMSKeyId"):
        found = state.resolve("kms", "KeyId", str(given))
        return [found] if found else []
    if call.parameters.get("ServerSideEncryption") == "AES256":
        return []
    bucket, name = call.parameters["Bucket"], call.parameters.get("Key", "")
    key = state.encryption_key(f"arn:{call.partition}:s3:::{bucket}/{name}")
    return [key] if key else []


def _s3_context(call: Call, state: State) -> Mapping[str, str]:
    # With a bucket key the context is the bucket. _/AmazonS3/latest/userguide/bucket-key.html
    bucket = f"arn:{call.partition}:s3:::{call.parameters['Bucket']}"
    return {"aws:s3:arn": bucket if state.look("bucket key", bucket) else f"{bucket}/{call.parameters['Key']}"}


def _table_context(call: Call, _state: State) -> Mapping[str, str]:
    name = str(call.parameters.get("TableName", "")).rpartition("/")[2]
    return {"aws:dynamodb:tableName": name, "aws:dynamodb:subscriberId": call.account}


def _secret_context(call: Call, state: State) -> Mapping[str, str]:
    return {"SecretARN": state.resolve("secretsmanager", "SecretId", str(call.parameters.get("SecretId", "")))}


def _parameter_context(call: Call, _state: State) -> Mapping[str, str]:
    name = str(call.parameters.get("Name", "")).removeprefix("/")
    return {"PARAMETER_ARN": f"arn:{call.partition}:ssm:{call.region}:{call.account}:parameter/{name}"}


def _topic_context(call: Call, _state: State) -> Mapping[str, str]:
    return {"aws:sns:topicArn": str(call.parameters.get("TopicArn"))}


def _decrypts(call: Call, _state: State) -> bool:
    return bool(call.parameters.get("WithDecryption"))


def _secure(call: Call, _state: State) -> bool:
    return call.parameters.get("Type") == "SecureString"


def _function_context(call: Call, _state: State) -> Mapping[str, str]:
    name = _function(str(call.parameters["FunctionName"]))
    return {"aws:lambda:FunctionArn": f"arn:{call.partition}:lambda:{call.region}:{call.account}:function:{name}"}


def _logs_key(call: Call, state: State) -> list[str]:
    found = state.resolve("kms", "KeyId", str(call.parameters.get("kmsKeyId", "")))
    return [found] if found else []


def _logs_principal(call: Call, _state: State) -> str:
    return f"logs.{call.region}.amazonaws.com" + (".cn" if call.partition == "aws-cn" else "")


def _logs_keys(call: Call, _state: State, _arn: str) -> Mapping[str, Value | None]:
    group = call.parameters.get("logGroupName", "")
    arn = f"arn:{call.partition}:logs:{call.region}:{call.account}:log-group:{group}"
    return {"kms:EncryptionContext:aws:logs:arn": arn, "kms:EncryptionContextKeys": ("aws:logs:arn",)}


def _managed_password(call: Call, _state: State) -> bool:
    return bool(call.parameters.get("ManageMasterUserPassword"))


def _managed_secret(call: Call, _state: State) -> list[str]:
    return [f"arn:{call.partition}:secretsmanager:{call.region}:{call.account}:secret:rds!cluster-*"]


def _in_vpc(call: Call, _state: State) -> bool:
    return bool((call.parameters.get("VpcConfig") or {}).get("SubnetIds"))


def _execution_role(call: Call, state: State) -> str:
    return str(
        call.parameters.get("Role") or state.look("role of function", _function(str(call.parameters["FunctionName"])))
    )


def _balancers(call: Call, _state: State) -> list[str]:
    found = str(call.parameters.get("ResourceArn", ""))
    return [found] if ":loadbalancer/" in found else []


def _missing_service_role(name: str) -> Callable[[Call, State], bool]:
    return lambda _call, state: bool(state.look("service-linked role is missing", name))


def _service_linked(name: str) -> Row:
    def on(call: Call, _state: State) -> list[str]:
        return [f"arn:{call.partition}:iam::{call.account}:role/aws-service-role/{name}/*"]

    return Row(
        "iam:CreateServiceLinkedRole", on, "_/IAM/latest/UserGuide/using-service-linked-roles.html: the first use in an account",
        {"iam:AWSServiceName": name}, _missing_service_role(name),
    )  # fmt: skip


def _scaled_service(call: Call, _state: State) -> list[str]:
    found = str(call.parameters.get("ResourceId", ""))
    return [f"arn:{call.partition}:ecs:{call.region}:{call.account}:{found}"] if found.startswith("service/") else []


_S3_KMS = "_/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms"
_DYNAMODB_KMS = "_/amazondynamodb/latest/developerguide/encryption.usagenotes.html, encryption.howitworks.html"
_SECRETS_KMS = "_/secretsmanager/latest/userguide/security-encryption.html"
_SSM_KMS = "_/systems-manager/latest/userguide/secure-string-parameter-kms-encryption.html"
_RDS = "SAR of RDS, dependent actions; _/AmazonRDS/latest/UserGuide/rds-secrets-manager.html"
_ECR_KMS = "_/AmazonECR/latest/userguide/encryption-at-rest.html"
_LAMBDA_KMS = "_/lambda/latest/dg/configuration-envvars-encryption.html"
_LAMBDA_VPC = "_/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions"
_LOGS_KMS = "_/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html"
_SNS_KMS = "_/sns/latest/dg/sns-key-management.html"
_SQS_KMS = "_/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html"
_BACKUP_KMS = "SAR of Backup, dependent actions"
_WAF = "_/waf/latest/developerguide/security_iam_service-with-iam.html#security_iam_service-with-iam-id-based-policies-actions"
_WAF_LOGS = "_/waf/latest/developerguide/logging-cw-logs.html"
_SCALING = "_/autoscaling/application/userguide/security_iam_id-based-policy-examples.html"

_ROWS_OF: dict[tuple[str, ...], tuple[Row, ...]] = {
    # A role is handed to a service.
    ("ecs:RegisterTaskDefinition",): (
        _pass("taskRoleArn", "ecs-tasks.amazonaws.com"),
        _pass("executionRoleArn", "ecs-tasks.amazonaws.com"),
    ),
    ("ecs:RunTask",): (
        _pass("overrides.taskRoleArn", "ecs-tasks.amazonaws.com"),
        _pass("overrides.executionRoleArn", "ecs-tasks.amazonaws.com"),
    ),
    ("ecs:CreateService",): (_pass("role", "ecs.amazonaws.com"), _service_linked("ecs.amazonaws.com")),
    ("ecs:CreateCluster",): (_service_linked("ecs.amazonaws.com"),),
    ("lambda:CreateFunction", "lambda:UpdateFunctionConfiguration"): (
        _pass("Role", "lambda.amazonaws.com"),
        *(Row(f"ec2:Describe{what}", "", _LAMBDA_VPC, when=_in_vpc) for what in ("SecurityGroups", "Subnets", "Vpcs")),
        *(
            Row(
                f"ec2:{action}",
                "",
                _LAMBDA_VPC,
                when=_in_vpc,
                of=_execution_role,
                code="InvalidParameterValueException",
            )
            for action in ("DescribeNetworkInterfaces",)
        ),
        *(
            Row(
                f"ec2:{action}",
                lambda call, _state: [f"arn:{call.partition}:ec2:{call.region}:{call.account}:network-interface/*"],
                _LAMBDA_VPC,
                when=_in_vpc,
                of=_execution_role,
                code="InvalidParameterValueException",
            )
            for action in ("CreateNetworkInterface", "DeleteNetworkInterface")
        ),
        Row("kms:Encrypt", _given_key("KMSKeyArn"), _LAMBDA_KMS, _via("lambda", _function_context)),
        Row("kms:CreateGrant", _given_key("KMSKeyArn"), _LAMBDA_KMS, _via("lambda", for_resource=True)),
    ),
    ("lambda:GetFunction", "lambda:GetFunctionConfiguration", "lambda:UpdateFunctionCode"): (
        Row(
            "kms:Decrypt", _key_of("FunctionName"), _LAMBDA_KMS, _via("lambda", _function_context), hides="Environment"
        ),
    ),
    ("ec2:CreateFlowLogs",): (_pass("DeliverLogsPermissionArn", "vpc-flow-logs.amazonaws.com"),),
    ("scheduler:CreateSchedule", "scheduler:UpdateSchedule"): (
        _pass("Target.RoleArn", "scheduler.amazonaws.com"),
        Row(
            "kms:DescribeKey",
            _given_key("KmsKeyArn"),
            "_/scheduler/latest/UserGuide/encryption-rest.html",
            _via("scheduler"),
        ),
        Row(
            "kms:GenerateDataKey",
            _given_key("KmsKeyArn"),
            "_/scheduler/latest/UserGuide/encryption-rest.html",
            _via("scheduler"),
        ),
        Row(
            "kms:Decrypt",
            _given_key("KmsKeyArn"),
            "_/scheduler/latest/UserGuide/encryption-rest.html",
            _via("scheduler"),
        ),
    ),
    ("events:PutTargets",): (_pass("Targets[].RoleArn", "events.amazonaws.com"),),
    ("appconfig:CreateEnvironment", "appconfig:UpdateEnvironment"): (
        _pass("Monitors[].AlarmRoleArn", "appconfig.amazonaws.com"),
    ),
    ("appconfig:CreateConfigurationProfile",): (_pass("RetrievalRoleArn", "appconfig.amazonaws.com"),),
    ("backup:CreateBackupSelection",): (_pass("BackupSelection.IamRoleArn", "backup.amazonaws.com"),),
    ("application-autoscaling:RegisterScalableTarget",): (
        _pass("RoleARN", "application-autoscaling.amazonaws.com"),
        _service_linked("ecs.application-autoscaling.amazonaws.com"),
        Row("ecs:DescribeServices", _scaled_service, _SCALING),
        Row("ecs:UpdateService", _scaled_service, _SCALING),
    ),
    # KMS for the caller.
    ("s3:GetObject",): (Row("kms:Decrypt", _s3_key, _S3_KMS, _via("s3", _s3_context)),),
    ("s3:PutObject",): (Row("kms:GenerateDataKey", _s3_key, _S3_KMS, _via("s3", _s3_context)),),
    ("s3:CreateMultipartUpload", "s3:UploadPart", "s3:CompleteMultipartUpload"): (
        Row("kms:GenerateDataKey", _s3_key, _S3_KMS, _via("s3", _s3_context)),
        Row("kms:Decrypt", _s3_key, _S3_KMS, _via("s3", _s3_context)),
    ),
    ("dynamodb:CreateTable",): (
        Row("kms:DescribeKey", _given_key("SSESpecification.KMSMasterKeyId"), _DYNAMODB_KMS, _via("dynamodb")),
        Row(
            "kms:CreateGrant",
            _given_key("SSESpecification.KMSMasterKeyId"),
            _DYNAMODB_KMS,
            _via("dynamodb", for_resource=True),
        ),
    ),
    tuple(f"dynamodb:{name}" for name in ("GetItem", "PutItem", "DeleteItem", "UpdateItem", "Query", "Scan")): (
        Row("kms:Decrypt", _key_of("TableName"), _DYNAMODB_KMS, _via("dynamodb", _table_context)),
    ),
    ("secretsmanager:GetSecretValue",): (
        Row("kms:Decrypt", _key_of("SecretId"), _SECRETS_KMS, _via("secretsmanager", _secret_context)),
    ),
    ("secretsmanager:CreateSecret", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecret"): (
        Row("kms:GenerateDataKey", _given_key("KmsKeyId"), _SECRETS_KMS, _via("secretsmanager")),
        Row("kms:Decrypt", _given_key("KmsKeyId"), _SECRETS_KMS, _via("secretsmanager")),
    ),
    ("ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath", "ssm:GetParameterHistory"): (
        Row("kms:Decrypt", _key_of("Name"), _SSM_KMS, _via("ssm", _parameter_context), when=_decrypts),
    ),
    ("ssm:PutParameter",): (
        Row("kms:Encrypt", _given_key("KeyId"), _SSM_KMS, _via("ssm", _parameter_context), when=_secure),
    ),
    ("sns:Publish",): (
        Row("kms:GenerateDataKey", _key_of("TopicArn"), _SNS_KMS, _via("sns", _topic_context)),
        Row("kms:Decrypt", _key_of("TopicArn"), _SNS_KMS, _via("sns", _topic_context)),
    ),
    ("sqs:SendMessage", "sqs:SendMessageBatch"): (
        Row("kms:GenerateDataKey", _key_of("QueueUrl"), _SQS_KMS, _via("sqs")),
        Row("kms:Decrypt", _key_of("QueueUrl"), _SQS_KMS, _via("sqs")),
    ),
    ("sqs:ReceiveMessage",): (Row("kms:Decrypt", _key_of("QueueUrl"), _SQS_KMS, _via("sqs")),),
    (
        "rds:CreateDBCluster",
        "rds:RestoreDBClusterFromSnapshot",
        "rds:RestoreDBClusterToPointInTime",
        "rds:ModifyDBCluster",
    ): (
        _pass("MonitoringRoleArn", "monitoring.rds.amazonaws.com"),
        _service_linked("rds.amazonaws.com"),
        Row("kms:DescribeKey", _given_key("KmsKeyId"), _RDS, _via("rds")),
        Row("kms:CreateGrant", _given_key("KmsKeyId"), _RDS, _via("rds", for_resource=True)),
        Row("secretsmanager:CreateSecret", _managed_secret, _RDS, when=_managed_password),
        Row("secretsmanager:TagResource", _managed_secret, _RDS, when=_managed_password),
        Row("kms:DescribeKey", _given_key("MasterUserSecretKmsKeyId"), _RDS, _via("secretsmanager"), _managed_password),
        Row("kms:Decrypt", _given_key("MasterUserSecretKmsKeyId"), _RDS, _via("secretsmanager"), _managed_password),
        Row(
            "kms:GenerateDataKey",
            _given_key("MasterUserSecretKmsKeyId"),
            _RDS,
            _via("secretsmanager"),
            _managed_password,
        ),
        Row(
            "kms:CreateGrant",
            _given_key("MasterUserSecretKmsKeyId"),
            _RDS,
            _via("secretsmanager", for_resource=True),
            _managed_password,
        ),
        Row(
            "secretsmanager:RotateSecret",
            _managed_secret,
            _RDS,
            when=lambda call, _state: bool(call.parameters.get("RotateMasterUserPassword")),
        ),
    ),
    ("rds:CreateDBInstance", "rds:ModifyDBInstance"): (
        _pass("MonitoringRoleArn", "monitoring.rds.amazonaws.com"),
        _service_linked("rds.amazonaws.com"),
        Row("kms:DescribeKey", _given_key("KmsKeyId"), _RDS, _via("rds")),
        Row("kms:CreateGrant", _given_key("KmsKeyId"), _RDS, _via("rds", for_resource=True)),
    ),
    ("ecr:CreateRepository",): (
        Row("kms:DescribeKey", _given_key("encryptionConfiguration.kmsKey"), _ECR_KMS, _via("ecr")),
        Row("kms:CreateGrant", _given_key("encryptionConfiguration.kmsKey"), _ECR_KMS, _via("ecr", for_resource=True)),
    ),
    ("ecr:DeleteRepository",): (Row("kms:RetireGrant", _key_of("repositoryName"), _ECR_KMS, _via("ecr")),),
    ("backup:CreateBackupVault",): (
        Row("kms:DescribeKey", _given_key("EncryptionKeyArn"), _BACKUP_KMS, _via("backup")),
        Row("kms:CreateGrant", _given_key("EncryptionKeyArn"), _BACKUP_KMS, _via("backup", for_resource=True)),
        Row("kms:GenerateDataKey", _given_key("EncryptionKeyArn"), _BACKUP_KMS, _via("backup")),
        Row("kms:Decrypt", _given_key("EncryptionKeyArn"), _BACKUP_KMS, _via("backup")),
        Row("kms:RetireGrant", _given_key("EncryptionKeyArn"), _BACKUP_KMS, _via("backup")),
        Row("backup-storage:MountCapsule", "", _BACKUP_KMS),
    ),
    # KMS for a service itself: its key's policy has to admit it.
    ("logs:CreateLogGroup", "logs:AssociateKmsKey"): tuple(
        Row(f"kms:{action}", _logs_key, _LOGS_KMS, _logs_keys, of=_logs_principal, code="InvalidParameterException")
        for action in ("Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey")
    ),
    # Other services for the caller.
    ("ec2:CreateVpcEndpoint", "ec2:ModifyVpcEndpoint"): (
        Row(
            "route53:AssociateVPCWithHostedZone",
            "",
            "_/vpc/latest/privatelink/create-interface-endpoint.html#prerequisites",
            when=lambda call, _state: bool(call.parameters.get("PrivateDnsEnabled")),
        ),
    ),
    ("elasticloadbalancing:CreateLoadBalancer",): (_service_linked("elasticloadbalancing.amazonaws.com"),),
    ("wafv2:AssociateWebACL", "wafv2:DisassociateWebACL"): (Row("elasticloadbalancing:SetWebAcl", _balancers, _WAF),),
    ("wafv2:GetWebACLForResource",): (Row("elasticloadbalancing:GetLoadBalancerWebACL", _balancers, _WAF),),
    ("wafv2:PutLoggingConfiguration",): (
        *(
            Row(f"logs:{action}", "", _WAF_LOGS)
            for action in ("CreateLogDelivery", "DescribeLogGroups", "DescribeResourcePolicies", "PutResourcePolicy")
        ),
        _service_linked("wafv2.amazonaws.com"),
    ),
    ("wafv2:DeleteLoggingConfiguration",): (Row("logs:DeleteLogDelivery", "", _WAF_LOGS),),
    ("s3:CopyObject",): (
        Row(
            "s3:GetObject",
            lambda call, _state: [f"arn:{call.partition}:s3:::{str(call.parameters['CopySource']).lstrip('/')}"],
            "_/AmazonS3/latest/API/API_CopyObject.html",
        ),
    ),
}
ROWS: dict[str, tuple[Row, ...]] = {}
for _names, _rows in _ROWS_OF.items():
    for _name in _names:
        ROWS[_name] = ROWS.get(_name, ()) + _rows
