"""What policy documents say to requests, against what the IAM User Guide says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops.rehearsal.iam.errors import UndecidableError
from ops.rehearsal.iam.policy import everything_on_everything
from ops.rehearsal.iam.questions import Request, log_refusal, publish_refusal, says

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
    context = {"aws:SecureTransport": "true", "tag": "dev", "tls": "1.3"}
    asked = Request(ROLE, "s3:GetObject", "arn:aws:s3:::bucket/key", context)
    assert says(document, asked) == answer


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"Condition": {"StringResembles": {"aws:PrincipalArn": "x"}}}, "StringResembles"),
        ({"Condition": {"ForSomeValues:StringEquals": {"aws:TagKeys": "x"}}}, "ForSomeValues:StringEquals"),
        ({"Condition": {"NullIfExists": {"aws:PrincipalArn": "true"}}}, "NullIfExists"),
        ({"Effect": "Permit"}, "Permit"),
        ({"Actions": "s3:*"}, "Actions"),
        ({"NotAction": "s3:Delete*"}, "Action beside NotAction"),
    ],
)
def test_what_is_not_known_is_an_error_by_name_and_not_a_guess(change: dict[str, Any], name: str) -> None:
    with pytest.raises(UndecidableError, match=name):
        says(policy(**change), Request(ROLE, "s3:GetObject", "arn:aws:s3:::b/k"))


@given(st.text(alphabet="abc[]*?-/", max_size=12), st.text(alphabet="abc[]-/", max_size=12))
def test_only_star_and_question_mark_are_wild(pattern: str, value: str) -> None:
    import re

    expected = re.fullmatch(
        "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern),
        value,
    )
    decision = says(policy(Resource=pattern), Request(ROLE, "s3:GetObject", value))
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
