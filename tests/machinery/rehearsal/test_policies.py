"""What policy documents say to requests, against what the IAM User Guide says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops.rehearsal.policies import (
    Request,
    decide,
    everything_on_everything,
    log_refusal,
    publish_refusal,
)

ROLE = "arn:aws:iam::123456789012:role/app"
TOPIC = "arn:aws:sns:us-east-1:123456789012:app-dev-alarms"


def policy(**statement: Any) -> dict[str, Any]:
    return {"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"} | statement}


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        (policy(), "allowed"),
        (policy(Action="S3:getobject"), "allowed"),  # actions have no case
        (policy(Action="s3:Put*"), "nothing"),
        (policy(Resource="arn:aws:s3:::other/*"), "nothing"),
        (policy(NotAction="s3:Delete*"), "nothing"),  # Action stays as well: both have to match
        (policy(Effect="Deny"), "denied"),
        ({"Statement": [policy()["Statement"], policy(Effect="Deny")["Statement"]]}, "denied"),
        (policy(Principal={"AWS": "arn:aws:iam::123456789012:root"}), "allowed"),
        (policy(Principal={"AWS": "123456789012"}), "allowed"),
        (policy(Principal={"AWS": "arn:aws:iam::999999999999:root"}), "nothing"),
        (policy(Principal={"Service": "ecs.amazonaws.com"}), "nothing"),
        (policy(Principal="*"), "allowed"),
        (policy(Condition={"Bool": {"aws:SecureTransport": "false"}}), "nothing"),
        (policy(Condition={"Bool": {"AWS:securetransport": "true"}}), "allowed"),
        (policy(Condition={"StringEquals": {"aws:SourceAccount": "1"}}), "nothing"),
        (policy(Condition={"StringNotEquals": {"aws:SourceAccount": "1"}}), "allowed"),
        (policy(Condition={"StringEqualsIfExists": {"aws:SourceAccount": "1"}}), "allowed"),
        (policy(Condition={"Null": {"aws:SourceAccount": "true"}}), "allowed"),
        (policy(Condition={"StringLike": {"tag": ["x", "de?"]}}), "allowed"),
        (policy(Condition={"NumericLessThan": {"tls": "1.2"}}), "nothing"),
    ],
)
def test_a_document_decides_as_iam_does(document: dict[str, Any], answer: str) -> None:
    if "NotAction" in str(document):
        document = {"Statement": {"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}}
    context = {"aws:SecureTransport": "true", "tag": "dev", "tls": "1.3"}
    asked = Request(ROLE, "s3:GetObject", "arn:aws:s3:::bucket/key", context)
    assert decide(document, asked) == answer


def test_an_unknown_operator_is_an_error_and_not_a_guess() -> None:
    document = policy(Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})
    with pytest.raises(ValueError, match="IpAddress"):
        decide(document, Request(ROLE, "s3:GetObject", "x", {"aws:SourceIp": "10.1.2.3"}))


@given(st.text(alphabet="abc[]*?-/", max_size=12), st.text(alphabet="abc[]-/", max_size=12))
def test_only_star_and_question_mark_are_wild(pattern: str, value: str) -> None:
    import re

    expected = re.fullmatch(
        "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern),
        value,
    )
    decision = decide(policy(Resource=pattern), Request(ROLE, "s3:GetObject", value))
    assert (decision == "allowed") == (expected is not None)


def test_everything_on_everything_is_found_in_every_form() -> None:
    assert everything_on_everything(policy(Action="*")) == ["statement 1"]
    assert everything_on_everything(policy(Action=["s3:Get*", "*"], Sid="Wide")) == ["Wide"]
    assert everything_on_everything({"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]})
    assert not everything_on_everything(policy())
    assert not everything_on_everything(policy(Action="*", Effect="Deny"))
    assert not everything_on_everything(policy(Action="*", Condition={"Bool": {"x": "true"}}))


def test_a_lost_alarm_is_explained() -> None:
    topic = policy(
        Action="sns:Publish",
        Principal={"Service": "cloudwatch.amazonaws.com"},
        Condition={"ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:*:*:alarm:app-*"}},
    )
    key = policy(
        Action=["kms:Decrypt", "kms:GenerateDataKey*"],
        Principal={"Service": "cloudwatch.amazonaws.com"},
    )
    alarm = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:app-dev-errors"

    def refusal(topic: dict[str, Any], key: Any, source: str = alarm) -> str | None:
        import json

        text = json.dumps(key) if isinstance(key, dict) else key
        return publish_refusal(TOPIC, json.dumps(topic), text, "cloudwatch.amazonaws.com", source)

    assert refusal(topic, key) is None
    assert refusal(topic, None) is None
    assert "AWS-managed key" in str(refusal(topic, ""))
    assert "kms:Decrypt" in str(refusal(topic, policy(Principal={"AWS": "*"}, Action="sns:*")))
    assert "policy does not let" in str(refusal(topic, key, alarm.replace("app", "other")))


def test_a_bucket_that_takes_no_logs_is_explained() -> None:
    import json

    arn, balancer = (
        "arn:aws:s3:::logs",
        "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/x/1",
    )
    good = policy(
        Principal={"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        Action="s3:PutObject",
        Resource="arn:aws:s3:::logs/access/AWSLogs/123456789012/*",
    )
    key = "access/AWSLogs/123456789012/x.gz"
    assert log_refusal(json.dumps(good), arn, key, balancer) is None
    assert log_refusal(json.dumps(good), arn, "connection/AWSLogs/123456789012/x.gz", balancer)
    assert log_refusal(None, arn, key, balancer)
