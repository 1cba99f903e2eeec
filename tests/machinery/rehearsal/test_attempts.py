"""The attempts that must be refused: every row can be made, and only IAM's refusal counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from ops.rehearsal import attempts
from ops.rehearsal.attempts import ATTEMPTS, Attempt
from ops.rehearsal.sign_in import ADMINISTRATOR, Keys

from tests.machinery.rehearsal.test_simulator import REGION, Simulator


class Anything(dict[str, Any]):
    """Names or tokens of which each is there."""

    def __missing__(self, key: str) -> str:
        return f"a-name-of-some-length-{key}".replace("_", "-").replace(" ", "-")


NESTED = ("own", "other", "roles", "own_roles", "other_roles", "tokens")
FACTS = Anything({name: Anything() for name in NESTED} | {"ciphertext": b"x"})
SESSION = boto3.Session(region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")


def test_there_are_many_and_each_is_told_once() -> None:
    assert len(ATTEMPTS) >= 30
    counted = Counter((row.who, row.what) for row in ATTEMPTS)
    assert [row for row, times in counted.items() if times > 1] == []
    assert {row.who for row in ATTEMPTS} >= {"apply", "preview", "plan", "build", "task", "a job"}


@pytest.mark.parametrize("row", ATTEMPTS, ids=lambda row: f"{row.who}: {row.what}")
def test_every_row_is_a_call_that_can_be_made(row: Attempt) -> None:
    client = SESSION.client(row.service)
    operation = client.meta.method_to_api_mapping[row.operation]
    shape = client.meta.service_model.operation_model(operation).input_shape
    found = ParamValidator().validate(attempts._filled(row.parameters, FACTS), shape)
    assert not found.has_errors(), found.generate_report()


def test_a_row_whose_facts_are_missing_is_left_out() -> None:
    row = Attempt("apply", "x", "kms", "decrypt", {"KeyId": "{key}", "CiphertextBlob": b"x"})
    assert attempts.attempt(row, ADMINISTRATOR, {}, REGION, "http://127.0.0.1:1") is None
    row = Attempt("apply", "x", "ssm", "get_parameter", {"Name": "{other[x]}-y"})
    assert attempts.attempt(row, ADMINISTRATOR, {"other": {}}, REGION, "http://127.0.0.1:1") is None


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    started = Simulator(tmp_path_factory.mktemp("attempts"))
    yield started
    started.stop()


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    ],
}


@pytest.fixture(scope="module")
def keys(simulator: Simulator) -> Keys:
    """Keys of a role that may read parameters below /own."""
    iam = simulator.client("iam")
    role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ReadOwn",
                "Effect": "Allow",
                "Action": "ssm:GetParameter",
                "Resource": "arn:aws:ssm:*:*:parameter/own/*",
            }
        ],
    }
    iam.put_role_policy(RoleName="reader", PolicyName="reading", PolicyDocument=json.dumps(policy))
    given = simulator.client("sts").assume_role(RoleArn=role, RoleSessionName="reader")["Credentials"]
    return Keys("reader", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def tried(simulator: Simulator, keys: Keys, name: str) -> attempts.Attempted:
    row = Attempt("reader", "read it", "ssm", "get_parameter", {"Name": name})
    made = attempts.attempt(row, keys, {}, REGION, simulator.endpoint)
    assert made is not None
    return made


def test_a_refusal_names_the_statement_that_came_nearest(simulator: Simulator, keys: Keys) -> None:
    made = tried(simulator, keys, "/other/x")
    assert made.refused
    assert "ReadOwn" in made.because, made


def test_what_is_allowed_and_what_is_not_there_is_no_refusal(simulator: Simulator, keys: Keys) -> None:
    simulator.client("ssm").put_parameter(Name="/own/x", Value="x", Type="String")
    assert tried(simulator, keys, "/own/x") == attempts.Attempted(
        "reader", "read it", "ssm get_parameter", False, "nothing: it was allowed"
    )
    missing = tried(simulator, keys, "/own/y")
    assert not missing.refused
    assert missing.because.startswith("not by IAM: ParameterNotFound")


def test_what_was_planted_is_gone_afterwards(simulator: Simulator) -> None:
    other: Mapping[str, str] = {
        "flow_log_group": "/app/prod/network",
        "flags_application": "app-prod",
        "state_log_bucket": "app-logs",
    }
    place = {"LocationConstraint": REGION}
    simulator.client("s3").create_bucket(Bucket="app-logs", CreateBucketConfiguration=place)
    tags = {"application": "app", "environment": "prod"}
    with attempts.planted(simulator.client, other, tags, flags=True) as facts:
        assert {"key", "ciphertext", "secret", "vpc", "security_group", "flags_application"} <= facts.keys()
        assert simulator.client("ec2").describe_vpcs(VpcIds=[facts["vpc"]])["Vpcs"]
    assert simulator.client("kms").describe_key(KeyId=facts["key"])["KeyMetadata"]["KeyState"] == "PendingDeletion"
    filters = [{"Name": "tag:environment", "Values": ["prod"]}]
    assert simulator.client("ec2").describe_vpcs(Filters=filters)["Vpcs"] == []
    assert simulator.client("appconfig").list_applications()["Items"] == []


def test_a_policy_can_say_which_items_of_a_table_a_role_may_write(simulator: Simulator) -> None:
    simulator.client("dynamodb").create_table(
        TableName="locks",
        KeySchema=[{"AttributeName": "LockID", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "LockID", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    iam = simulator.client("iam")
    role = iam.create_role(RoleName="locker", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    statement = {
        "Effect": "Allow",
        "Action": ["dynamodb:PutItem", "dynamodb:DeleteItem"],
        "Resource": "*",
        "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "bucket/dev*"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="locker", PolicyName="locking", PolicyDocument=policy)
    given = simulator.client("sts").assume_role(RoleArn=role, RoleSessionName="locker")["Credentials"]
    keys = Keys("locker", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    rows = (("put_item", "Item", "bucket/dev", False), ("put_item", "Item", "bucket/prod", True),
            ("delete_item", "Key", "bucket/dev", False), ("delete_item", "Key", "bucket/prod", True))  # fmt: skip
    for operation, where, item, refused in rows:
        parameters = {"TableName": "locks", where: {"LockID": {"S": item}}}
        made = attempts.attempt(
            Attempt("x", "x", "dynamodb", operation, parameters), keys, {}, REGION, simulator.endpoint
        )
        assert made is not None
        assert made.refused is refused, made
