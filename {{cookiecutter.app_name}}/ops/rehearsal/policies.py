"""Reads IAM policy documents the way AWS does, for the questions the rehearsal asks.

Sources of the rules: IAM User Guide, "Policy evaluation logic" (an explicit deny wins, then an allow,
else nothing) and "IAM JSON policy elements: Condition operators" (a negated operator matches a missing
key, `IfExists` makes any operator do so, several values of one key are alternatives).
"""

import fnmatch
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Decision = Literal["allowed", "denied", "nothing"]


@dataclass(frozen=True)
class Request:
    """Who wants to do what to which resource.

    `principal` is a service (`cloudwatch.amazonaws.com`) or an ARN; `context` holds condition keys.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def statements(document: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy, whether it has one or a list of them."""
    policy = json.loads(document) if isinstance(document, str) else document
    return list(as_list(policy.get("Statement", [])))


def decide(document: str | Mapping[str, Any], request: Request) -> Decision:
    """Say what one policy document says to a request."""
    matching = [s["Effect"] for s in statements(document) if _matches(s, request)]
    if "Deny" in matching:
        return "denied"
    return "allowed" if "Allow" in matching else "nothing"


def decide_all(documents: Iterable[str | Mapping[str, Any]], request: Request) -> Decision:
    """Say what several policies say together."""
    decisions = {decide(document, request) for document in documents}
    if "denied" in decisions:
        return "denied"
    return "allowed" if "allowed" in decisions else "nothing"


def everything_on_everything(document: str | Mapping[str, Any]) -> list[str]:
    """Return the statements that allow every action on every resource without any condition."""
    return [
        str(statement.get("Sid") or f"statement {number}")
        for number, statement in enumerate(statements(document), 1)
        if statement["Effect"] == "Allow"
        and not statement.get("Condition")
        and ("NotAction" in statement or "*" in as_list(statement.get("Action", [])))
        and ("NotResource" in statement or "*" in as_list(statement.get("Resource", [])))
    ]


def as_list(value: Any) -> list[Any]:
    """Return what may be one thing or a list of them, as a list."""
    return value if isinstance(value, list) else [value]


def _like(pattern: str, value: str) -> bool:
    # IAM knows * and ? only; fnmatch would read [ as the beginning of a set.
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _matches(statement: Mapping[str, Any], request: Request) -> bool:
    return (
        _principal(statement, request.principal)
        and _element(statement, "Action", request.action, lower=True)
        and _element(statement, "Resource", request.resource, lower=False)
        and all(
            _condition(operator, key, as_list(values), request.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _principal(statement: Mapping[str, Any], principal: str) -> bool:
    if "NotPrincipal" in statement:
        return not _principal({"Principal": statement["NotPrincipal"]}, principal)
    if "Principal" not in statement:
        return True  # an identity's policy: its owner is the principal
    declared = statement["Principal"]
    if declared == "*":
        return True
    names = [name for group in declared.values() for name in as_list(group)]
    account = principal.split(":")[4] if principal.startswith("arn:") else None
    return any(
        name in ("*", principal)
        # Naming the account, by its root or its number, names every identity in it.
        or (account is not None and (name == account or name.endswith(f":iam::{account}:root")))
        for name in names
    )


def _element(statement: Mapping[str, Any], name: str, value: str, *, lower: bool) -> bool:
    negated = f"Not{name}" in statement
    patterns = [str(p) for p in as_list(statement.get(f"Not{name}" if negated else name, []))]
    if not patterns:
        return name == "Resource"  # trust policies have no resource
    if lower:
        patterns, value = [p.lower() for p in patterns], value.lower()
    return any(_like(p, value) for p in patterns) is not negated


def _condition(operator: str, key: str, values: list[Any], context: Mapping[str, str]) -> bool:
    base = operator.rpartition(":")[2]
    optional = base.endswith("IfExists")
    base = base.removesuffix("IfExists")
    keys = {name.lower(): value for name, value in context.items()}
    given = keys.get(key.lower())
    if base == "Null":
        return (given is None) == (str(values[0]).lower() == "true")
    negated = "Not" in base
    if given is None:
        return optional or negated
    base = base.replace("Not", "")
    wanted = [str(v) for v in values]
    if base in ("StringLike", "ArnLike", "ArnEquals"):
        found = any(_like(pattern, given) for pattern in wanted)
    elif base in ("StringEqualsIgnoreCase", "Bool"):
        found = given.lower() in {w.lower() for w in wanted}
    elif base in ("StringEquals", "NumericEquals"):
        found = given in wanted
    elif base.startswith("Numeric"):
        compare = {
            "NumericLessThan": float.__lt__,
            "NumericLessThanEquals": float.__le__,
            "NumericGreaterThan": float.__gt__,
            "NumericGreaterThanEquals": float.__ge__,
        }[base]
        found = any(compare(float(given), float(w)) for w in wanted)
    else:
        raise ValueError(f"{operator}: a condition operator that ops/rehearsal/policies.py does not know")
    return found is not negated


def publish_refusal(
    topic_arn: str, topic_policy: str, key_policy: str | None, principal: str, source_arn: str
) -> str | None:
    """Say why a service's message to an SNS topic would be lost, or None when it is accepted.

    AWS drops it silently: the topic's policy has to admit the service, and so has the policy of the key
    that encrypts the topic. `key_policy` is None for a topic without a key and empty for the AWS-managed
    key, which admits no service. https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
    """
    _, _, _, region, account, _ = topic_arn.split(":", 5)
    context = {
        "aws:SecureTransport": "true",
        "aws:SourceAccount": account,
        "aws:SourceOwner": account,
        "aws:SourceArn": source_arn,
        "kms:ViaService": f"sns.{region}.amazonaws.com",
    }
    if decide(topic_policy, Request(principal, "sns:publish", topic_arn, context)) != "allowed":
        return f"the topic's policy does not let {principal} publish"
    if key_policy is None:
        return None
    if not key_policy:
        return f"the topic is encrypted with the AWS-managed key, which {principal} cannot use"
    missing = [
        action
        for action in ("kms:GenerateDataKey", "kms:Decrypt")
        if decide(key_policy, Request(principal, action, "*", context)) != "allowed"
    ]
    return f"the topic's key does not give {principal} {', '.join(missing)}" if missing else None


# The principal of load balancers' log delivery, in every region:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
LOG_DELIVERY = "logdelivery.elasticloadbalancing.amazonaws.com"


def log_refusal(bucket_policy: str | None, bucket_arn: str, key: str, balancer_arn: str) -> str | None:
    """Say why a bucket does not take a load balancer's logs, or None when it does."""
    context = {
        "aws:SecureTransport": "true",
        "aws:SourceAccount": balancer_arn.split(":")[4],
        "aws:SourceArn": balancer_arn,
    }
    asked = Request(LOG_DELIVERY, "s3:PutObject", f"{bucket_arn}/{key}", context)
    if bucket_policy is None or decide(bucket_policy, asked) != "allowed":
        return f"the bucket's policy does not let {LOG_DELIVERY} put {key}"
    return None


def log_key(prefix: str, account_id: str) -> str:
    """Return the key under which a load balancer's logs of one prefix begin."""
    return f"{prefix}/AWSLogs/{account_id}/".lstrip("/")
