"""Schedules that begin by themselves, as their role, and what EventBridge makes of a task that ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from ops import waiting

from tests.machinery.rehearsal.test_iam_simulator import client
from tests.machinery.rehearsal.test_simulator import ACCOUNT, REGION, Simulator

CLUSTER, FAMILY = "app-dev", "app-dev-job-x"
DEFINITION = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{FAMILY}:1"
GROUP = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/app-dev-jobs"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:app-dev-dead"
# A minute of AWS's is six seconds here.
WAIT_SECONDS = 25


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    started = Simulator(tmp_path_factory.mktemp("simulator"))
    ecs, ec2 = started.client("ecs"), started.client("ec2")
    ecs.create_cluster(clusterName=CLUSTER)
    started.subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]  # type: ignore[attr-defined]
    container = {"name": "app", "image": "none", "command": ["python"], "memory": 512, "environment": []}
    ecs.register_task_definition(
        family=FAMILY, containerDefinitions=[container], networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        executionRoleArn=f"arn:aws:iam::{ACCOUNT}:role/execution",
    )  # fmt: skip
    started.client("scheduler").create_schedule_group(Name="app-dev-jobs")
    started.client("sqs").create_queue(QueueName="app-dev-dead")
    topic = started.client("sns").create_topic(Name="alarms")["TopicArn"]
    policy = {"Effect": "Allow", "Principal": {"Service": ["cloudwatch.amazonaws.com", "events.amazonaws.com"]}}
    started.client("sns").set_topic_attributes(
        TopicArn=topic,
        AttributeName="Policy",
        AttributeValue=json.dumps({"Statement": [policy | {"Action": "sns:Publish", "Resource": topic}]}),
    )
    started.client("sns").subscribe(TopicArn=topic, Protocol="https", Endpoint="https://incidents.example.com/key")
    detail = {
        "lastStatus": ["STOPPED"],
        "startedBy": ["schedule"],
        "taskDefinitionArn": [{"prefix": f"{DEFINITION.rpartition(':')[0]}:"}],
        "containers": {"exitCode": [{"anything-but": [0]}, {"exists": False}]},
    }
    pattern = {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"], "detail": detail}
    started.client("events").put_rule(Name=FAMILY, EventPattern=json.dumps(pattern))
    transformer = {"InputPathsMap": {"reason": "$.detail.stoppedReason"}, "InputTemplate": '"the job failed: <reason>"'}
    started.client("events").put_targets(
        Rule=FAMILY, Targets=[{"Id": "x", "Arn": topic, "InputTransformer": transformer}]
    )
    started.client("cloudwatch").put_metric_alarm(
        AlarmName=FAMILY, Namespace="AWS/Events", MetricName="TriggeredRules", Period=60, EvaluationPeriods=1,
        Dimensions=[{"Name": "RuleName", "Value": FAMILY}], Statistic="Sum", Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold", AlarmActions=[topic],
    )  # fmt: skip
    yield started
    started.stop()


def role(simulator: Simulator, name: str, source: str, *actions: str) -> str:
    """A role for schedules of a group."""
    iam = simulator.client("iam")
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceArn": source}},
    }
    arn = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    iam.put_role_policy(
        RoleName=name, PolicyName="x", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    )
    return str(arn)


def schedule(simulator: Simulator, name: str, role_arn: str, definition: str = DEFINITION) -> None:
    network = {"Subnets": [simulator.subnet], "SecurityGroups": []}  # type: ignore[attr-defined]
    simulator.client("scheduler").create_schedule(
        Name=name,
        GroupName="app-dev-jobs",
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:ecs:runTask",
            "RoleArn": role_arn,
            "DeadLetterConfig": {"Arn": QUEUE},
            "Input": json.dumps(
                {
                    "Cluster": CLUSTER,
                    "TaskDefinition": definition,
                    "LaunchType": "FARGATE",
                    "StartedBy": "schedule",
                    "NetworkConfiguration": {"AwsvpcConfiguration": network},
                    "Overrides": {
                        "ContainerOverrides": [
                            {"Name": "app", "Environment": [{"Name": "AT", "Value": "<aws.scheduler.scheduled-time>"}]}
                        ]
                    },
                }
            ),
        },
    )


def notes(simulator: Simulator, file: str, name: str = "") -> list[dict[str, Any]]:
    path = simulator.directory / f"{file}.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [note for note in found if not name or note.get("schedule") == name]


def comes(condition: Callable[[], Any]) -> Any:
    found = waiting.until(condition, WAIT_SECONDS, every=0.1)
    assert found
    return found


def test_a_schedule_starts_its_task_and_the_failure_is_told(simulator: Simulator) -> None:
    schedule(simulator, "works", role(simulator, "works", GROUP, "ecs:RunTask", "iam:PassRole"))
    began = comes(lambda: notes(simulator, "schedules", "works"))[0]
    task = simulator.client("ecs").describe_tasks(cluster=CLUSTER, tasks=began["started"])["tasks"][0]
    assert task["startedBy"] == "schedule"
    overrides = task["overrides"]["containerOverrides"][0]
    assert overrides["environment"] == [{"name": "AT", "value": began["at"]}]
    # It has no role to start with: it failed.
    comes(lambda: any('"AlarmName": "app-dev-job-x"' in str(m.body) for m in simulator.mailbox.messages()))
    assert any("the job failed: " in str(message.body) for message in simulator.mailbox.messages())
    alarm = simulator.client("cloudwatch").describe_alarms(AlarmNames=[FAMILY])["MetricAlarms"][0]
    assert alarm["StateValue"] == "ALARM"


@pytest.mark.parametrize(
    ("name", "source", "actions", "definition", "says"),
    [
        ("other-group", GROUP.replace("dev", "prod"), ("ecs:RunTask", "iam:PassRole"), DEFINITION, "sts:AssumeRole"),
        ("no-right", GROUP, ("iam:PassRole", "sqs:SendMessage"), DEFINITION, "ecs:RunTask"),
        ("no-role-to-pass", GROUP, ("ecs:RunTask", "sqs:SendMessage"), DEFINITION, "iam:PassRole"),
        ("no-definition", GROUP, ("ecs:RunTask", "iam:PassRole"), f"{DEFINITION}9", "task definition"),
    ],
    ids=["other-group", "no-right", "no-role-to-pass", "no-definition"],
)
def test_what_cannot_be_started_is_a_dead_letter(
    name: str, source: str, actions: tuple[str, ...], definition: str, says: str, simulator: Simulator
) -> None:
    schedule(simulator, name, role(simulator, name, source, *actions), definition)
    failed = comes(lambda: notes(simulator, "schedules", name))[0]
    simulator.client("scheduler").delete_schedule(Name=name, GroupName="app-dev-jobs")
    assert says in failed["failed"]
    assert failed["dead_letter"].partition(":")[0] == ("sent" if "sqs:SendMessage" in actions else "dropped")
    if failed["dead_letter"] == "sent":
        queue = simulator.client("sqs").get_queue_url(QueueName="app-dev-dead")["QueueUrl"]
        message = simulator.client("sqs").receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"][0]
        assert says in message["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"]
        simulator.client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def test_a_role_for_its_own_group_makes_it_and_no_other(simulator: Simulator) -> None:
    arn = f"arn:aws:scheduler:{REGION}:{ACCOUNT}"
    statement = {
        "Effect": "Allow",
        "Action": ["scheduler:CreateScheduleGroup", "scheduler:TagResource", "scheduler:DeleteScheduleGroup"],
        "Resource": f"{arn}:schedule-group/app-dev-*",
    }
    iam = simulator.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    made = iam.create_role(RoleName="maker", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="maker", PolicyName="x", PolicyDocument=policy)
    keys = simulator.client("sts").assume_role(RoleArn=made, RoleSessionName="maker")["Credentials"]
    scheduler = client(simulator, "scheduler", keys)
    scheduler.create_schedule_group(Name="app-dev-more", Tags=[{"Key": "application", "Value": "app"}])
    scheduler.delete_schedule_group(Name="app-dev-more")
    with pytest.raises(ClientError, match="is not authorized to perform: scheduler:CreateScheduleGroup"):
        scheduler.create_schedule_group(Name="app-prod-jobs")
