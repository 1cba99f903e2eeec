"""From an API call to what IAM is asked: actions, resources and condition keys.

An operation asks for the action of its own name, on the resources that the Service Authorization Reference lists for it; where AWS does
otherwise, `exceptions.py` says so. A resource that is going to be made has `*` where its generated part will be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ops.rehearsal.iam import reference
from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.decide import Ask
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.iam.exceptions import (
    APPLIES,
    ARN_FORMS,
    DEFAULTS,
    NO_PERMISSION,
    ROWS,
    SUFFIXES,
    TAGGING,
    TAGS_ONLY,
    TRANSFORMS,
    VARIABLES,
    Row,
    actions_of,
)
from ops.rehearsal.iam.keys import RequestKeys
from ops.rehearsal.iam.policy import Policy


class State(Protocol):
    """What the evaluator wants to know of what is there."""

    def tags(self, arn: str) -> Mapping[str, str]:
        """Return a resource's tags as far as IAM sees them already; empty for one that is not there."""

    def resource_policy(self, action: str, arn: str) -> Policy | None:
        """Return the policy that a bucket, key, topic, repository, secret, function or queue has for an action of its service.

        A role's is its trust policy, for actions of STS.
        """

    def owner(self, arn: str) -> str:
        """Return the account that a resource belongs to."""

    def resolve(self, service: str, variable: str, value: str) -> str:
        """Return what an identifier stands for, such as the key of an alias or the role of a name with its path."""

    def encryption_key(self, arn: str) -> str | None:
        """Return the ARN of the customer's KMS key that encrypts a resource; None for AWS's own."""

    def look(self, question: str, arn: str) -> Any:
        """Answer one of the questions that only exceptions ask; `exceptions.py` names them."""

    def keys(self, arn: str) -> Mapping[str, Value | None]:
        """Return condition keys that come from the resource, such as `iam:PermissionsBoundary`."""

    def grant(self, key_arn: str, action: str, principal: str) -> str | None:
        """Return the KMS grant that gives a principal an action."""


@dataclass(frozen=True)
class Call:
    """One API call: `service` is the first part of its actions, `parameters` are those of botocore's model.

    `always` are the keys of every one of its requests: who, when, where from.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    account: str
    region: str
    partition: str
    always: Mapping[str, Value | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As in the tables: `s3:PutObject`."""
        return f"{self.service}:{self.operation}"


def asks(call: Call, state: State) -> list[Ask]:
    """Return everything that a call asks IAM. Raises UndecidableError for a call that nobody described."""
    if call.name in NO_PERMISSION:
        return []
    found: list[Ask] = []
    for action in actions_of(call):
        found += [_ask(call, state, action, kind, arn) for kind, arn in resources(call, state, action)]
    found += _tagging(call, state)
    for row in ROWS.get(call.name, ()):
        found += _of_row(call, state, row)
    return found


def values(parameters: Any, path: str) -> list[str]:
    """Return what stands at a path such as `Delete.Objects[].Key`, as text."""
    found: list[Any] = [parameters]
    for part in path.split("."):
        name = part.removesuffix("[]")
        found = [item[name] for item in found if isinstance(item, Mapping) and item.get(name) not in (None, "")]
        if part.endswith("[]"):
            found = [inner for item in found for inner in (item if isinstance(item, (list, tuple)) else [item])]
    return [str(item) for item in found if not isinstance(item, (Mapping, list, tuple))]


def resources(call: Call, state: State, action: str) -> list[tuple[reference.Kind | None, str]]:
    """Return the resources that an action of a call is about, each with its type."""
    known = reference.action(action)
    service = action.partition(":")[0]
    if (form := ARN_FORMS.get(known.name)) is not None:
        kind = next((k for k in known.kinds if k.name == form.kind), None)
        return [(kind, arn) for arn in form.arns(call, state)]
    given = _given_arns(call.parameters)
    found: list[tuple[reference.Kind, str, bool]] = []  # with whether anything of it was named
    for kind in known.kinds:
        if (applies := APPLIES.get((service, kind.name))) is not None and not applies(call):
            continue
        suffix, but_for = SUFFIXES.get((service, kind.name), ("", frozenset()))
        suffix = "" if known.name in but_for else suffix
        arns = [arn for arn in given if kind.covers(arn)]
        if arns:
            found += [(kind, arn.removesuffix(suffix) + suffix, True) for arn in arns]
            continue
        found += [(kind, arn + suffix, named) for arn, named in _filled(call, state, service, kind)]
    named = [(kind, arn) for kind, arn, is_named in found if is_named]
    # Types of one family (listener/app, listener/net) take the same parameter: what was not named there is not meant.
    families = {_family(kind) for kind, _ in named}
    rest = [
        (kind, arn)
        for kind, arn, is_named in found
        if not is_named
        and kind.required
        and _family(kind) not in families
        and not (named and TAGS_ONLY.match(call.operation))
    ]
    both: list[tuple[reference.Kind | None, str]] = [*named, *rest]
    return both or [(None, "*")]


def _family(kind: reference.Kind) -> str:
    return kind.name.partition("/")[0].partition("-on-")[0]


def _given_arns(parameters: Mapping[str, Any]) -> list[str]:
    items = (item for value in parameters.values() for item in (value if isinstance(value, (list, tuple)) else [value]))
    return [item for item in items if isinstance(item, str) and re.match(r"arn:[\w-]+:", item)]


def _filled(call: Call, state: State, service: str, kind: reference.Kind) -> Iterator[tuple[str, bool]]:
    """Yield the ARNs of a type from the call's parameters, and whether any parameter named one."""
    choices: list[list[str]] = [[]]
    named = False
    for variable in kind.variables:
        paths = VARIABLES.get(service, {}).get(variable, ())
        transform = TRANSFORMS.get((service, variable), str)
        resolved = (
            state.resolve(service, variable, transform(value))
            for path in paths
            for value in values(call.parameters, path)
        )
        here = list(dict.fromkeys(_of_type(service, kind, [value for value in resolved if value])))
        # The last variable that a parameter can name is the resource's; those before it only say in what it lies.
        if paths:
            named = bool(here)
        if not here:
            default = DEFAULTS.get((service, variable))
            here = [default(call) if default is not None else "*"]
        choices = [[*row, value] for row in choices for value in here]
    for row in choices:
        whole = next((value for value in row if kind.covers(value)), None)
        yield whole or fill(kind.arn, call, dict(zip(kind.variables, row, strict=True))), named


_EC2_PREFIXES = {
    "elastic-ip": "eipalloc-", "internet-gateway": "igw-", "natgateway": "nat-", "network-acl": "acl-",
    "network-interface": "eni-", "route-table": "rtb-", "security-group": "sg-", "security-group-rule": "sgr-",
    "subnet": "subnet-", "vpc": "vpc-", "vpc-endpoint": "vpce-", "vpc-flow-log": "fl-", "dhcp-options": "dopt-",
    "vpc-endpoint-service": "vpce-svc-", "instance": "i-", "egress-only-internet-gateway": "eigw-",
    "vpn-gateway": "vgw-", "prefix-list": "pl-", "network-interface-attachment": "eni-attach-",
}  # fmt: skip


def _of_type(service: str, kind: reference.Kind, found: Sequence[str]) -> list[str]:
    """Keep of identifiers that several types share (`Resources` of EC2's CreateTags) those of one type."""
    if service != "ec2" or kind.name not in _EC2_PREFIXES:
        return list(found)
    prefix = _EC2_PREFIXES[kind.name]
    longer = [other for other in _EC2_PREFIXES.values() if other.startswith(prefix) and other != prefix]
    return [value for value in found if value.startswith(prefix) and not any(value.startswith(o) for o in longer)]


def fill(arn: str, call: Call, variables: Mapping[str, str]) -> str:
    """Put values into the variables of an ARN as the reference writes it."""
    known = {"Partition": call.partition, "Region": call.region, "Account": call.account, **variables}
    return re.sub(r"\$\{(\w+)\}", lambda match: known[match[1]], arn)


def request_tags(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that a call gives, whatever its service names them."""
    found: dict[str, str] = {}
    for name, value in parameters.items():
        if name.lower() == "tagspecifications":
            for specification in value:
                found |= request_tags({"Tags": specification.get("Tags", [])})
        elif name.lower() == "tagging" and isinstance(value, Mapping):
            found |= request_tags({"Tags": value.get("TagSet", [])})
        elif name.lower() in ("tags", "taglist", "tagset", "backupvaulttags", "backupplantags", "hostedzonetags"):
            if isinstance(value, Mapping) and "Items" in value:
                value = value["Items"]
            if isinstance(value, Mapping):
                found |= {str(k): str(v) for k, v in value.items()}
                continue
            for tag in value or ():
                lower = {str(k).lower().removeprefix("tag"): v for k, v in tag.items()}
                found[str(lower["key"])] = str(lower.get("value", ""))
    return found


def _untagged(parameters: Mapping[str, Any]) -> list[str]:
    names = ("tagkeys", "tagkeylist")
    return [str(key) for name, value in parameters.items() if name.lower() in names for key in value]


def _ask(
    call: Call,
    state: State,
    action: str,
    kind: reference.Kind | None,
    arn: str,
    extra: Mapping[str, Value | None] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Ask:
    """Make the question about one resource, with every key that the action supports there."""
    known = reference.action(action)
    service = known.name.partition(":")[0]
    supported = known.keys | (kind.keys if kind is not None else frozenset())
    if kind is None:
        # A resource that a table of ours names; its type's keys are those of the type that its ARN has.
        for one in known.kinds:
            if one.covers(arn):
                supported |= one.keys
    given = request_tags(call.parameters) if tags is None else dict(tags)
    found: dict[str, Value | None] = {f"aws:RequestTag/{key}": value for key, value in given.items()}
    found |= {f"rds:req-tag/{key}": value for key, value in given.items()}
    if names := [*given, *_untagged(call.parameters)]:
        found["aws:TagKeys"] = tuple(names)
    found |= call.always
    found["aws:ResourceAccount"] = state.owner(arn) if arn != "*" else call.account
    found |= state.keys(arn) if arn != "*" else {}
    found |= _of_call(call, action)
    found |= extra or {}
    grants = str(found.get("aws:PrincipalArn") or "")
    policy = None if arn == "*" else state.resource_policy(known.name, arn)
    return Ask(
        action=known.name,
        resource=arn,
        keys=RequestKeys(known.name, supported, found, lambda: {} if arn == "*" else state.tags(arn)),
        account=str(found["aws:ResourceAccount"]),
        resource_policy=policy,
        # A key that is not there has no policy to ask; KMS says then that it does not know it.
        rules_itself=(service == "sts" and arn != "*") or (service == "kms" and policy is not None),
        grant=state.grant(arn, known.name, grants) if service == "kms" and grants and arn != "*" else None,
    )


# Condition key -> where the call says it: a path of its parameters.
_FROM_PARAMETERS = {
    "application-autoscaling:service-namespace": "ServiceNamespace",
    "application-autoscaling:scalable-dimension": "ScalableDimension",
    "ec2:VpceServiceName": "ServiceName",
    "elasticloadbalancing:Scheme": "Scheme",
    "iam:AWSServiceName": "AWSServiceName",
    "iam:PermissionsBoundary": "PermissionsBoundary",
    "iam:PolicyARN": "PolicyArn",
    "kms:BypassPolicyLockoutSafetyCheck": "BypassPolicyLockoutSafetyCheck",
    "kms:GranteePrincipal": "GranteePrincipal",
    "kms:ScheduleKeyDeletionPendingWindowInDays": "PendingWindowInDays",
    "lambda:Principal": "Principal",
    "rds:DatabaseEngine": "Engine",
    "rds:ManageMasterUserPassword": "ManageMasterUserPassword",
    "s3:LocationConstraint": "CreateBucketConfiguration.LocationConstraint",
    "s3:VersionId": "VersionId",
    "s3:delimiter": "Delimiter",
    "s3:max-keys": "MaxKeys",
    "s3:prefix": "Prefix",
    "s3:x-amz-acl": "ACL",
    "s3:x-amz-server-side-encryption": "ServerSideEncryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "secretsmanager:Name": "Name",
    "secretsmanager:VersionId": "VersionId",
    "secretsmanager:VersionStage": "VersionStage",
    "sns:Endpoint": "Endpoint",
    "sns:Protocol": "Protocol",
    "ssm:Overwrite": "Overwrite",
    "sts:ExternalId": "ExternalId",
    "sts:RoleSessionName": "RoleSessionName",
}
_LISTS_FROM_PARAMETERS = {
    "kms:GrantOperations": "Operations[]",
    "lambda:SecurityGroupIds": "VpcConfig.SecurityGroupIds[]",
    "lambda:SubnetIds": "VpcConfig.SubnetIds[]",
    "route53:ChangeResourceRecordSetsActions": "ChangeBatch.Changes[].Action",
    "route53:ChangeResourceRecordSetsRecordTypes": "ChangeBatch.Changes[].ResourceRecordSet.Type",
}


def _of_call(call: Call, action: str) -> dict[str, Value | None]:
    found: dict[str, Value | None] = {
        "ec2:Region": call.region,
        "s3:TlsVersion": "1.3",
        "kms:CallerAccount": call.account,
    }
    if action.partition(":")[0] != call.service:
        return found  # what another service asks for the caller has keys of its own
    for key, path in _FROM_PARAMETERS.items():
        if key.startswith(call.service + ":") and (given := values(call.parameters, path)):
            text = given[0]
            found[key] = text.lower() if text in ("True", "False") else text
    for key, path in _LISTS_FROM_PARAMETERS.items():
        if key.startswith(call.service + ":") and (given := values(call.parameters, path)):
            found[key] = tuple(given)
    if call.operation == "ChangeResourceRecordSets":
        # https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html: lower case, no final dot
        names = values(call.parameters, "ChangeBatch.Changes[].ResourceRecordSet.Name")
        found["route53:ChangeResourceRecordSetsNormalizedRecordNames"] = tuple(n.lower().rstrip(".") for n in names)
    if call.service == "dynamodb":
        # Values of the partition key. The one table is that of Terraform's locks, whose key is LockID.
        # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
        item = call.parameters.get("Key") or call.parameters.get("Item") or {}
        found["dynamodb:LeadingKeys"] = tuple(item.get("LockID", {}).values()) or None
    context = call.parameters.get("EncryptionContext") or {}
    found |= encryption_context(context if isinstance(context, Mapping) else {})
    return found


def encryption_context(context: Mapping[str, str]) -> dict[str, Value | None]:
    """Return the condition keys of a KMS call's encryption context."""
    found: dict[str, Value | None] = {f"kms:EncryptionContext:{key}": value for key, value in context.items()}
    if context:
        found["kms:EncryptionContextKeys"] = tuple(context)
    return found


def _tagging(call: Call, state: State) -> Iterable[Ask]:
    """What tags in a call that makes something ask beside it: the service's tagging action on what is made."""
    given = request_tags(call.parameters)
    if not given or TAGS_ONLY.match(call.operation) or call.name in TAGGING.without:
        return
    tagging = TAGGING.action(call.service, call.operation)
    if tagging is None:
        raise UndecidableError(f"what tags in {call.name} ask for")
    action, create_key = tagging
    extra: dict[str, Value | None] = {create_key: call.operation} if create_key else {}
    if call.service == "ec2":
        for specification in call.parameters.get("TagSpecifications") or ():
            arn = f"arn:{call.partition}:ec2:{call.region}:{call.account}:{specification['ResourceType']}/*"
            tags = request_tags({"Tags": specification.get("Tags", [])})
            yield _ask(call, state, action, None, arn, extra, tags)
        return
    tagged = {kind.name: kind for kind in reference.action(action).kinds}
    wanted = TAGGING.made.get(call.name)
    named = resources(call, state, call.name)
    made = [arn for kind, arn in named if wanted is None or (kind is not None and kind.name == wanted)]
    if not made and wanted:
        # Its identifier is not known yet: `…:key/*`.
        made = [fill(tagged[wanted].arn, call, dict.fromkeys(tagged[wanted].variables, "*"))]
    for arn in made:
        if call.service == "logs":
            arn = arn.removesuffix(":*")
        kind = next((one for one in tagged.values() if one.covers(arn)), None)
        yield _ask(call, state, action, kind, arn, extra)


def _of_row(call: Call, state: State, row: Row) -> Iterator[Ask]:
    if row.when is not None and not row.when(call, state):
        return
    targets = row.on(call, state) if callable(row.on) else values(call.parameters, row.on) if row.on else ["*"]
    known = reference.action(row.action)
    for arn in dict.fromkeys(targets):
        kind = next((one for one in known.kinds if one.covers(arn)), None)
        if kind is None and known.kinds and arn != "*":
            raise UndecidableError(f"{row.action} on {arn}, in the name of the caller of {call.name}")
        extra = row.keys(call, state, arn) if callable(row.keys) else dict(row.keys or {})
        made = _ask(call, state, row.action, kind, arn, extra, tags={})
        yield replace(made, of=row.of(call, state) if row.of else "", code=row.code, hides=row.hides)
