"""What roles must not be able to do to others: a table, one row for each attempt, and what became of each.

Each attempt is a real call to the simulated AWS, made with the keys of a role. It counts as refused only when IAM says so; that
something is not there, or that a parameter is wrong, is no proof. What is recognised by tags is planted before: keys, a
secret, a network and flags of another environment, of which the rehearsal brings up only one.

Words in braces are facts: `{own[…]}` and `{other[…]}` are names of infra/config in the rehearsed and in another environment,
`{key}` and its like are what was planted there. A row whose facts a project does not have is left out.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from ops.rehearsal.deployed import client
from ops.rehearsal.sign_in import Keys

EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
TRUSTS_ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
)
FOR_ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
)
REFUSALS = re.compile(r"AccessDenied|Unauthorized|AuthorizationError|NotAuthorized")
NOT_AUTHORIZED = re.compile(r"(?i)not authorized to perform:? ?(\S+)(?: on resource: (\S+))?(.*)", re.DOTALL)


@dataclass(frozen=True)
class Attempt:
    """A row: `who` tries `what`, by a call of boto3."""

    who: str
    what: str
    service: str
    operation: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Attempted:
    """What became of an attempt; `because` is the statement that stood in the way, or what happened instead."""

    who: str
    what: str
    call: str
    refused: bool
    because: str


def _tags(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _kms(**tags: str) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


OWN = {"application": "{app}", "environment": "{environment}"}
OTHERS = {"application": "{app}", "environment": "{another}"}
ANYWHERE = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
FUNCTION = {"Runtime": "python3.13", "Handler": "x.y", "Code": {"ZipFile": b"UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="}}
CONTAINERS = [{"name": "x", "image": "x", "memory": 512}]

# From one environment to another.
APPLY = [
    Attempt("apply", "retag the other's key as its own", "kms", "tag_resource", {"KeyId": "{key}", "Tags": _kms(**OWN)}),
    Attempt("apply", "decrypt with the other's key", "kms", "decrypt", {"KeyId": "{key}", "CiphertextBlob": "{ciphertext}"}),
    Attempt("apply", "change the policy of the other's key", "kms", "put_key_policy",
            {"KeyId": "{key}", "PolicyName": "default", "Policy": "{for_all}"}),
    Attempt("apply", "delete the other's key", "kms", "schedule_key_deletion", {"KeyId": "{key}", "PendingWindowInDays": 7}),
    Attempt("apply", "grant itself the other's key", "kms", "create_grant",
            {"KeyId": "{key}", "GranteePrincipal": "{roles[apply_role]}", "Operations": ["Decrypt"]}),
    Attempt("apply", "move the other's alias to another key", "kms", "update_alias",
            {"AliasName": "{other[service_key]}", "TargetKeyId": "{key}"}),
    Attempt("apply", "make a key that says it is the other's", "kms", "create_key", {"Tags": _kms(**OTHERS)}),
    Attempt("apply", "read the other's master password", "secretsmanager", "get_secret_value", {"SecretId": "{secret}"}),
    Attempt("apply", "retag the other's master secret as its own", "secretsmanager", "tag_resource",
            {"SecretId": "{secret}", "Tags": _tags(**OWN)}),
    Attempt("apply", "run a new function as the other's role manager", "lambda", "create_function",
            {"FunctionName": "{own[service]}-thief", "Role": "{other_roles[role_manager]}", **FUNCTION}),
    Attempt("apply", "change the code of the other's role manager", "lambda", "update_function_code",
            {"FunctionName": "{other[role_manager]}", "ZipFile": b"x"}),
    Attempt("apply", "let everybody invoke the other's role manager", "lambda", "add_permission",
            {"FunctionName": "{other[role_manager]}", "StatementId": "x", "Action": "lambda:InvokeFunction", "Principal": "*"}),
    Attempt("apply", "invoke the other's role manager", "lambda", "invoke", {"FunctionName": "{other[role_manager]}"}),
    Attempt("apply", "give a task of its own the other's role", "ecs", "register_task_definition",
            {"family": "{own[service]}-thief", "taskRoleArn": "{other_roles[task_role]}", "containerDefinitions": CONTAINERS}),
    Attempt("apply", "start a task in the other's cluster", "ecs", "run_task",
            {"cluster": "{other[service]}", "taskDefinition": "{other[service]}"}),
    Attempt("apply", "run the other's task definition as its own service", "ecs", "create_service",
            {"cluster": "{own[service]}", "serviceName": "{own[service]}-thief", "taskDefinition": "{other[service]}"}),
    Attempt("apply", "change the other's service", "ecs", "update_service",
            {"cluster": "{other[service]}", "service": "{other[service]}", "desiredCount": 0}),
    Attempt("apply", "open a shell in the other's task", "ecs", "execute_command",
            {"cluster": "{other[service]}", "task": "a" * 32, "command": "/bin/sh", "interactive": True}),
    Attempt("apply", "make a role without the boundary", "iam", "create_role",
            {"RoleName": "{own[service]}-thief", "Path": "{role_path}", "AssumeRolePolicyDocument": "{trusts_all}"}),
    Attempt("apply", "make a role with another policy for its boundary", "iam", "create_role",
            {"RoleName": "{own[service]}-thief", "Path": "{role_path}", "AssumeRolePolicyDocument": "{trusts_all}",
             "PermissionsBoundary": "{administrator_policy}"}),
    Attempt("apply", "take the boundary off a role of its own", "iam", "delete_role_permissions_boundary",
            {"RoleName": "{own[task_role]}"}),
    Attempt("apply", "put another boundary on a role of its own", "iam", "put_role_permissions_boundary",
            {"RoleName": "{own[task_role]}", "PermissionsBoundary": "{administrator_policy}"}),
    Attempt("apply", "widen its boundary", "iam", "create_policy_version",
            {"PolicyArn": "{boundary}", "PolicyDocument": "{everything}", "SetAsDefault": True}),
    Attempt("apply", "widen its own policy", "iam", "create_policy_version",
            {"PolicyArn": "{own_policy}", "PolicyDocument": "{everything}", "SetAsDefault": True}),
    Attempt("apply", "give itself another policy", "iam", "put_role_policy",
            {"RoleName": "{own[apply_role]}", "PolicyName": "x", "PolicyDocument": "{everything}"}),
    Attempt("apply", "make itself an administrator", "iam", "attach_role_policy",
            {"RoleName": "{own[apply_role]}", "PolicyArn": "{administrator_policy}"}),
    Attempt("apply", "give the other's task role a policy", "iam", "put_role_policy",
            {"RoleName": "{other[task_role]}", "PolicyName": "x", "PolicyDocument": "{everything}"}),
    Attempt("apply", "let everybody become the other's apply role", "iam", "update_assume_role_policy",
            {"RoleName": "{other[apply_role]}", "PolicyDocument": "{trusts_all}"}),
    Attempt("apply", "let everybody become the build role", "iam", "update_assume_role_policy",
            {"RoleName": "{own[build_role]}", "PolicyDocument": "{trusts_all}"}),
    Attempt("apply", "let everybody become its own apply role", "iam", "update_assume_role_policy",
            {"RoleName": "{own[apply_role]}", "PolicyDocument": "{trusts_all}"}),
    Attempt("apply", "give the plan role a policy", "iam", "attach_role_policy",
            {"RoleName": "{own[plan_role]}", "PolicyArn": "{administrator_policy}"}),
    Attempt("apply", "make a user", "iam", "create_user", {"UserName": "thief"}),
    Attempt("apply", "make keys of the administrator", "iam", "create_access_key", {"UserName": "administrator"}),
    Attempt("apply", "trust another identity provider", "iam", "create_open_id_connect_provider",
            {"Url": "https://thief.example.com", "ThumbprintList": ["0" * 40]}),
    Attempt("apply", "take another audience from GitHub", "iam", "add_client_id_to_open_id_connect_provider",
            {"OpenIDConnectProviderArn": "{provider}", "ClientID": "thief"}),
    Attempt("apply", "become the other's apply role", "sts", "assume_role",
            {"RoleArn": "{other_roles[apply_role]}", "RoleSessionName": "thief"}),
    Attempt("apply", "open the other's security group", "ec2", "authorize_security_group_ingress",
            {"GroupId": "{security_group}", "IpPermissions": ANYWHERE}),
    Attempt("apply", "let everything out of the other's security group", "ec2", "authorize_security_group_egress",
            {"GroupId": "{security_group}", "IpPermissions": ANYWHERE}),
    Attempt("apply", "retag the other's security group as its own", "ec2", "create_tags",
            {"Resources": ["{security_group}"], "Tags": _tags(**OWN)}),
    Attempt("apply", "retag the other's network as its own", "ec2", "create_tags",
            {"Resources": ["{vpc}", "{route_table}"], "Tags": _tags(**OWN)}),
    Attempt("apply", "lead the other's subnets to the internet", "ec2", "create_route",
            {"RouteTableId": "{route_table}", "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "{gateway}"}),
    Attempt("apply", "open the other's endpoint to everybody", "ec2", "modify_vpc_endpoint",
            {"VpcEndpointId": "{endpoint}", "PolicyDocument": "{for_all}"}),
    Attempt("apply", "make a subnet in the other's network", "ec2", "create_subnet",
            {"VpcId": "{vpc}", "CidrBlock": "10.99.9.0/28",
             "TagSpecifications": [{"ResourceType": "subnet", "Tags": _tags(**OWN)}]}),
    Attempt("apply", "make a security group that says it is the other's", "ec2", "create_security_group",
            {"GroupName": "thief", "Description": "x", "VpcId": "{own_vpc}",
             "TagSpecifications": [{"ResourceType": "security-group", "Tags": _tags(**OTHERS)}]}),
    Attempt("apply", "stop the other's flow logs", "ec2", "delete_flow_logs", {"FlowLogIds": ["{flow_log}"]}),
    Attempt("apply", "delete the other's network", "ec2", "delete_vpc", {"VpcId": "{vpc}"}),
    Attempt("apply", "read the other's state", "s3", "get_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{another}.tfstate"}),
    Attempt("apply", "write the other's state", "s3", "put_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{another}.tfstate", "Body": b"{}"}),
    Attempt("apply", "delete the other's state", "s3", "delete_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{another}.tfstate"}),
    Attempt("apply", "write the account's state", "s3", "put_object",
            {"Bucket": "{own[state_bucket]}", "Key": "account.tfstate", "Body": b"{}"}),
    Attempt("apply", "open the state bucket to everybody", "s3", "put_bucket_policy",
            {"Bucket": "{own[state_bucket]}", "Policy": "{for_all}"}),
    Attempt("apply", "forget older states", "s3", "put_bucket_versioning",
            {"Bucket": "{own[state_bucket]}", "VersioningConfiguration": {"Status": "Suspended"}}),
    Attempt("apply", "delete the locks of all states", "dynamodb", "delete_table", {"TableName": "{locks_table}"}),
    Attempt("apply", "read the other's incident URL", "ssm", "get_parameter",
            {"Name": "{other[incident_url_parameter]}", "WithDecryption": True}),
    Attempt("apply", "send the other's alarms elsewhere", "ssm", "put_parameter",
            {"Name": "{other[incident_url_parameter]}", "Value": "x", "Type": "SecureString", "Overwrite": True}),
    Attempt("apply", "say which image the other runs", "ssm", "put_parameter",
            {"Name": "{other[image_parameter]}", "Value": "x", "Type": "String", "Overwrite": True}),
    Attempt("apply", "write the other's flags", "appconfig", "create_hosted_configuration_version",
            {"ApplicationId": "{flags_application}", "ConfigurationProfileId": "{flags_profile}", "Content": b"{}",
             "ContentType": "application/json"}),
    Attempt("apply", "delete the other's flags", "appconfig", "delete_application", {"ApplicationId": "{flags_application}"}),
    Attempt("apply", "set the other's master password", "rds", "modify_db_cluster",
            {"DBClusterIdentifier": "{other_database}", "MasterUserPassword": "x" * 20}),
    Attempt("apply", "delete the other's database", "rds", "delete_db_cluster",
            {"DBClusterIdentifier": "{other_database}", "SkipFinalSnapshot": True}),
    Attempt("apply", "copy the other's database", "rds", "create_db_cluster_snapshot",
            {"DBClusterIdentifier": "{other_database}", "DBClusterSnapshotIdentifier": "{own[service]}-thief"}),
    Attempt("apply", "read the other's log", "logs", "get_log_events",
            {"logGroupName": "{other[service_log_group]}", "logStreamName": "x"}),
    Attempt("apply", "delete the other's log", "logs", "delete_log_group", {"logGroupName": "{other[service_log_group]}"}),
    Attempt("apply", "subscribe to the other's alarms", "sns", "subscribe",
            {"TopicArn": "{other_topic}", "Protocol": "https", "Endpoint": "https://thief.example.com"}),
    Attempt("apply", "send events of its own to the other's alarms", "events", "put_targets",
            {"Rule": "{own[service]}-thief", "Targets": [{"Id": "x", "Arn": "{other_topic}"}]}),
    Attempt("apply", "delete the other's alarms", "cloudwatch", "delete_alarms", {"AlarmNames": ["{other[service]}-errors"]}),
    Attempt("apply", "delete the other's load balancer", "elbv2", "delete_load_balancer",
            {"LoadBalancerArn": "{other_load_balancer}"}),
    Attempt("apply", "read the other's access logs", "s3", "get_object", {"Bucket": "{other[log_bucket]}", "Key": "x"}),
    Attempt("apply", "read the other's files", "s3", "get_object", {"Bucket": "{other[files_bucket]}", "Key": "x"}),
    Attempt("apply", "push an image", "ecr", "put_image",
            {"repositoryName": "{own[build_repository]}", "imageManifest": "{manifest}", "imageTag": "thief"}),
    Attempt("apply", "open the build repository to everybody", "ecr", "set_repository_policy",
            {"repositoryName": "{own[build_repository]}", "policyText": "{for_all}"}),
]  # fmt: skip

# From a pull request's own environment to the one beside which it is.
PREVIEW = [
    Attempt("preview", "push an image under main's next tag", "ecr", "put_image",
            {"repositoryName": "{own[build_repository]}", "imageManifest": "{manifest}", "imageTag": "0" * 40}),
    Attempt("preview", "deploy its image as the environment's", "ecs", "update_service",
            {"cluster": "{own[service]}", "service": "{own[service]}", "taskDefinition": "x"}),
    Attempt("preview", "run the environment's task definition as its own service", "ecs", "create_service",
            {"cluster": "{own[service]}-pr-7", "serviceName": "{own[service]}-pr-7", "taskDefinition": "{own[service]}"}),
    Attempt("preview", "say which image the environment runs", "ssm", "put_parameter",
            {"Name": "{own[image_parameter]}", "Value": "x", "Type": "String", "Overwrite": True}),
    Attempt("preview", "read the environment's incident URL", "ssm", "get_parameter",
            {"Name": "{incident_url}", "WithDecryption": True}),
    Attempt("preview", "read it with the others of its path", "ssm", "get_parameters_by_path",
            {"Path": "/{app}/{environment}", "WithDecryption": True}),
    Attempt("preview", "read it in the environment's state", "s3", "get_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{environment}.tfstate"}),
    Attempt("preview", "write the environment's state", "s3", "put_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{environment}.tfstate", "Body": b"{}"}),
    Attempt("preview", "read the master password", "secretsmanager", "get_secret_value", {"SecretId": "{own_secret}"}),
    Attempt("preview", "set the master password", "rds", "modify_db_cluster",
            {"DBClusterIdentifier": "{own_database}", "MasterUserPassword": "x" * 20}),
    Attempt("preview", "change the role manager's code", "lambda", "update_function_code",
            {"FunctionName": "{own[role_manager]}", "ZipFile": b"x"}),
    Attempt("preview", "give the environment's task role a policy", "iam", "put_role_policy",
            {"RoleName": "{own[task_role]}", "PolicyName": "x", "PolicyDocument": "{everything}"}),
    Attempt("preview", "let everybody become the apply role", "iam", "update_assume_role_policy",
            {"RoleName": "{own[apply_role]}", "PolicyDocument": "{trusts_all}"}),
    Attempt("preview", "make a role without the boundary", "iam", "create_role",
            {"RoleName": "{own[service]}-pr-7-thief", "Path": "{role_path}", "AssumeRolePolicyDocument": "{trusts_all}"}),
    Attempt("preview", "give its task the role manager's role", "lambda", "create_function",
            {"FunctionName": "{own[service]}-pr-7-thief", "Role": "{own_roles[role_manager]}", **FUNCTION}),
    Attempt("preview", "open the database's security group", "ec2", "authorize_security_group_ingress",
            {"GroupId": "{own_database_group}", "IpPermissions": ANYWHERE}),
    Attempt("preview", "delete the environment's load balancer", "elbv2", "delete_load_balancer",
            {"LoadBalancerArn": "{own_load_balancer}"}),
    Attempt("preview", "write another environment's state", "s3", "put_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{another}.tfstate", "Body": b"{}"}),
    Attempt("preview", "decrypt with another environment's key", "kms", "decrypt",
            {"KeyId": "{key}", "CiphertextBlob": "{ciphertext}"}),
]  # fmt: skip

# Roles that only look, only push, or only serve.
OTHER_ROLES = [
    Attempt("plan", "read the master password", "secretsmanager", "get_secret_value", {"SecretId": "{own_secret}"}),
    Attempt("plan", "write a state", "s3", "put_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{environment}.tfstate", "Body": b"{}"}),
    Attempt("plan", "invoke the role manager", "lambda", "invoke", {"FunctionName": "{own[role_manager]}"}),
    Attempt("plan", "read another application's function", "lambda", "get_function", {"FunctionName": "{stranger}-dev-function"}),
    Attempt("plan", "push an image", "ecr", "put_image",
            {"repositoryName": "{own[build_repository]}", "imageManifest": "{manifest}", "imageTag": "thief"}),
    Attempt("plan", "deploy", "ecs", "update_service",
            {"cluster": "{own[service]}", "service": "{own[service]}", "desiredCount": 0}),
    Attempt("plan", "open a shell in a task", "ecs", "execute_command",
            {"cluster": "{own[service]}", "task": "a" * 32, "command": "/bin/sh", "interactive": True}),
    Attempt("plan", "make itself an administrator", "iam", "attach_role_policy",
            {"RoleName": "{own[plan_role]}", "PolicyArn": "{administrator_policy}"}),
    Attempt("plan", "become an apply role", "sts", "assume_role",
            {"RoleArn": "{roles[apply_role]}", "RoleSessionName": "thief"}),
    Attempt("plan", "decrypt with an environment's key", "kms", "decrypt", {"KeyId": "{key}", "CiphertextBlob": "{ciphertext}"}),
    Attempt("plan", "open a security group", "ec2", "authorize_security_group_ingress",
            {"GroupId": "{security_group}", "IpPermissions": ANYWHERE}),
    Attempt("plan", "delete the locks of all states", "dynamodb", "delete_table", {"TableName": "{locks_table}"}),
    Attempt("build", "read a state", "s3", "get_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{environment}.tfstate"}),
    Attempt("build", "delete images", "ecr", "batch_delete_image",
            {"repositoryName": "{own[build_repository]}", "imageIds": [{"imageTag": "rehearsal"}]}),
    Attempt("build", "open the build repository to everybody", "ecr", "set_repository_policy",
            {"repositoryName": "{own[build_repository]}", "policyText": "{for_all}"}),
    Attempt("build", "deploy what it built", "ecs", "update_service",
            {"cluster": "{own[service]}", "service": "{own[service]}", "desiredCount": 0}),
    Attempt("build", "become an apply role", "sts", "assume_role",
            {"RoleArn": "{roles[apply_role]}", "RoleSessionName": "thief"}),
    Attempt("task", "read the master password", "secretsmanager", "get_secret_value", {"SecretId": "{own_secret}"}),
    Attempt("task", "read the incident URL", "ssm", "get_parameter",
            {"Name": "{incident_url}", "WithDecryption": True}),
    Attempt("task", "read a state", "s3", "get_object",
            {"Bucket": "{own[state_bucket]}", "Key": "service/{environment}.tfstate"}),
    Attempt("task", "push an image", "ecr", "put_image",
            {"repositoryName": "{own[build_repository]}", "imageManifest": "{manifest}", "imageTag": "thief"}),
    Attempt("task", "run a task as the migrations' role", "ecs", "run_task",
            {"cluster": "{own[service]}", "taskDefinition": "{own[migrate]}"}),
    Attempt("task", "invoke the role manager", "lambda", "invoke", {"FunctionName": "{own[role_manager]}"}),
    Attempt("task", "launch a flag", "appconfig", "create_hosted_configuration_version",
            {"ApplicationId": "{flags_application}", "ConfigurationProfileId": "{flags_profile}", "Content": b"{}",
             "ContentType": "application/json"}),
    Attempt("task", "read another environment's flags", "appconfigdata", "start_configuration_session",
            {"ApplicationIdentifier": "{flags_application}", "EnvironmentIdentifier": "{flags_environment}",
             "ConfigurationProfileIdentifier": "{flags_profile}"}),
    Attempt("task", "decrypt with another environment's key", "kms", "decrypt",
            {"KeyId": "{key}", "CiphertextBlob": "{ciphertext}"}),
    Attempt("task", "become an apply role", "sts", "assume_role",
            {"RoleArn": "{roles[apply_role]}", "RoleSessionName": "thief"}),
    Attempt("task", "make itself an administrator", "iam", "attach_role_policy",
            {"RoleName": "{own[task_role]}", "PolicyArn": "{administrator_policy}"}),
    Attempt("execution", "read the other's incident URL", "ssm", "get_parameters",
            {"Names": ["{other[incident_url_parameter]}"], "WithDecryption": True}),
    Attempt("role manager", "read the other's master password", "secretsmanager", "get_secret_value", {"SecretId": "{secret}"}),
    Attempt("role manager", "decrypt with the other's key", "kms", "decrypt",
            {"KeyId": "{key}", "CiphertextBlob": "{ciphertext}"}),
]  # fmt: skip

# Jobs of GitHub that ask for a role that is not theirs, by the token that they have.
JOBS = [
    Attempt("a job", f"become {what}", "sts", "assume_role_with_web_identity",
            {"RoleArn": role, "RoleSessionName": "thief", "WebIdentityToken": f"{{tokens[{token}]}}"})
    for what, role, token in (
        ("another environment's apply role", "{other_roles[apply_role]}", "apply"),
        ("an apply role from another branch", "{roles[apply_role]}", "branch"),
        ("an apply role from a pull request", "{roles[apply_role]}", "pull request"),
        ("an apply role from main without an environment", "{roles[apply_role]}", "main"),
        ("an apply role from a preview", "{roles[apply_role]}", "preview"),
        ("an apply role from a fork of the same name", "{roles[apply_role]}", "fork"),
        ("the build role from a pull request", "{roles[build_role]}", "pull request"),
        ("the build role from a preview", "{roles[build_role]}", "preview"),
        ("the build role from another branch", "{roles[build_role]}", "push to a branch"),
        ("the plan role from a fork of the same name", "{roles[plan_role]}", "fork"),
        ("a task's role", "{own_roles[task_role]}", "apply"),
    )
]  # fmt: skip

# To another application of the account.
STRANGER = [
    Attempt(who, what, service, operation, parameters)
    for who in ("apply", "plan", "build", "task")
    for what, service, operation, parameters in (
        ("read another application's state", "s3", "get_object",
         {"Bucket": "{stranger_bucket}", "Key": "service/dev.tfstate"}),
        ("read another application's parameter", "ssm", "get_parameter",
         {"Name": "/{stranger}/dev/incident-url", "WithDecryption": True}),
    )
]  # fmt: skip

ATTEMPTS = [*APPLY, *PREVIEW, *OTHER_ROLES, *JOBS, *STRANGER]


def attempt(row: Attempt, keys: Keys | None, facts: Mapping[str, Any], region: str, endpoint: str) -> Attempted | None:
    """Make an attempt; returns None where the project does not have what the row is about.

    `keys` are those of who tries; None is a job, which has its token only.
    """
    try:
        parameters = _filled(row.parameters, facts)
    except (KeyError, IndexError):
        return None
    who = keys.name if keys else row.who
    call = f"{row.service} {row.operation}"

    def told(refused: bool, because: str) -> Attempted:
        return Attempted(who, row.what, call, refused, " ".join(because.split()))

    try:
        getattr(client(row.service, region, endpoint, keys), row.operation)(**parameters)
    except ClientError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        said = NOT_AUTHORIZED.search(message)
        if REFUSALS.search(code) and said:
            return told(True, f"{said[1]} {said[3].strip(' .')}")
        return told(False, f"not by IAM: {code}: {message}")
    return told(False, "nothing: it was allowed")


def _filled(value: Any, facts: Mapping[str, Any]) -> Any:
    """Put facts into every text. A text that is one fact alone becomes that fact."""
    if isinstance(value, str):
        alone = re.fullmatch(r"\{(\w+)\}", value)
        return facts[alone[1]] if alone else value.format_map(facts)
    if isinstance(value, Mapping):
        return {key: _filled(item, facts) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, facts) for item in value]
    return value


@contextlib.contextmanager
def planted(
    administrator: Any, other: Mapping[str, str], tags: Mapping[str, str], *, flags: bool
) -> Iterator[dict[str, Any]]:
    """Make what belongs to another environment, and remove it at the end; yields the facts about it.

    Args:
        administrator: gives clients of the administrator by their service.
        other: names of the other environment.
        tags: with which everything of that environment is tagged.
        flags: whether the project has feature flags.

    """
    facts: dict[str, Any] = {}
    with contextlib.ExitStack() as undo:
        kms, ec2 = administrator("kms"), administrator("ec2")
        key = kms.create_key(Tags=_kms(**tags))["KeyMetadata"]["KeyId"]
        undo.callback(kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=7)
        facts |= {"key": key, "ciphertext": kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]}
        secrets = administrator("secretsmanager")
        name = f"rds!cluster-{key}"
        facts["secret"] = secrets.create_secret(Name=name, SecretString="x", KmsKeyId=key, Tags=_tags(**tags))["ARN"]
        undo.callback(secrets.delete_secret, SecretId=name, ForceDeleteWithoutRecovery=True)

        def tagged(kind: str) -> dict[str, Any]:
            return {"TagSpecifications": [{"ResourceType": kind, "Tags": _tags(**tags)}]}

        vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16", **tagged("vpc"))["Vpc"]["VpcId"]
        undo.callback(ec2.delete_vpc, VpcId=vpc)
        table = ec2.create_route_table(VpcId=vpc, **tagged("route-table"))["RouteTable"]["RouteTableId"]
        undo.callback(ec2.delete_route_table, RouteTableId=table)
        group = ec2.create_security_group(
            GroupName="planted", Description="planted", VpcId=vpc, **tagged("security-group")
        )["GroupId"]
        undo.callback(ec2.delete_security_group, GroupId=group)
        gateway = ec2.create_internet_gateway(**tagged("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
        undo.callback(ec2.delete_internet_gateway, InternetGatewayId=gateway)
        service = f"com.amazonaws.{ec2.meta.region_name}.s3"
        endpoint = ec2.create_vpc_endpoint(
            VpcEndpointType="Gateway", VpcId=vpc, ServiceName=service, **tagged("vpc-endpoint")
        )["VpcEndpoint"]
        undo.callback(ec2.delete_vpc_endpoints, VpcEndpointIds=[endpoint["VpcEndpointId"]])
        logs = administrator("logs")
        logs.create_log_group(logGroupName=other["flow_log_group"])
        undo.callback(logs.delete_log_group, logGroupName=other["flow_log_group"])
        flow_log = ec2.create_flow_logs(
            ResourceIds=[vpc],
            ResourceType="VPC",
            TrafficType="ALL",
            LogDestinationType="s3",
            LogDestination=f"arn:aws:s3:::{other['state_log_bucket']}",
            **tagged("vpc-flow-log"),
        )["FlowLogIds"]
        undo.callback(ec2.delete_flow_logs, FlowLogIds=flow_log)
        facts |= {
            "vpc": vpc,
            "route_table": table,
            "security_group": group,
            "gateway": gateway,
            "endpoint": endpoint["VpcEndpointId"],
            "flow_log": flow_log[0] if flow_log else "",
        }
        if flags:
            appconfig = administrator("appconfig")
            application = appconfig.create_application(Name=other["flags_application"], Tags=dict(tags))["Id"]
            undo.callback(appconfig.delete_application, ApplicationId=application)
            profile = appconfig.create_configuration_profile(
                ApplicationId=application, Name="flags", LocationUri="hosted", Type="AWS.AppConfig.FeatureFlags"
            )["Id"]
            undo.callback(
                appconfig.delete_configuration_profile, ApplicationId=application, ConfigurationProfileId=profile
            )
            environment = appconfig.create_environment(ApplicationId=application, Name="flags", Tags=dict(tags))["Id"]
            undo.callback(appconfig.delete_environment, ApplicationId=application, EnvironmentId=environment)
            facts |= {"flags_application": application, "flags_profile": profile, "flags_environment": environment}
        yield facts
