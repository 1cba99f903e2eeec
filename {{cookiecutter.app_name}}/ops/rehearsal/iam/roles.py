"""Reads what IAM roles may do, through the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.rehearsal.iam.questions import Request, all_say, says


@dataclass(frozen=True)
class Role:
    """A role with its policies by name; `boundary` limits what they can give."""

    name: str
    arn: str
    trust: Mapping[str, Any]
    policies: Mapping[str, Mapping[str, Any]]
    boundary: Mapping[str, Any] | None
    region: str
    own: Mapping[str, str]
    """Condition keys of what belongs where the role does: it has the role's tags, and a secret its database's."""

    @classmethod
    def read(cls, iam: Any, name_or_arn: str, region: str) -> Role:
        """Read a role, its inline and attached policies and its boundary with a boto3 IAM client.

        `region` is where the role's calls go.
        """
        name = name_or_arn.rpartition("/")[2]
        role = iam.get_role(RoleName=name)["Role"]
        policies = {
            inline: iam.get_role_policy(RoleName=name, PolicyName=inline)["PolicyDocument"]
            for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]
        }
        for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            policies[attached["PolicyName"]] = document(iam, attached["PolicyArn"])
        boundary = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        return cls(
            name=name,
            arn=role["Arn"],
            trust=role["AssumeRolePolicyDocument"],
            policies=policies,
            boundary=document(iam, boundary) if boundary else None,
            region=region,
            own=_own(role, region),
        )

    def request(self, action: str, resource: str) -> Request:
        """Return what the role asks when it calls an action on a resource of its own environment."""
        account = self.arn.split(":")[4]
        context = {
            "aws:SecureTransport": "true",
            "aws:RequestedRegion": self.region,
            "aws:PrincipalAccount": account,
            "aws:ResourceAccount": account,
            "aws:PrincipalArn": self.arn,
            **self.own,
        }
        return Request(self.arn, action, resource, context)

    def may(self, action: str, resource: str) -> bool:
        """Tell whether the role's own policies, within its boundary, allow an action."""
        asked = self.request(action, resource)
        if all_say(self.policies.values(), asked) != "allowed":
            return False
        return self.boundary is None or says(self.boundary, asked) == "allowed"


def _own(role: Mapping[str, Any], region: str) -> dict[str, str]:
    tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags", [])}
    _, partition, _, _, account, _ = role["Arn"].split(":", 5)
    cluster = f"{tags.get('application')}-{tags.get('environment')}"
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()} | {
        "aws:ResourceTag/aws:rds:primaryDBClusterArn": f"arn:{partition}:rds:{region}:{account}:cluster:{cluster}"
    }


def document(iam: Any, arn: str) -> Mapping[str, Any]:
    """Return the default version of a managed policy."""
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found: Mapping[str, Any] = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    return found
