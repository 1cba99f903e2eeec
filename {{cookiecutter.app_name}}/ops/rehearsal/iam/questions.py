"""What single policy documents say, and what AWS's own services may do by them: the questions that proofs ask.

Calls of principals are decided by `decide.decide`; these use the same statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ops.rehearsal.iam.decide import Given
from ops.rehearsal.iam.policy import Policy, Who

Answer = Literal["allowed", "denied", "nothing"]


@dataclass(frozen=True)
class Request:
    """Who wants to do what to which resource.

    `principal` is a service (`cloudwatch.amazonaws.com`) or an ARN; `context` holds condition keys, and others are absent.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def says(document: str | Mapping[str, Any], request: Request) -> Answer:
    """Say what one policy document says to a request. Raises UndecidableError for what is not known."""
    who, keys = _who(request.principal), Given(request.context)
    effects = {
        statement.effect
        for statement in Policy("the policy", document).statements
        if statement.action(request.action) is not None
        and statement.resource(request.resource, keys)
        and (statement.principals is None or statement.names(who) is not None)
        and statement.failing(keys) is None
    }
    if "Deny" in effects:
        return "denied"
    return "allowed" if "Allow" in effects else "nothing"


def all_say(documents: Iterable[str | Mapping[str, Any]], request: Request) -> Answer:
    """Say what several policies say together."""
    answers = {says(document, request) for document in documents}
    if "denied" in answers:
        return "denied"
    return "allowed" if "allowed" in answers else "nothing"


def _who(principal: str) -> Who:
    if not principal.startswith("arn:"):
        return Who(principal, kind="service")
    kind, name = principal.split(":")[5].partition("/")[::2]
    account = principal.split(":")[4]
    if kind == "assumed-role":
        role = f"arn:{principal.split(':')[1]}:iam::{account}:role/{name.partition('/')[0]}"
        return Who(principal, account, role, "role")
    return Who(principal, account, principal if kind == "role" else "", "role" if kind == "role" else "user")


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
    if says(topic_policy, Request(principal, "sns:publish", topic_arn, context)) != "allowed":
        return f"the topic's policy does not let {principal} publish"
    if key_policy is None:
        return None
    if not key_policy:
        return f"the topic is encrypted with the AWS-managed key, which {principal} cannot use"
    missing = [
        action
        for action in ("kms:GenerateDataKey", "kms:Decrypt")
        if says(key_policy, Request(principal, action, "*", context)) != "allowed"
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
    if bucket_policy is None or says(bucket_policy, asked) != "allowed":
        return f"the bucket's policy does not let {LOG_DELIVERY} put {key}"
    return None


def log_key(prefix: str, account_id: str) -> str:
    """Return the key under which a load balancer's logs of one prefix begin."""
    return f"{prefix}/AWSLogs/{account_id}/".lstrip("/")
