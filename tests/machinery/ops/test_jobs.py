"""Scheduled jobs: when one begins next, running one now, listing them, and following the service's image."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dateutil.zoneinfo import get_zonefile_instance  # type: ignore[import-untyped]
from ops import aws, jobs
from ops.project import load

from tests.machinery.ops.conftest import APP, DIGEST, Fargate, Ops, Settings, service_in_moto

Client = Callable[[str], Any]
ENV = ("--env", "dev")
FAMILY = f"{APP}-dev-job-clean-up"
CLEAN_UP = {"command": ["python", "-m", "app.jobs.heartbeat"], "schedule": "cron(30 3 * * ? *)", "timeout_minutes": 1}


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "following"),
    [
        ("cron(30 3 * * ? *)", "UTC", "2026-05-01T03:29", "2026-05-01T03:30"),
        ("cron(30 3 * * ? *)", "UTC", "2026-05-01T03:30", "2026-05-02T03:30"),
        ("cron(30 3 * * ? *)", "Europe/Berlin", "2026-05-01T00:00", "2026-05-01T01:30"),
        ("cron(30 3 * * ? *)", "Europe/Berlin", "2026-12-01T00:00", "2026-12-01T02:30"),
        # 29 March 2026, 02:30: the clocks go from 02:00 to 03:00.
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T00:30"),
        ("cron(0/20 8-9 * * ? *)", "UTC", "2026-05-01T08:25", "2026-05-01T08:40"),
        ("cron(0,30 8-18/2 ? JAN-MAR MON-FRI 2027-2030)", "UTC", "2026-05-01T00:00", "2027-01-01T08:00"),
        ("cron(0 0 L * ? *)", "UTC", "2028-02-10T00:00", "2028-02-29T00:00"),
        ("cron(15 10 ? * FRI#2 *)", "UTC", "2026-05-01T00:00", "2026-05-08T10:15"),
        ("cron(15 10 ? * 6L *)", "UTC", "2026-05-01T00:00", "2026-05-29T10:15"),
        ("cron(0 12 ? * SUN *)", "UTC", "2026-05-01T00:00", "2026-05-03T12:00"),
        ("cron(0 12 1 1 ? 2020)", "UTC", "2026-05-01T00:00", None),
        ("rate(5 minutes)", "UTC", "2026-05-01T00:00", None),
    ],
)
def test_the_next_run_of_a_cron(schedule: str, zone: str, after: str, following: str | None) -> None:
    found = jobs.next_run(schedule, zone, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert (found and f"{found:%Y-%m-%dT%H:%M}") == following


@pytest.fixture
def with_job(deployed: Settings, client: Client) -> Settings:
    """dev with a job as infra/service makes it, whose definition has the old image."""
    deployed.change(jobs={"clean-up": CLEAN_UP})
    definition = register(client, DIGEST["old"])
    client("scheduler").create_schedule_group(Name=f"{APP}-dev-jobs")
    client("sqs").create_queue(QueueName=f"{APP}-dev-jobs-dead-letters")
    client("scheduler").create_schedule(
        Name=FAMILY,
        GroupName=f"{APP}-dev-jobs",
        ScheduleExpression="cron(30 3 * * ? *)",
        ScheduleExpressionTimezone="UTC",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:ecs:runTask",
            "RoleArn": "arn:aws:iam::123456789012:role/shop-dev-jobs",
            "Input": json.dumps({"Cluster": f"{APP}-dev", "TaskDefinition": definition}),
        },
    )
    return deployed


def register(client: Client, digest: str) -> str:
    """A revision of the job's task definition."""
    options = {"awslogs-group": f"/{APP}/dev/service", "awslogs-stream-prefix": "job-clean-up"}
    answer = client("ecs").register_task_definition(
        family=FAMILY,
        containerDefinitions=[
            {
                "name": "app",
                "image": f"{APP}@{digest}",
                "memory": 512,
                "environment": [{"name": "RELEASE", "value": digest}],
                "logConfiguration": {"logDriver": "awslogs", "options": options},
            }
        ],
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
    )
    return str(answer["taskDefinition"]["taskDefinitionArn"])


@pytest.mark.parametrize("settings", [{}, {"clean-up": CLEAN_UP}])
def test_a_job_that_is_none(settings: dict[str, Any], account_ready: Settings, ops: Ops) -> None:
    account_ready.change(jobs=settings)
    result = ops("job", *ENV, "--name", "clean")
    assert result.code == 2
    assert "dev has no job clean." in result.err
    assert ("It has clean-up." in result.err) == bool(settings)


def test_a_job_before_it_is_deployed(deployed: Settings, ops: Ops) -> None:
    deployed.change(jobs={"clean-up": CLEAN_UP})
    result = ops("job", *ENV, "--name", "clean-up")
    assert result.code == 3
    assert "The job clean-up is not deployed." in result.err
    assert "not deployed" in ops("jobs", *ENV).out


def test_a_job_runs_now_with_its_log_and_exit_code(with_job: Settings, ops: Ops, fargate: Fargate) -> None:
    fargate.log, fargate.exit_code = ["at work"], 7
    result = ops("job", *ENV, "--name", "clean-up", "--overlap")
    assert result.code == 7
    assert "at work" in result.out
    assert [(task["family"], task["command"]) for task in fargate.ran] == [(FAMILY, None)]
    fargate.exit_code = 0
    assert ops("job", *ENV, "--name", "clean-up", "--overlap").code == 0
    fargate.container_reason = "CannotPullContainerError"
    result = ops("job", *ENV, "--name", "clean-up", "--overlap")
    assert result.code == 1
    assert "The job did not run" in result.err


def test_a_job_does_not_overlap_unless_said(
    with_job: Settings, ops: Ops, fargate: Fargate, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fargate.ends = False
    network = service_in_moto().network_configuration
    running = client("ecs").run_task(
        cluster=f"{APP}-dev", taskDefinition=FAMILY, launchType="FARGATE", networkConfiguration=network
    )["tasks"][0]["taskArn"]
    fargate.ends = True
    result = ops("job", *ENV, "--name", "clean-up")
    assert result.code == 1
    assert f"The job clean-up runs: task {running.rsplit('/', 1)[-1]}." in result.err
    assert len(fargate.ran) == 1
    assert ops("job", *ENV, "--name", "clean-up", "--overlap").code == 0
    client("ecs").stop_task(cluster=f"{APP}-dev", task=running)

    soon = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr(jobs, "next_run", lambda *_arguments: soon)
    result = ops("job", *ENV, "--name", "clean-up")
    assert result.code == 1
    assert "The schedule begins clean-up at " in result.err
    with_job.change(jobs={"clean-up": CLEAN_UP | {"overlap": True}})
    assert ops("job", *ENV, "--name", "clean-up").code == 0


def test_jobs_lists_schedules_and_runs(with_job: Settings, ops: Ops, client: Client) -> None:
    logs, now = client("logs"), int(time.time() * 1000)
    group = f"/{APP}/dev/service"
    for stream, lines in {
        "job-clean-up/app/1": [("job clean-up ended: failed", 7, 65), ("at work", 0, 1)],
        "job-clean-up/app/2": [("job clean-up ended: succeeded", 0, 3)],
        "job-clean-up-more/app/3": [("job clean-up-more ended: failed", 1, 3)],
    }.items():
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [
            {"timestamp": now, "message": json.dumps({"message": text, "exit_code": code, "seconds": seconds})}
            for text, code, seconds in lines
        ]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    shown = ops("jobs", *ENV)
    assert shown.code == 0, shown.text
    rows = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert rows[0] == "dev"
    assert rows[1].startswith("clean-up cron(30 3 * * ? *) UTC next 20")
    assert len(rows) == 4
    assert rows[2].endswith("UTC, 3s succeeded")
    assert rows[3].endswith("UTC, 1m05s failed (exit code 7)")


def test_what_could_not_be_started_is_shown_until_it_is_forgotten(with_job: Settings, ops: Ops, client: Client) -> None:
    sqs = client("sqs")
    queue = sqs.get_queue_url(QueueName=f"{APP}-dev-jobs-dead-letters")["QueueUrl"]
    given = {
        "SCHEDULE_ARN": f"arn:aws:scheduler:us-east-1:123456789012:schedule/{APP}-dev-jobs/{FAMILY}",
        "ERROR_CODE": "AccessDeniedException",
        "ERROR_MESSAGE": "is not authorized to perform: ecs:RunTask",
    }
    attributes = {key: {"DataType": "String", "StringValue": value} for key, value in given.items()}
    sqs.send_message(QueueUrl=queue, MessageBody="{}", MessageAttributes=attributes)
    for _ in range(2):  # looking leaves it there
        shown = ops("jobs", *ENV)
        assert "could not be started: clean-up: AccessDeniedException is not authorized" in shown.out
        assert "make jobs FORGET=1 ENV=dev forgets them" in shown.out
    assert "could not be started" not in ops("jobs", *ENV, "--forget").out


def test_no_jobs(deployed: Settings, ops: Ops) -> None:
    shown = ops("jobs", *ENV)
    assert (shown.code, shown.out) == (0, "dev has no jobs (jobs of project.yaml).\n")


def test_schedules_follow_the_service_when_it_is_rolled_back(with_job: Settings, client: Client) -> None:
    project = load("dev")
    connection = aws.connect(project)
    old = _target(client)["TaskDefinition"]
    new = register(client, DIGEST["new"])
    found = client("scheduler").get_schedule(Name=FAMILY, GroupName=f"{APP}-dev-jobs")
    client("scheduler").update_schedule(
        **{key: found[key] for key in ("Name", "GroupName", "ScheduleExpression", "FlexibleTimeWindow")},
        State="ENABLED",
        Target=found["Target"] | {"Input": json.dumps(_target(client) | {"TaskDefinition": new})},
    )
    assert service_in_moto().task_definition
    assert jobs.follow_service(connection, project) == ["clean-up"]
    assert _target(client) == {"Cluster": f"{APP}-dev", "TaskDefinition": old}
    assert jobs.follow_service(connection, project) == []


def _target(client: Client) -> dict[str, Any]:
    found = client("scheduler").get_schedule(Name=FAMILY, GroupName=f"{APP}-dev-jobs")
    return dict(json.loads(found["Target"]["Input"]))


def test_down_deregisters_the_jobs_task_definitions(with_job: Settings, ops: Ops, client: Client) -> None:
    with_job.change(jobs={})  # of a job that project.yaml no longer has, too
    done = ops("down", *ENV, "--confirm", "dev")
    assert done.code == 0, done.text
    assert client("ecs").list_task_definitions(familyPrefix=FAMILY, status="ACTIVE")["taskDefinitionArns"] == []


def test_time_zones_are_those_of_iana() -> None:
    file = Path(jobs.__file__).parent.parent / "infra" / "config" / "time-zones.txt"
    zones = file.read_text(encoding="utf-8").split()
    assert zones == sorted(set(zones))
    assert {"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"} <= set(zones)
    newer_than_dateutil = {"America/Coyhaique"}  # tzdata 2025b
    assert set(zones) - set(get_zonefile_instance().zones) <= newer_than_dateutil
