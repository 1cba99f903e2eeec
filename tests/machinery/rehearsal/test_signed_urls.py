"""What callers send to S3 with URLs and forms that a service signed: checked as S3 does, and decided as the signer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from ops import waiting
from ops.rehearsal import files, use
from ops.rehearsal.leftovers import left_over
from ops.rehearsal.simulator.moto_additions import guardduty as guardduty_addition

from tests.machinery.rehearsal.test_simulator import ACCOUNT, REGION, Simulator

BUCKET, ROLE = "shop-dev-files", "signer"
NAME, CONTENT = "a" * 32, b"\r\n--x\r\n\x00\xff"


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    started = Simulator(tmp_path_factory.mktemp("simulator"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def signer(simulator: Simulator) -> Any:
    """A client with the keys of a role that may put and get, in a bucket that wants TLS."""
    s3, iam, sts = (simulator.client(name) for name in ("s3", "iam", "sts"))
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    arn = f"arn:aws:s3:::{BUCKET}"
    tls = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"{arn}/*",
           "Condition": {"Bool": {"aws:SecureTransport": "false"}}}  # fmt: skip
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [tls]}))
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    made = iam.create_role(
        RoleName=ROLE, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    may(simulator, "s3:PutObject", "s3:GetObject")
    keys = sts.assume_role(RoleArn=made["Role"]["Arn"], RoleSessionName="session")["Credentials"]
    return boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=simulator.endpoint,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
        config=Config(signature_version="s3v4"),
    )


def may(simulator: Simulator, *actions: str) -> None:
    statement = {"Sid": "Own", "Effect": "Allow", "Action": list(actions), "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    simulator.client("iam").put_role_policy(RoleName=ROLE, PolicyName="x", PolicyDocument=document)


def form(signer: Any, seconds: int = 60) -> tuple[str, dict[str, str]]:
    fields = {"Content-Type": "text/csv", "Content-Disposition": "attachment"}
    conditions = [
        {"Content-Type": "text/csv"},
        ["starts-with", "$Content-Disposition", "attach"],
        ["content-length-range", 1, 100],
    ]
    signed = signer.generate_presigned_post(BUCKET, NAME, Fields=fields, Conditions=conditions, ExpiresIn=seconds)
    return signed["url"], signed["fields"]


def url(signer: Any, seconds: int = 60) -> str:
    found: str = signer.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": NAME}, ExpiresIn=seconds)
    return found


def code(answer: tuple[int, bytes]) -> str:
    """The code of an error answer, or the status of another."""
    status, body = answer
    return body.decode().partition("<Code>")[2].partition("</Code>")[0] or str(status)


def test_what_was_signed_goes_up_and_comes_back(simulator: Simulator, signer: Any) -> None:
    assert files.send(*form(signer), CONTENT) == (204, b"")
    assert files.fetch(url(signer)) == (200, CONTENT)
    stored = simulator.client("s3").head_object(Bucket=BUCKET, Key=NAME)
    assert (stored["ContentType"], stored["ContentDisposition"]) == ("text/csv", "attachment")
    journal = [json.loads(line) for line in (simulator.directory / "journal.jsonl").read_text().splitlines()]
    assert {"PutObject", "GetObject"} <= {one["call"] for one in journal if one.get("role", "").endswith(f"/{ROLE}")}


@pytest.mark.parametrize(
    ("wanted", "changed", "content"),
    [
        ("EntityTooLarge", {}, b"x" * 101),
        ("EntityTooSmall", {}, b""),
        ("AccessDenied", {"Content-Type": "text/html"}, CONTENT),
        ("AccessDenied", {"Content-Disposition": "inline"}, CONTENT),
        ("AccessDenied", {"key": "b" * 32}, CONTENT),
        ("AccessDenied", {"x-amz-meta-more": "x"}, CONTENT),
        ("SignatureDoesNotMatch", {"x-amz-signature": "0" * 64}, CONTENT),
        ("InvalidAccessKeyId", {"x-amz-credential": f"AKIANOBODY/20261129/{REGION}/s3/aws4_request"}, CONTENT),
        ("InvalidPolicyDocument", {"policy": "e30="}, CONTENT),
    ],
)
def test_another_upload_is_refused(signer: Any, wanted: str, changed: dict[str, str], content: bytes) -> None:
    address, fields = form(signer)
    assert code(files.send(address, fields | changed, content)) == wanted


def test_urls_end(signer: Any) -> None:
    upload, download = form(signer, seconds=1), url(signer, seconds=1)
    time.sleep(2.1)
    for answer in (files.send(*upload, CONTENT), files.fetch(download)):
        assert code(answer) == "AccessDenied"
        assert b"expired" in answer[1]


def test_another_request_than_the_signed_one_is_refused(signer: Any) -> None:
    assert files.send(*form(signer), CONTENT)[0] == 204
    good = url(signer)
    assert code(files.fetch(good.replace("X-Amz-Expires=60", "X-Amz-Expires=600"))) == "SignatureDoesNotMatch"
    assert code(files.fetch(good.replace(NAME, "b" * 32))) == "SignatureDoesNotMatch"
    assert code(use.exchange(urlsplit(good), "PUT", b"x", {})) == "SignatureDoesNotMatch"
    assert code(files.fetch(good.partition("?")[0])) == "AccessDenied"
    assert (
        code(files.fetch(good.replace("X-Amz-Expires=60", "X-Amz-Expires=604801")))
        == "AuthorizationQueryParametersError"
    )


def test_policies_decide_as_for_the_signer(simulator: Simulator, signer: Any) -> None:
    assert files.send(*form(signer), CONTENT)[0] == 204
    for plain in (files.send(*form(signer), CONTENT, files.PLAIN), files.fetch(url(signer), files.PLAIN)):
        assert code(plain) == "AccessDenied"
        assert b"explicit deny in a resource-based policy" in plain[1]
    may(simulator, "s3:ListBucket")
    try:
        for answer in (files.send(*form(signer), CONTENT), files.fetch(url(signer))):
            assert code(answer) == "AccessDenied"
            assert f"assumed-role/{ROLE}/session is not authorized to perform: s3:".encode() in answer[1]
    finally:
        may(simulator, "s3:PutObject", "s3:GetObject")


def test_metrics_of_a_bucket_are_kept(simulator: Simulator, signer: Any) -> None:
    del signer
    s3 = simulator.client("s3")
    s3.put_bucket_metrics_configuration(Bucket=BUCKET, Id="Every", MetricsConfiguration={"Id": "Every"})
    assert s3.get_bucket_metrics_configuration(Bucket=BUCKET, Id="Every")["MetricsConfiguration"] == {"Id": "Every"}
    s3.delete_bucket_metrics_configuration(Bucket=BUCKET, Id="Every")
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchConfiguration"):
        s3.get_bucket_metrics_configuration(Bucket=BUCKET, Id="Every")


def test_files_are_scanned_with_the_plans_role(simulator: Simulator, signer: Any) -> None:
    """A tag says what was found, and a policy goes by it."""
    s3, iam, guardduty = (simulator.client(name) for name in ("s3", "iam", "guardduty"))
    trust = {"Effect": "Allow", "Principal": {"Service": guardduty_addition.SERVICE}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName="scan", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    actions = ["s3:GetObject", "s3:PutObjectTagging"]
    scan = {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    iam.put_role_policy(
        RoleName="scan", PolicyName="x", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [scan]})
    )
    plan = guardduty.create_malware_protection_plan(
        Role=role["Role"]["Arn"],
        ProtectedResource={"S3Bucket": {"BucketName": BUCKET}},
        Actions={"Tagging": {"Status": "ENABLED"}},
        Tags={"a": "b"},
    )["MalwareProtectionPlanId"]
    found = guardduty.get_malware_protection_plan(MalwareProtectionPlanId=plan)
    assert (found["Status"], found["Tags"], found["Actions"]["Tagging"]["Status"]) == ("ACTIVE", {"a": "b"}, "ENABLED")
    scanned = f"malware scan {BUCKET}"
    assert scanned in left_over(simulator.client, "shop")
    only_clean = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*",
                  "Condition": {"StringNotEquals": {"s3:ExistingObjectTag/GuardDutyMalwareScanStatus": "NO_THREATS_FOUND"},
                                "ArnNotEquals": {"aws:PrincipalArn": role["Role"]["Arn"]}}}  # fmt: skip
    rule = {"source": ["aws.guardduty"], "detail": {"scanResultDetails": {"scanResultStatus": ["THREATS_FOUND"]}}}
    simulator.client("events").put_rule(Name="malware", EventPattern=json.dumps(rule))
    cloudwatch = simulator.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="malware", Namespace="AWS/Events", MetricName="TriggeredRules", Statistic="Sum", Period=60, Threshold=1,
        Dimensions=[{"Name": "RuleName", "Value": "malware"}], EvaluationPeriods=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )  # fmt: skip
    before = s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [only_clean]}))
    try:
        assert files.send(*form(signer), CONTENT)[0] == 204
        assert waiting.until(lambda: files.fetch(url(signer)) == (200, CONTENT), 20, every=0.2)
        assert files.send(*form(signer), files.EICAR)[0] == 204
        tagged = {"Key": "GuardDutyMalwareScanStatus", "Value": "THREATS_FOUND"}

        def tags() -> list[dict[str, str]]:
            shown: list[dict[str, str]] = s3.get_object_tagging(Bucket=BUCKET, Key=NAME)["TagSet"]
            return shown

        assert waiting.until(lambda: tags() == [tagged], 20, every=0.2)
        assert b"explicit deny in a resource-based policy" in files.fetch(url(signer))[1]
        assert waiting.until(lambda: cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"], 20, every=0.2)
        scans = [json.loads(line)["status"] for line in (simulator.directory / "scans.jsonl").read_text().splitlines()]
        assert scans == ["NO_THREATS_FOUND", "THREATS_FOUND"]
    finally:
        s3.put_bucket_policy(Bucket=BUCKET, Policy=before)
        guardduty.delete_malware_protection_plan(MalwareProtectionPlanId=plan)
    assert scanned not in left_over(simulator.client, "shop")
