"""What a call asks for beside its own action: roles that it passes, and what a service does in the caller's name.

Each row has its source; `_` stands for https://docs.aws.amazon.com, SAR for the Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ops.rehearsal.iam.call import Call, State, encryption_context, resources, values
from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.iam.exceptions import actions_of, function_name


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


_RUN_TASK = "_/AmazonECS/latest/developerguide/CWE_IAM_role.html: iam:PassRole for the roles of the task definition"
_ROLES = "_/IAM/latest/UserGuide/id_roles_use_passrole.html; SAR, dependent actions"


def _pass(path: str, service: str) -> Row:
    return Row("iam:PassRole", path, _ROLES, {"iam:PassedToService": service})


def _via(
    service: str, context: Callable[[Call, State], Mapping[str, str]] | None = None, *, for_resource: bool = False
) -> Callable[[Call, State, str], Mapping[str, Value | None]]:
    """Return the keys of a KMS call that a service makes for its caller."""

    def keys(call: Call, state: State, _arn: str) -> Mapping[str, Value | None]:
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
        found = [
            state.resolve("kms", "KeyId", value) for value in values(call.parameters, path) if "alias/aws/" not in value
        ]
        return [key for key in found if key]

    return keys


def _key_of(path: str) -> Callable[[Call, State], list[str]]:
    """Return the customer's key of the resource that the call is about."""

    def keys(call: Call, state: State) -> list[str]:
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
    names = call.parameters.get("Names") or [call.parameters.get("Name", "")]
    if len(names) > 1:
        raise UndecidableError("the encryption contexts of several parameters in one call")
    name = str(names[0]).partition(":parameter/")[2] or str(names[0]).removeprefix("/")
    return {"PARAMETER_ARN": f"arn:{call.partition}:ssm:{call.region}:{call.account}:parameter/{name}"}


def _topic_context(call: Call, _state: State) -> Mapping[str, str]:
    return {"aws:sns:topicArn": str(call.parameters.get("TopicArn"))}


def _decrypts(call: Call, _state: State) -> bool:
    return bool(call.parameters.get("WithDecryption"))


def _secure(call: Call, _state: State) -> bool:
    return call.parameters.get("Type") == "SecureString"


def _function_context(call: Call, _state: State) -> Mapping[str, str]:
    name = function_name(str(call.parameters["FunctionName"]))
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


def _interface(call: Call, _state: State) -> list[str]:
    """What Lambda makes in the function's subnets with its role: the interface, in these subnets and groups."""
    prefix = f"arn:{call.partition}:ec2:{call.region}:{call.account}"
    vpc = call.parameters.get("VpcConfig") or {}
    return [
        f"{prefix}:network-interface/*",
        *(f"{prefix}:subnet/{name}" for name in vpc.get("SubnetIds") or ()),
        *(f"{prefix}:security-group/{name}" for name in vpc.get("SecurityGroupIds") or ()),
    ]


def _new_interface(call: Call, state: State) -> list[str]:
    return _interface(call, state)[:1]


def _execution_role(call: Call, state: State) -> str:
    return str(
        call.parameters.get("Role")
        or state.look("role of function", function_name(str(call.parameters["FunctionName"])))
    )


def _roles_of_definition(call: Call, state: State) -> list[str]:
    return list(state.look("roles of task definition", str(call.parameters.get("taskDefinition"))))


def _balancers(call: Call, _state: State) -> list[str]:
    found = str(call.parameters.get("ResourceArn", ""))
    return [found] if ":loadbalancer/" in found else []


def _vpc_of_groups(call: Call, state: State) -> list[str]:
    prefix = f"arn:{call.partition}:ec2:{call.region}:{call.account}:security-group"
    groups = (call.parameters.get("SecurityGroups") or ())[:1]
    return [str(vpc) for group in groups if (vpc := state.keys(f"{prefix}/{group}").get("ec2:Vpc"))]


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
_BALANCER = "_/elasticloadbalancing/latest/userguide/elb-api-permissions.html"
_SCALING = "_/autoscaling/application/userguide/security_iam_id-based-policy-examples.html"

_ROWS_OF: dict[tuple[str, ...], tuple[Row, ...]] = {
    # A role is handed to a service.
    ("ecs:RegisterTaskDefinition",): (
        _pass("taskRoleArn", "ecs-tasks.amazonaws.com"),
        _pass("executionRoleArn", "ecs-tasks.amazonaws.com"),
    ),
    ("ecs:RunTask",): (
        Row("iam:PassRole", _roles_of_definition, _RUN_TASK, {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
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
                on,
                _LAMBDA_VPC,
                when=_in_vpc,
                of=_execution_role,
                code="InvalidParameterValueException",
            )
            for action, on in (("CreateNetworkInterface", _interface), ("DeleteNetworkInterface", _new_interface))
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
        for action in ("Encrypt", "Decrypt", "GenerateDataKey")
    ),
    # Other services for the caller.
    ("ec2:CreateVpcEndpoint", "ec2:ModifyVpcEndpoint"): (
        Row(
            "route53:AssociateVPCWithHostedZone",
            # The zone is AWS's own, and its id is not told before.
            lambda call, _state: [f"arn:{call.partition}:route53:::hostedzone/*"],
            "_/vpc/latest/privatelink/create-interface-endpoint.html#prerequisites",
            when=lambda call, _state: bool(call.parameters.get("PrivateDnsEnabled")),
        ),
    ),
    ("elasticloadbalancing:CreateLoadBalancer",): (
        _service_linked("elasticloadbalancing.amazonaws.com"),
        *(
            Row(f"ec2:Describe{what}", "", _BALANCER)
            for what in ("AccountAttributes", "Addresses", "InternetGateways", "SecurityGroups", "Subnets", "Vpcs")
        ),
        Row(
            "ec2:GetSecurityGroupsForVpc",
            _vpc_of_groups,
            "https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/3917: what AWS answers without it",
        ),
    ),
    ("wafv2:AssociateWebACL",): (
        Row("elasticloadbalancing:SetWebAcl", _balancers, _WAF),
        Row("elasticloadbalancing:CreateWebACLAssociation", _balancers, "SAR of WAF, dependent actions"),
    ),
    ("wafv2:DisassociateWebACL",): (
        Row("elasticloadbalancing:SetWebAcl", _balancers, _WAF),
        Row("elasticloadbalancing:DeleteWebACLAssociation", _balancers, "SAR of WAF, dependent actions"),
    ),
    ("wafv2:GetWebACLForResource",): (Row("elasticloadbalancing:GetLoadBalancerWebACL", _balancers, _WAF),),
    ("wafv2:PutLoggingConfiguration",): (
        *(
            Row(f"logs:{action}", "", _WAF_LOGS)
            for action in ("CreateLogDelivery", "DescribeLogGroups", "DescribeResourcePolicies", "PutResourcePolicy")
        ),
        _service_linked("wafv2.amazonaws.com"),
    ),
    ("wafv2:DeleteLoggingConfiguration",): (Row("logs:DeleteLogDelivery", "", _WAF_LOGS),),
    ("guardduty:CreateMalwareProtectionPlan",): (_pass("Role", "malware-protection-plan.guardduty.amazonaws.com"),),
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
