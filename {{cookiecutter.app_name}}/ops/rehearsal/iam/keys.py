"""Condition keys of one request, as the reference lets an action have them.

Sources: IAM User Guide, "AWS global condition context keys"; each service's table in the Service Authorization Reference. A key
that the reference does not list for an action is absent from its requests, whatever the caller sends, as on AWS. A key
that it lists and that nobody computes here is an `UndecidableError`, and so is a key that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ops.rehearsal.iam import reference
from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.errors import UndecidableError

# In every request, or absent for a reason that the guide states: this machine has no organization, no multi-factor devices,
# no session tags. Of the others none is computed: aws:SourceIp would be the person's address.
GLOBAL = frozenset(
    key.lower()
    for key in (
        "aws:CalledVia",
        "aws:CalledViaFirst",
        "aws:CalledViaLast",
        "aws:CurrentTime",
        "aws:EpochTime",
        "aws:FederatedProvider",
        "aws:MultiFactorAuthAge",
        "aws:MultiFactorAuthPresent",
        "aws:PrincipalAccount",
        "aws:PrincipalArn",
        "aws:PrincipalIsAWSService",
        "aws:PrincipalOrgID",
        "aws:PrincipalOrgPaths",
        "aws:PrincipalServiceName",
        "aws:PrincipalServiceNamesList",
        "aws:PrincipalType",
        "aws:RequestedRegion",
        "aws:ResourceAccount",
        "aws:ResourceOrgID",
        "aws:ResourceOrgPaths",
        "aws:SecureTransport",
        "aws:SourceAccount",
        "aws:SourceArn",
        "aws:SourceOrgID",
        "aws:SourceOrgPaths",
        "aws:SourceOwner",
        "aws:SourceVpc",
        "aws:SourceVpce",
        "aws:SourceIdentity",
        "aws:userid",
        "aws:username",
        "aws:ViaAWSService",
        # Lambda puts it into the calls of a function: https://docs.aws.amazon.com/lambda/latest/dg/permissions-source-function-arn.html
        "lambda:SourceFunctionArn",
    )
)
# Computed for the requests that have them, so absent means absent.
COMPUTED = frozenset(
    key.lower()
    for key in (
        "application-autoscaling:scalable-dimension",
        "application-autoscaling:service-namespace",
        "aws:RequestTag/${TagKey}",
        "aws:TagKeys",
        "dynamodb:LeadingKeys",
        "ec2:AllocationId",
        "ec2:CreateAction",
        "ec2:Region",
        "ec2:RouteTableID",
        "ec2:SecurityGroupID",
        "ec2:SubnetID",
        "ec2:Subnet",
        "ec2:Vpc",
        "ec2:VpcID",
        "ec2:VpceServiceName",
        "ecs:CreateAction",
        "ecs:cluster",
        "ecs:service",
        "ecs:task-definition",
        "elasticloadbalancing:CreateAction",
        "elasticloadbalancing:Scheme",
        "events:TargetArn",
        "iam:AWSServiceName",
        "iam:PassedToService",
        "iam:PermissionsBoundary",
        "iam:PolicyARN",
        "kms:BypassPolicyLockoutSafetyCheck",
        "kms:CallerAccount",
        "kms:EncryptionContext:${EncryptionContextKey}",
        "kms:EncryptionContextKeys",
        "kms:GrantConstraintType",
        "kms:GrantIsForAWSResource",
        "kms:GrantOperations",
        "kms:GranteePrincipal",
        "kms:KeyOrigin",
        "kms:KeySpec",
        "kms:KeyUsage",
        "kms:MultiRegion",
        "kms:RequestAlias",
        "kms:ResourceAliases",
        "kms:ScheduleKeyDeletionPendingWindowInDays",
        "kms:ViaService",
        "lambda:FunctionArn",
        "lambda:Principal",
        "lambda:SecurityGroupIds",
        "lambda:SubnetIds",
        "lambda:VpcIds",
        "rds:DatabaseEngine",
        "rds:ManageMasterUserPassword",
        "rds:req-tag/${TagKey}",
        "route53:ChangeResourceRecordSetsActions",
        "route53:ChangeResourceRecordSetsNormalizedRecordNames",
        "route53:ChangeResourceRecordSetsRecordTypes",
        "s3:ExistingObjectTag/<key>",
        "s3:LocationConstraint",
        "s3:ResourceAccount",
        "s3:TlsVersion",
        "s3:VersionId",
        "s3:delimiter",
        "s3:max-keys",
        "s3:prefix",
        "s3:x-amz-acl",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "secretsmanager:Name",
        "secretsmanager:SecretId",
        "secretsmanager:VersionId",
        "secretsmanager:VersionStage",
        "secretsmanager:resource/AllowRotationLambdaArn",
        "sns:Endpoint",
        "sns:Protocol",
        "ssm:Overwrite",
        "ssm:Recursive",
        "sts:ExternalId",
        "sts:RoleSessionName",
    )
)

# Keys that are a tag of the resource, and what stands before the tag's name.
RESOURCE_TAGS = {
    key.lower(): key.lower().partition("${")[0] if "${" in key else key.lower().removesuffix("tag-key")
    for key in (
        "aws:ResourceTag/${TagKey}",
        "ec2:ResourceTag/${TagKey}",
        "ecr:ResourceTag/${TagKey}",
        "ecs:ResourceTag/${TagKey}",
        "elasticloadbalancing:ResourceTag/${TagKey}",
        "iam:ResourceTag/${TagKey}",
        "rds:cluster-pg-tag/${TagKey}",
        "rds:cluster-snapshot-tag/${TagKey}",
        "rds:cluster-tag/${TagKey}",
        "rds:db-tag/${TagKey}",
        "rds:pg-tag/${TagKey}",
        "rds:subgrp-tag/${TagKey}",
        "secretsmanager:ResourceTag/tag-key",
        "ssm:resourceTag/${TagKey}",
        "ssm:resourceTag/tag-key",
    )
}


class RequestKeys:
    """The keys of one request for one resource.

    Args:
        action: for messages.
        supported: what the reference lists for the action and this type of resource, in lower case.
        values: everything that was computed; what the action does not support is left out.
        tags: returns the tags of the resource; it is called when a policy asks for one of them.

    """

    def __init__(
        self,
        action: str,
        supported: Collection[str],
        values: Mapping[str, Value | None],
        tags: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.action = action
        self.supported = supported
        self.tags = tags
        self.values = {
            key.lower(): value
            for key, value in values.items()
            if value is not None and (key.lower() in GLOBAL or reference.template_of(key) in supported)
        }

    def get(self, key: str, /) -> Value | None:
        """Return a key's value. Raises UndecidableError for a key that nobody computes, and for one that does not exist."""
        lower = key.lower()
        if lower in self.values:
            return self.values[lower]
        template = reference.template_of(key)
        if template in RESOURCE_TAGS:
            if template not in self.supported:
                return None
            name = lower[len(RESOURCE_TAGS[template]) :]
            # The key's name has no case: IAM User Guide, "Controlling access to AWS resources using tags".
            return next((value for tag, value in self.tags().items() if tag.lower() == name), None)
        if lower in GLOBAL or lower.startswith("aws:principaltag/") or template in COMPUTED:
            return None
        if template in self.supported:
            raise UndecidableError(f"condition key {key} of {self.action}")
        if template in reference.condition_keys():
            return None
        raise UndecidableError(f"condition key {key}, which no service here has")
