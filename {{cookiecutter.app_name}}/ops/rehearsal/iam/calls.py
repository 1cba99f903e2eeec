"""From an API call to what IAM is asked: actions, resources and condition keys.

An operation asks for the action of its own name, on the resources that the Service Authorization Reference lists for it; where AWS does
otherwise, `exceptions.py` says so. A resource that is going to be made has `*` where its generated part will be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ops.rehearsal.iam import reference
from ops.rehearsal.iam.call import Call, State, encryption_context, fill, resources, values
from ops.rehearsal.iam.callers_name import ROWS, Row
from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.decide import Ask
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.iam.exceptions import NO_PERMISSION, TAGGING, TAGS_ONLY, actions_of
from ops.rehearsal.iam.keys import RequestKeys


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
    if call.service == service == "dynamodb" and arn != "*":
        found |= _leading_keys(call, state, arn)
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
    "ssm:Recursive": "Recursive",
    "sts:ExternalId": "ExternalId",
    "sts:RoleSessionName": "RoleSessionName",
}
_LISTS_FROM_PARAMETERS = {
    "events:TargetArn": "Targets[].Arn",
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
    if call.service == "ecs" and (cluster := call.parameters.get("cluster")):
        # Of the request where a task is started: the resource, a task definition, belongs to no cluster. A name or an ARN.
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
        name = str(cluster).rpartition("/")[2]
        found["ecs:cluster"] = f"arn:{call.partition}:ecs:{call.region}:{call.account}:cluster/{name}"
    if call.service == "ecs" and (definition := call.parameters.get("taskDefinition")):
        # A family with a revision, or an ARN.
        name = str(definition).rpartition("/")[2]
        found["ecs:task-definition"] = f"arn:{call.partition}:ecs:{call.region}:{call.account}:task-definition/{name}"
    context = call.parameters.get("EncryptionContext") or {}
    found |= encryption_context(context if isinstance(context, Mapping) else {})
    return found


def _leading_keys(call: Call, state: State, table: str) -> dict[str, Value | None]:
    """Return `dynamodb:LeadingKeys`: the partition keys of the items that a call is about.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html: absent where a call is about
    the table, or about all of its items.
    """
    item = call.parameters.get("Key") or call.parameters.get("Item")
    if item is None:
        if call.operation in ("Query", "BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems"):
            raise UndecidableError(f"dynamodb:LeadingKeys of {call.name}")
        return {}
    key = item.get(state.look("partition key", table), {})
    return {"dynamodb:LeadingKeys": tuple(str(value) for value in key.values()) or None}


def _below(call: Call) -> str:
    """What is made below a resource that the call names, and whose ARN begins as that resource's; empty for the rest.

    The forms of ARNs are those of the Service Authorization Reference.
    """
    parameters = call.parameters
    if call.name == "elasticloadbalancing:CreateListener":
        return str(parameters["LoadBalancerArn"]).replace(":loadbalancer/", ":listener/") + "/*"
    if call.name == "elasticloadbalancing:CreateRule":
        return str(parameters["ListenerArn"]).replace(":listener/", ":listener-rule/") + "/*"
    if call.name == "ecs:RunTask":
        cluster = str(parameters.get("cluster", "default")).rpartition("/")[2]
        return f"arn:{call.partition}:ecs:{call.region}:{call.account}:task/{cluster}/*"
    return ""


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
        made = [_below(call) or fill(tagged[wanted].arn, call, dict.fromkeys(tagged[wanted].variables, "*"))]
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
        of = row.of(call, state) if row.of else ""
        made = _ask(call, state, row.action, kind, arn, {**extra, **_as(of)}, tags={})
        yield replace(made, of=of, code=row.code, hides=row.hides)


def _as(of: str) -> dict[str, Value | None]:
    """Return the keys of a request that a role or a service makes instead of the caller."""
    if not of:
        return {}
    without = dict.fromkeys(
        ("aws:userid", "aws:username", "lambda:SourceFunctionArn", "aws:SourceVpce", "aws:SourceVpc")
    )
    if of.startswith("arn:"):
        return {
            **without, "aws:PrincipalArn": of, "aws:PrincipalAccount": of.split(":")[4], "aws:PrincipalType": "AssumedRole",
        }  # fmt: skip
    return {**without, "aws:PrincipalArn": None, "aws:PrincipalAccount": None, "aws:PrincipalType": None,
            "aws:PrincipalServiceName": of, "aws:PrincipalIsAWSService": "true"}  # fmt: skip
