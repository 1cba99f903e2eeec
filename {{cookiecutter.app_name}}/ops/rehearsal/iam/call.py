"""One call of the API: its parameters, and the resources that each of its actions is about.

From botocore's models and the Service Authorization Reference, but for what exceptions.py tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ops.rehearsal.iam import reference
from ops.rehearsal.iam.conditions import Value
from ops.rehearsal.iam.exceptions import APPLIES, ARN_FORMS, DEFAULTS, SUFFIXES, TAGS_ONLY, TRANSFORMS, VARIABLES
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


class Named(Protocol):
    """A call as it was made."""

    @property
    def service(self) -> str:
        """The first part of its actions."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Its parameters."""


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


def registry(call: Named) -> str:
    """Return the account whose registry a call of ECR names; empty where that is the caller's own.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchGetImage.html
    """
    return str(call.parameters.get("registryId") or "") if call.service == "ecr" else ""


def fill(arn: str, call: Call, variables: Mapping[str, str]) -> str:
    """Put values into the variables of an ARN as the reference writes it."""
    account = registry(call) or call.account
    known = {"Partition": call.partition, "Region": call.region, "Account": account, **variables}
    return re.sub(r"\$\{(\w+)\}", lambda match: known[match[1]], arn)


def encryption_context(context: Mapping[str, str]) -> dict[str, Value | None]:
    """Return the condition keys of a KMS call's encryption context."""
    found: dict[str, Value | None] = {f"kms:EncryptionContext:{key}": value for key, value in context.items()}
    if context:
        found["kms:EncryptionContextKeys"] = tuple(context)
    return found
