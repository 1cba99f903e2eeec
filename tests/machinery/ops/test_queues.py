"""Workers: `make queue`, and the deployments and restarts that they take part in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

# Dead letters that are given back are the rehearsal's addition to moto.
from ops.rehearsal.simulator.moto_additions import sqs

from tests.machinery.ops.conftest import ACCOUNT, APP, DIGEST, REGION, Ops, Settings

Client = Callable[[str], Any]
ENV = ("--env", "dev")
WORKER = {"send-mail": {"command": ["python", "-m", "app.worker", "send-mail"]}}
NAME = f"{APP}-dev-worker-send-mail"
assert sqs


@pytest.fixture
def with_worker(account_ready: Settings) -> Settings:
    account_ready.change(workers=WORKER)
    return account_ready


@pytest.fixture
def queues(with_worker: Settings, client: Client) -> tuple[str, str]:
    """URLs of the worker's queue and of its dead letters."""
    dead = client("sqs").create_queue(QueueName=f"{NAME}-dead-letters")["QueueUrl"]
    policy = {"deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-dead-letters", "maxReceiveCount": 1}
    queue = client("sqs").create_queue(QueueName=NAME, Attributes={"RedrivePolicy": json.dumps(policy)})["QueueUrl"]
    return queue, dead


def texts(client: Client, url: str) -> list[str]:
    """What waits in a queue; it is left there."""
    found = client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return sorted(message["Body"] for message in found.get("Messages", []))


def test_look_shows_how_many_wait_and_leaves_dead_letters_where_they_are(
    queues: tuple[str, str], ops: Ops, client: Client
) -> None:
    queue, dead = queues
    for text in ("one", "two"):
        client("sqs").send_message(QueueUrl=queue, MessageBody=text)
    client("sqs").receive_message(QueueUrl=queue)
    client("sqs").send_message(QueueUrl=dead, MessageBody="poison\x1b[31m\n" + "x" * 300)
    for _ in range(2):
        shown = ops("queue", *ENV)
        assert shown.code == 0, shown.text
        first, second, letter = shown.out.splitlines()
        assert first == "send-mail: 1 waiting, 1 in hand, 0 delayed"
        assert second == "dead letters: 1"
        assert letter.endswith("poison [31m " + "x" * 188 + "…"), "no control characters, and not all of it"
    assert len(texts(client, dead)) == 1


def test_redrive_gives_dead_letters_back(queues: tuple[str, str], ops: Ops, client: Client) -> None:
    queue, dead = queues
    assert "there are no dead letters" in ops("queue", *ENV, "--action", "redrive").out
    for text in ("one", "two"):
        client("sqs").send_message(QueueUrl=dead, MessageBody=text)
    result = ops("queue", *ENV, "--name", "send-mail", "--action", "redrive")
    assert result.code == 0, result.text
    assert "2 given back to send-mail" in result.out
    assert (texts(client, queue), texts(client, dead)) == (["one", "two"], [])


def test_purge_asks_and_deletes_dead_letters_alone(queues: tuple[str, str], ops: Ops, client: Client) -> None:
    queue, dead = queues
    for url in queues:
        client("sqs").send_message(QueueUrl=url, MessageBody="x")
    refused = ops("queue", *ENV, "--action", "purge")
    assert refused.code == 2
    assert "Delete 1 dead letters of send-mail in dev for good? Nobody is there to answer." in refused.err
    assert texts(client, dead) == ["x"]
    assert ops("queue", *ENV, "--action", "purge", "--yes").code == 0
    assert (texts(client, queue), texts(client, dead)) == (["x"], [])


@pytest.mark.parametrize(
    ("workers", "name", "words"),
    [
        ({}, None, "Which worker? It has none."),
        ({}, "send-mail", "project.yaml has no worker send-mail. It has none."),
        (WORKER, "sendmail", "project.yaml has no worker sendmail. It has send-mail."),
        (WORKER | {"other": {"command": ["x"]}}, None, "Which worker? It has other, send-mail."),
    ],
)
def test_a_worker_that_is_none(
    workers: dict[str, Any], name: str | None, words: str, account_ready: Settings, ops: Ops
) -> None:
    account_ready.change(workers=workers)
    result = ops("queue", *ENV, *(("--name", name) if name else ()))
    assert result.code == 2
    assert words in result.err


def test_a_queue_that_is_not_there(with_worker: Settings, ops: Ops) -> None:
    result = ops("queue", *ENV)
    assert result.code == 3
    assert f"There is no queue {NAME}." in result.err


def test_previews_have_queues_of_their_own(with_worker: Settings, ops: Ops) -> None:
    result = ops("queue", *ENV, "--workspace", "pr-1")
    assert f"There is no queue {APP}-dev-pr-1-worker-send-mail." in result.err


def test_the_alarm_on_dead_letters_goes_on_and_off(queues: tuple[str, str], ops: Ops, client: Client) -> None:
    """What the rehearsal's CloudWatch makes of a queue."""
    dead = queues[1]
    client("cloudwatch").put_metric_alarm(
        AlarmName="dead",
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": f"{NAME}-dead-letters"}],
        ComparisonOperator="GreaterThanThreshold",
        Threshold=0,
        EvaluationPeriods=1,
        Period=60,
        Statistic="Maximum",
    )

    def state() -> str:
        return str(client("cloudwatch").describe_alarms(AlarmNames=["dead"])["MetricAlarms"][0]["StateValue"])

    for action in ("purge", "redrive"):
        assert state() == "OK"
        client("sqs").send_message(QueueUrl=dead, MessageBody="x")
        assert state() == "ALARM"
        assert ops("queue", *ENV, "--action", action, "--yes").code == 0
    assert state() == "OK"


# ---------------------------------------------------------------------- deployments


def worker_in_ecs(client: Client, digest: str) -> str:
    """Register a task definition of the worker; its ARN."""
    container = {"name": "app", "image": f"x@{digest}", "memory": 512}
    definition = client("ecs").register_task_definition(family=NAME, containerDefinitions=[container])
    return str(definition["taskDefinition"]["taskDefinitionArn"])


def service_of_worker(client: Client, definition: str) -> None:
    client("ecs").create_service(cluster=f"{APP}-dev", serviceName=NAME, taskDefinition=definition, desiredCount=1)


def test_a_deployment_waits_for_its_workers(deployed: Settings, ops: Ops, client: Client) -> None:
    deployed.change(workers=WORKER)
    service_of_worker(client, worker_in_ecs(client, DIGEST["new"]))
    result = ops("deploy", *ENV, "--image", "release-2", "--yes")
    assert result.code == 0, result.text
    assert "worker send-mail: 1/1 tasks run" in result.out
    shown = ops("status", *ENV, "--no-drift")
    assert "worker send-mail" in shown.out
    assert "1 of 1 run" in shown.out


def test_a_worker_that_was_rolled_back_fails_the_deployment(deployed: Settings, ops: Ops, client: Client) -> None:
    deployed.change(workers=WORKER)
    service_of_worker(client, worker_in_ecs(client, DIGEST["old"]))
    worker_in_ecs(client, DIGEST["new"])  # what Terraform gave it, and it no longer runs
    result = ops("deploy", *ENV, "--image", "release-2", "--yes")
    assert result.code == 6, result.text
    assert (
        f"The deployment of the worker send-mail failed; the version before it runs, if there was one: {NAME}."
        in result.err
    )


def test_down_deregisters_the_task_definitions_of_workers(deployed: Settings, ops: Ops, client: Client) -> None:
    """Also of one that project.yaml no longer has, and not those of a preview."""
    worker_in_ecs(client, DIGEST["old"])
    result = ops("down", *ENV, "--confirm", "dev")
    assert result.code == 0, result.text
    assert client("ecs").list_task_definitions(familyPrefix=NAME, status="ACTIVE")["taskDefinitionArns"] == []
