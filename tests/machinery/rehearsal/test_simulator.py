"""The simulator through boto3: what moto lacks is there, and what AWS refuses is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ops.rehearsal import deployed
from ops.rehearsal.receiver import Mailbox, Receiver

from tests.machinery import ROOT

ACCOUNT, REGION = "123456789012", "eu-west-1"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"})


class Simulator:
    """A running simulator and what arrives from it."""

    def __init__(self, directory: Path, tag_lag_seconds: float = 0, region: str = REGION) -> None:
        self.directory = directory
        self.region = region
        self.mailbox = Mailbox(directory / "messages.jsonl")
        self.receiver = Receiver(self.mailbox)
        settings = directory / "settings.json"
        settings.write_text(
            json.dumps(
                {
                    "directory": str(directory),
                    "account_id": ACCOUNT,
                    "region": region,
                    "render": str(ROOT),
                    "image": MANIFEST,
                    "port": 0,
                    "receiver": self.receiver.url,
                    "tag_lag_seconds": tag_lag_seconds,
                }
            ),
            encoding="utf-8",
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops.rehearsal.simulator", str(settings)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.endpoint = f"http://127.0.0.1:{self.process.stdout.readline().split()[1].decode()}"

    def client(self, service: str) -> Any:
        return deployed.client(service, self.region, self.endpoint)

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(15) == 0
        self.process.stdout.close()
        self.receiver.stop()


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    started = Simulator(tmp_path_factory.mktemp("simulator"))
    yield started
    started.stop()


def test_endpoint_services_are_found_by_filter(simulator: Simulator) -> None:
    name = f"com.amazonaws.{REGION}.logs"
    found = simulator.client("ec2").describe_vpc_endpoint_services(
        Filters=[{"Name": "service-name", "Values": [name, f"cn.{name}"]}]
    )
    assert found["ServiceNames"] == [name]


def test_a_call_that_it_lacks_is_refused_at_once_by_name(simulator: Simulator) -> None:
    began = time.monotonic()
    calls: list[tuple[str, str, dict[str, str]]] = [
        ("rds", "describe_db_engine_versions", {}),
        ("ec2", "describe_fpga_images", {}),
        ("appconfig", "list_extensions", {}),
    ]
    for service, call, arguments in calls:
        with pytest.raises(ClientError, match="SimulatorLacksThisCall"):
            getattr(simulator.client(service), call)(**arguments)
    assert time.monotonic() - began < 15
    lines = (simulator.directory / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    problems = [json.loads(line) for line in lines if "problem" in line]
    assert {problem["call"] for problem in problems} >= {
        "DescribeDBEngineVersions",
        "ListExtensions",
    }


def test_a_service_whose_actions_iam_does_not_know_is_refused_by_name(simulator: Simulator) -> None:
    with pytest.raises(ClientError, match="IAM here does not know action xray:GetGroups"):
        simulator.client("xray").get_groups()


def test_a_thing_that_is_not_there_is_no_missing_call(simulator: Simulator) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        simulator.client("s3").get_bucket_policy(Bucket="nothing")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        simulator.client("lambda").get_function(FunctionName="nothing")


def test_an_alarm_reaches_the_receiver_that_confirmed_and_not_when_the_key_forbids(
    simulator: Simulator,
) -> None:
    sns, cloudwatch, kms = (simulator.client(name) for name in ("sns", "cloudwatch", "kms"))
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ]
    key = kms.create_key(Policy=json.dumps({"Statement": statements}))["KeyMetadata"]["KeyId"]
    topic = sns.create_topic(Name="alarms", Attributes={"KmsMasterKeyId": key})["TopicArn"]
    arn = sns.subscribe(
        TopicArn=topic,
        Protocol="https",
        Endpoint="https://pager.example/x",
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]
    assert simulator.mailbox.wait_for("SubscriptionConfirmation", 5)
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert attributes["PendingConfirmation"] == "false"
    cloudwatch.put_metric_alarm(
        AlarmName="errors", MetricName="m", Namespace="n", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold", Statistic="Sum", AlarmActions=[topic],
    )  # fmt: skip
    cloudwatch.put_composite_alarm(AlarmName="any", AlarmRule='ALARM("errors") OR ALARM("x")', AlarmActions=[topic])

    def ring() -> int:
        before = len(simulator.mailbox.messages())
        for state in ("ALARM", "OK"):
            cloudwatch.set_alarm_state(AlarmName="errors", StateValue=state, StateReason="test")
        return before

    ring()
    lost = (simulator.directory / "deliveries.jsonl").read_text(encoding="utf-8")
    assert "the topic's key does not give cloudwatch.amazonaws.com" in lost
    statements.append(
        {
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
        }
    )
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps({"Statement": statements}))
    before = ring()
    for name in ("errors", "any"):
        message = simulator.mailbox.wait_for(f'\\"AlarmName\\": \\"{name}\\"', 5, after=before)
        assert message is not None
        assert message.host == "pager.example"
    sns.set_topic_attributes(TopicArn=topic, AttributeName="KmsMasterKeyId", AttributeValue="alias/aws/sns")
    before = ring()
    assert simulator.mailbox.wait_for("AlarmName", 1, after=before) is None


def test_flags_are_launched_and_rolled_back_by_an_alarm(simulator: Simulator) -> None:
    appconfig, data, cloudwatch = (simulator.client(name) for name in ("appconfig", "appconfigdata", "cloudwatch"))
    cloudwatch.put_metric_alarm(
        AlarmName="latency", MetricName="m", Namespace="n", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold", Statistic="Sum",
    )  # fmt: skip
    alarm = cloudwatch.describe_alarms(AlarmNames=["latency"])["MetricAlarms"][0]["AlarmArn"]
    application = appconfig.create_application(Name="app")["Id"]
    environment = appconfig.create_environment(ApplicationId=application, Name="dev", Monitors=[{"AlarmArn": alarm}])[
        "Id"
    ]
    profile = appconfig.create_configuration_profile(
        ApplicationId=application,
        Name="flags",
        LocationUri="hosted",
        Type="AWS.AppConfig.FeatureFlags",
    )["Id"]

    def deploy(percent: int) -> str:
        document = {
            "version": "1",
            "flags": {"new": {"name": "new", "attributes": {"percent": {"constraints": {"type": "number", "maximum": 100}}}}},
            "values": {"new": {"enabled": True, "percent": percent}},
        }  # fmt: skip
        version = appconfig.create_hosted_configuration_version(
            ApplicationId=application,
            ConfigurationProfileId=profile,
            Content=json.dumps(document).encode(),
            ContentType="application/json",
        )["VersionNumber"]
        number = appconfig.start_deployment(
            ApplicationId=application,
            EnvironmentId=environment,
            ConfigurationProfileId=profile,
            ConfigurationVersion=str(version),
            DeploymentStrategyId="AppConfig.AllAtOnce",
        )["DeploymentNumber"]
        states = [
            appconfig.get_deployment(ApplicationId=application, EnvironmentId=environment, DeploymentNumber=number)[
                "State"
            ]
            for _ in range(2)
        ]
        return str(states[-1])

    token = data.start_configuration_session(
        ApplicationIdentifier="app",
        EnvironmentIdentifier="dev",
        ConfigurationProfileIdentifier="flags",
    )["InitialConfigurationToken"]

    def poll() -> Any:
        nonlocal token
        answer = data.get_latest_configuration(ConfigurationToken=token)
        token = answer["NextPollConfigurationToken"]
        text = answer["Configuration"].read()
        return json.loads(text) if text else None

    assert poll() is None
    assert deploy(30) == "COMPLETE"
    assert poll() == {"new": {"enabled": True, "percent": 30}}
    assert poll() is None
    cloudwatch.set_alarm_state(AlarmName="latency", StateValue="ALARM", StateReason="test")
    assert deploy(100) == "ROLLED_BACK"
    assert poll() is None
    with pytest.raises(ClientError, match="out of its range"):
        deploy(101)


def test_a_bucket_is_read_by_its_policy_and_emptied_with_its_markers(simulator: Simulator) -> None:
    s3 = simulator.client("s3")
    s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_bucket_versioning(Bucket="logs", VersioningConfiguration={"Status": "Enabled"})
    tls = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::logs", "arn:aws:s3:::logs/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket="logs", Policy=json.dumps({"Statement": [tls]}))
    s3.put_object(Bucket="logs", Key="a", Body=b"1")
    s3.delete_object(Bucket="logs", Key="a")
    versions = s3.list_object_versions(Bucket="logs")
    for item in [*versions["Versions"], *versions["DeleteMarkers"]]:
        s3.delete_object(Bucket="logs", Key="a", VersionId=item["VersionId"])
    s3.delete_bucket(Bucket="logs")
