"""What people type day to day: logs, run, exec, roles, flag, incident-url, status, down, destroy."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.machinery import ROOT
from tests.machinery.ops.conftest import (
    APP,
    BUCKET,
    DIGEST,
    Fargate,
    Ops,
    RoleManager,
    Settings,
    service_in_moto,
)

Client = Callable[[str], Any]
ENV = ("--env", "dev")


def _log(client: Client, message: str, *, minutes_ago: float = 0, stream: str = "app/app/0a1b2c3d4e5f") -> None:
    logs = client("logs")
    group = f"/{APP}/dev/service"
    if not logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream)["logStreams"]:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    moment = int((time.time() - minutes_ago * 60) * 1000)
    logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": moment, "message": message}],
    )


# ---------------------------------------------------------------------- logs


def test_logs(deployed: Settings, ops: Ops, client: Client) -> None:
    _log(client, "long ago", minutes_ago=90)
    _log(client, "just now")
    shown = ops("logs", *ENV)
    assert shown.code == 0
    assert "just now" in shown.out
    assert "0a1b2c3d" in shown.out
    assert "long ago" not in shown.out
    assert "long ago" in ops("logs", *ENV, "--since", "2h").out
    assert "just now" in ops("logs", *ENV, "--since", "2026-01-31T08:00").out
    wrong = ops("logs", *ENV, "--since", "yesterday")
    assert wrong.code == 2
    assert "10m, 2h, 1d" in wrong.err


def test_logs_before_up(account_ready: Settings, ops: Ops) -> None:
    result = ops("logs", *ENV)
    assert result.code == 1
    assert "no log group" in result.err


def test_logs_follow_shows_what_comes(
    deployed: Settings, ops: Ops, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter(["second", "third"])

    def sleep(_seconds: float) -> None:
        message = next(turns, None)
        if message is None:
            raise KeyboardInterrupt
        _log(client, message)

    _log(client, "first")
    monkeypatch.setattr("ops.logs.time.sleep", sleep)
    result = ops("logs", *ENV, "--follow")
    assert result.code == 130
    assert [line.split()[-1] for line in result.out.split("\n") if line] == [
        "first",
        "second",
        "third",
    ]


# ---------------------------------------------------------------------- tasks


def test_run_shows_the_log_and_exits_with_the_code(deployed: Settings, ops: Ops, fargate: Fargate) -> None:
    fargate.log = ["imported 12 rows"]
    result = ops("run", *ENV, "--cmd", "python -m app.import 'two words' --fast")
    assert result.code == 0, result.text
    assert result.out == "imported 12 rows\n"
    assert fargate.ran[0]["command"] == ["python", "-m", "app.import", "two words", "--fast"]
    fargate.exit_code = 41
    assert ops("run", *ENV, "--cmd", "false").code == 41


@pytest.mark.parametrize(
    ("reason", "container_reason", "said"),
    [
        (
            "Task failed to start",
            "CannotPullContainerError: pull image manifest not found",
            "could not be pulled",
        ),
        ("ResourceInitializationError: unable to pull secrets", "none", "could not be reached"),
    ],
)
def test_run_that_never_starts(
    reason: str, container_reason: str, said: str, deployed: Settings, ops: Ops, fargate: Fargate
) -> None:
    fargate.reason, fargate.container_reason = reason, container_reason
    result = ops("run", *ENV, "--cmd", "true")
    assert result.code == 1
    assert said in result.err


def test_run_killed_for_memory(deployed: Settings, ops: Ops, fargate: Fargate) -> None:
    fargate.exit_code = 137
    result = ops("run", *ENV, "--cmd", "true")
    assert result.code == 137
    assert "out of memory" in result.err


@pytest.mark.parametrize("command", ["", "echo 'unclosed"])
def test_run_of_what_is_no_command(command: str, deployed: Settings, ops: Ops) -> None:
    assert ops("run", *ENV, "--cmd", command).code == 2


def test_exec(deployed: Settings, ops: Ops, fargate: Fargate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ops("exec", *ENV)
    assert missing.code == 1
    assert "session-manager-plugin is not installed" in missing.err
    plugin = tmp_path / "plugin/session-manager-plugin"
    plugin.parent.mkdir()
    plugin.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho "$AWS_SSM_START_SESSION_RESPONSE" > {tmp_path}/answer\nexit 7\n'
    )
    plugin.chmod(0o755)
    monkeypatch.setenv("PATH", f"{plugin.parent}:{os.environ['PATH']}")
    idle = ops("exec", *ENV)
    assert idle.code == 1
    assert "No task runs" in idle.err

    task = {"taskArn": f"arn:aws:ecs:us-east-1:1:task/{APP}-dev/0a1b2c", "lastStatus": "RUNNING"}
    task["containers"] = [{"name": "app", "runtimeId": "0a1b2c-99"}]  # type: ignore[assignment]
    _answers(monkeypatch, "ListTasks", {"taskArns": [task["taskArn"]]})
    _answers(monkeypatch, "DescribeTasks", {"tasks": [task]})
    _answers(monkeypatch, "ExecuteCommand", {"session": {"sessionId": "s", "tokenValue": "a-secret"}})
    shell = ops("exec", *ENV)
    assert shell.code == 7
    arguments = (tmp_path / "arguments").read_text()
    assert f"ecs:{APP}-dev_0a1b2c_0a1b2c-99" in arguments
    assert "a-secret" not in arguments
    assert "a-secret" in (tmp_path / "answer").read_text()
    assert ops("exec", *ENV, "--task", "ffff").code == 2


def _answers(monkeypatch: pytest.MonkeyPatch, operation: str, answer: dict[str, Any]) -> None:
    """Let AWS answer an operation that moto has not, or not so."""
    from botocore.client import BaseClient

    original = BaseClient._make_api_call

    def call(self: Any, name: str, arguments: Any) -> Any:
        return answer if name == operation else original(self, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)


# ---------------------------------------------------------------------- roles


def test_roles(deployed: Settings, ops: Ops, role_manager: RoleManager) -> None:
    sql = 'GRANT USAGE ON SCHEMA "app" TO "app"'
    change = {"object": "schema app", "now": "app: not USAGE", "wanted": "app: USAGE", "sql": sql}
    role_manager.answer = {
        "action": "plan",
        "result": "changes",
        "summary": "1 change.",
        "changes": [change],
        "blocked": [],
    }
    result = ops("roles", *ENV, "plan")
    assert result.code == 0, result.text
    shown = [line.partition("]")[2].strip() for line in result.out.splitlines()]
    assert shown[:4] == ["~ schema app", "- app: not USAGE", "+ app: USAGE", f"{sql};"]
    assert "blocked" not in result.out
    assert json.loads(ops("roles", *ENV, "plan", "--json").out)["changes"] == [change]
    del role_manager.calls[1:]
    assert role_manager.calls == [(f"{APP}-dev-role-manager", {"action": "plan"})]


def test_names_in_a_report_write_no_lines_of_their_own(deployed: Settings, ops: Ops, role_manager: RoleManager) -> None:
    """A line that begins with two colons is a command to a workflow's runner."""
    name = 'table app."x\n::error::y\x1b[2J"'
    blocked = {"object": name, "reason": f"{name} is there", "remedy": f"DROP {name}"}
    change = {"object": name, "now": name, "wanted": name, "sql": f"GRANT ALL ON {name} TO x;\nRESET ROLE"}
    report = {"result": "drift", "summary": name, "changes": [change], "blocked": [blocked], "proofs": []}
    for action in ("plan", "check"):
        role_manager.answer = {"action": action, **report}
        if action == "check":
            role_manager.error = True
            role_manager.answer = {"errorType": "Drift", "errorMessage": json.dumps(role_manager.answer)}
        result = ops("roles", *ENV, action)
        assert "\x1b" not in result.text
        assert not [line for line in result.text.splitlines() if line.partition("]")[2].strip().startswith("::")]
        assert not [line for line in result.text.splitlines() if line.strip().startswith("::")]
        assert r"x\n::error::y\x1b[2J" in result.text
        assert "RESET ROLE;" in result.out


def test_roles_that_have_drifted(deployed: Settings, ops: Ops, role_manager: RoleManager) -> None:
    report = {
        "action": "check",
        "result": "drift",
        "summary": "readonly may INSERT into app.orders.",
        "notes": ["a note"],
    }
    role_manager.error = True
    role_manager.answer = {"errorType": "Drift", "errorMessage": json.dumps(report)}
    result = ops("roles", *ENV, "check")
    assert result.code == 1
    assert "a note" in result.out
    assert "check: drift. readonly may INSERT into app.orders." in result.err
    assert "make roles ACTION=plan ENV=dev" in result.err


def test_a_role_manager_that_fails(deployed: Settings, ops: Ops, role_manager: RoleManager) -> None:
    role_manager.error = True
    role_manager.answer = {"errorMessage": "connection refused", "errorType": "OperationalError"}
    role_manager.log = "START\nconnecting to shop-dev.cluster\n"
    result = ops("roles", *ENV, "apply")
    assert result.code == 1
    assert "connection refused" in result.err
    assert "connecting to shop-dev.cluster" in result.err
    assert ops("roles", *ENV, "drop").code == 2


def test_roles_without_a_database(account_ready: Settings, ops: Ops) -> None:
    account_ready.change(database="none")
    assert ops("roles", *ENV, "check").code == 2
    assert ops("migrate", *ENV).code == 2


# ---------------------------------------------------------------------- flags

DOCUMENT = {
    "version": "1",
    "flags": {
        "cart": {"name": "cart", "attributes": {"percent": {"constraints": {"type": "number"}}}},
        "old": {"name": "old"},
    },
    "values": {"cart": {"enabled": False, "percent": 0}, "old": {"enabled": True}},
}


@pytest.fixture
def appconfig(deployed: Settings, client: Client) -> dict[str, str]:
    """The flags of dev, as the service layer makes them."""
    config = client("appconfig")
    application = config.create_application(Name=f"{APP}-dev")["Id"]
    environment = config.create_environment(ApplicationId=application, Name="dev")["Id"]
    profile = config.create_configuration_profile(
        ApplicationId=application,
        Name="flags",
        LocationUri="hosted",
        Type="AWS.AppConfig.FeatureFlags",
    )["Id"]
    config.create_hosted_configuration_version(
        ApplicationId=application, ConfigurationProfileId=profile, ContentType="application/json",
        Content=json.dumps(DOCUMENT).encode(),
    )  # fmt: skip
    for name in (f"{APP}-dev", f"{APP}-dev-immediate"):
        config.create_deployment_strategy(
            Name=name,
            DeploymentDurationInMinutes=0,
            GrowthFactor=100,
            FinalBakeTimeInMinutes=0,
            ReplicateTo="NONE",
        )
    return {
        "ApplicationId": application,
        "ConfigurationProfileId": profile,
        "EnvironmentId": environment,
    }


def _newest(client: Client, where: dict[str, str]) -> Any:
    config = client("appconfig")
    place = {key: where[key] for key in ("ApplicationId", "ConfigurationProfileId")}
    numbers = [item["VersionNumber"] for item in config.list_hosted_configuration_versions(**place)["Items"]]
    return json.loads(config.get_hosted_configuration_version(**place, VersionNumber=max(numbers))["Content"].read())


def test_flag(appconfig: dict[str, str], ops: Ops, client: Client) -> None:
    shown = ops("flag", *ENV)
    assert shown.code == 0, shown.text
    assert shown.out.split() == ["cart", "off", "percent", "0", "old", "on"]
    changed = ops("flag", *ENV, "--name", "cart", "--enabled", "true", "--percent", "30")
    assert changed.code == 0, changed.text
    assert "complete, 100 %" in changed.out
    assert _newest(client, appconfig)["values"] == {
        "cart": {"enabled": True, "percent": 30},
        "old": {"enabled": True},
    }
    again = ops("flag", *ENV, "--name", "cart", "--percent", "30")
    assert "so already" in again.out
    off = ops("flag", *ENV, "--name", "cart", "--enabled", "false", "--immediate")
    assert off.code == 0, off.text
    assert _newest(client, appconfig)["values"]["cart"] == {"enabled": False, "percent": 30}


def test_flag_of_a_preview_is_launched_at_once(appconfig: dict[str, str], ops: Ops, client: Client) -> None:
    config, name = client("appconfig"), f"{APP}-dev-pr-7"
    application = config.create_application(Name=name)["Id"]
    config.create_environment(ApplicationId=application, Name="dev")
    profile = config.create_configuration_profile(ApplicationId=application, Name="flags", LocationUri="hosted")["Id"]
    where = {"ApplicationId": application, "ConfigurationProfileId": profile}
    config.create_hosted_configuration_version(
        **where, ContentType="application/json", Content=json.dumps(DOCUMENT).encode()
    )
    config.create_deployment_strategy(
        Name=f"{name}-immediate", DeploymentDurationInMinutes=0, GrowthFactor=100, ReplicateTo="NONE"
    )
    changed = ops("flag", *ENV, "--workspace", "pr-7", "--name", "cart", "--enabled", "true")
    assert changed.code == 0, changed.text
    assert _newest(client, where)["values"]["cart"]["enabled"]


def test_flag_that_does_not_exist(appconfig: dict[str, str], ops: Ops) -> None:
    unknown = ops("flag", *ENV, "--name", "basket", "--enabled", "true")
    assert unknown.code == 2
    assert "One of cart, old" in unknown.err
    for wrong in (
        ("--name", "cart"), ("--enabled", "true"), ("--name", "cart", "--percent", "101"),
        ("--name", "cart", "--enabled", "perhaps"), ("--name", "old", "--percent", "5"),
    ):  # fmt: skip
        assert ops("flag", *ENV, *wrong).code == 2, wrong


def test_flag_that_an_alarm_rolls_back(appconfig: dict[str, str], ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"Description": "alarm shop-dev-errors went off"}
    _answers(
        monkeypatch,
        "GetDeployment",
        {"State": "ROLLED_BACK", "PercentageComplete": 0.0, "EventLog": [event]},
    )
    result = ops("flag", *ENV, "--name", "cart", "--enabled", "true")
    assert result.code == 6
    assert "shop-dev-errors went off" in result.err


def test_flag_before_up_and_without_the_component(account_ready: Settings, ops: Ops) -> None:
    assert ops("flag", *ENV).code == 3
    account_ready.change(feature_flags="none")
    assert ops("flag", *ENV).code == 2


@pytest.mark.parametrize("saved", [False, True])
def test_flags_that_project_yaml_no_longer_has_can_be_deleted(
    appconfig: dict[str, str], deployed: Settings, client: Client, tmp_path: Path, saved: bool
) -> None:
    """AWS: "Cannot delete configuration profile … because there are still hosted configuration versions"."""
    from ops import layers
    from ops.aws import Aws
    from ops.project import load
    from ops.terraform import Plan

    deployed.change(feature_flags="none")
    where = {key: appconfig[key] for key in ("ApplicationId", "ConfigurationProfileId")}
    left: list[Any] = []

    def versions(_plan: object) -> None:
        left.append(client("appconfig").list_hosted_configuration_versions(**where)["Items"])

    address = "aws_appconfig_configuration_profile.flags[0]"
    planned = {"resource_changes": [{"address": address, "change": {"actions": ["delete"]}}]}
    stand_in: Any = SimpleNamespace(apply=versions, planned=lambda _: planned, project=load("dev"))
    path = tmp_path / "plan"
    plan = path if saved else Plan(path, changes=[("delete", address)])
    layers.apply(Aws("us-east-1"), stand_in, plan)
    assert left == [[]]


def test_smoke_looks_from_where_nobody_may_call(account_ready: Settings, ops: Ops) -> None:
    account_ready.change(environments={"dev": {"ingress": {"cidrs": ["203.0.113.0/24", "198.51.100.7/32"]}}})
    result = ops("smoke", *ENV)
    assert result.code == 0, result.text
    assert "not looked at: only 198.51.100.7/32, 203.0.113.0/24 may call it" in result.out


# ---------------------------------------------------------------------- secrets


@pytest.fixture
def with_secrets(account_ready: Settings, client: Client) -> Settings:
    """A project with two secrets, and the network's key, which encrypts them."""
    account_ready.change(service={"secrets": ["API_KEY", "SESSION_KEY"]})
    key = client("kms").create_key()["KeyMetadata"]["KeyId"]
    client("kms").create_alias(AliasName=f"alias/{APP}-dev-network", TargetKeyId=key)
    return account_ready


def test_secret_is_stored_and_listed_and_never_shown(with_secrets: Settings, ops: Ops, client: Client) -> None:
    assert ops("secrets", *ENV).out.splitlines() == ["API_KEY      not set", "SESSION_KEY  not set"]
    value = "-----BEGIN\nno one's business\nEND-----"
    for given in ("before", value):
        result = ops("secret", *ENV, "--name", "API_KEY", given=f"{given}\n")
        assert result.code == 0, result.text
        assert given not in result.text
    assert f"Stored in /{APP}/dev/secrets/API_KEY." in result.out
    name = f"/{APP}/dev/secrets/API_KEY"
    kept = client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert (kept["Type"], kept["Value"], kept["Version"]) == ("SecureString", value, 2)
    described = client("ssm").describe_parameters()["Parameters"]
    assert [item["KeyId"] for item in described] == [f"alias/{APP}-dev-network"]
    tags = client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
    assert {"Key": "environment", "Value": "dev"} in tags
    listed = ops("secrets", *ENV).out.splitlines()
    assert listed[0].startswith("API_KEY      set 20")
    assert " by " in listed[0]
    assert listed[1] == "SESSION_KEY  not set"
    for path in with_secrets.path.parent.rglob("*"):
        assert not path.is_file() or b"business" not in path.read_bytes()


def test_secret_is_generated(with_secrets: Settings, ops: Ops, client: Client) -> None:
    values = set()
    for _ in range(2):
        result = ops("secret", *ENV, "--name", "SESSION_KEY", "--generate")
        assert result.code == 0, result.text
        name = f"/{APP}/dev/secrets/SESSION_KEY"
        value = client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        assert len(value) >= 43
        assert value not in result.text
        values.add(value)
    assert len(values) == 2


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("API_KEI", "x", "project.yaml has no secret API_KEI. It has API_KEY, SESSION_KEY"),
        ("API_KEY", "\n", "API_KEY has 0 bytes; a value has 1 to 4096."),
        ("API_KEY", "é" * 2049, "API_KEY has 4098 bytes"),
    ],
)
def test_secret_that_is_none(
    name: str, given: str, words: str, with_secrets: Settings, ops: Ops, client: Client
) -> None:
    result = ops("secret", *ENV, "--name", name, given=given)
    assert result.code == 2
    assert words in result.err
    assert "éé" not in result.text
    assert client("ssm").describe_parameters()["Parameters"] == []


def test_secrets_of_previews_are_their_own(with_secrets: Settings, ops: Ops, client: Client) -> None:
    for workspace in ("pr-1", "pr-2"):
        result = ops("secret", *ENV, "--workspace", workspace, "--name", "API_KEY", given="for previews")
        assert result.code == 0, result.text
    [kept] = client("ssm").describe_parameters()["Parameters"]
    assert kept["Name"] == f"/{APP}/dev/previews/secrets/API_KEY"
    assert ops("secrets", *ENV).out.splitlines()[0] == "API_KEY      not set"


def test_a_secret_without_a_value_stops_before_the_service(deployed: Settings, ops: Ops, client: Client) -> None:
    deployed.change(service={"secrets": ["API_KEY"]})
    before = service_in_moto().task_definition
    for command in (("up", "--image", "release-2", "--yes"), ("deploy", "--image", "release-2", "--yes")):
        result = ops(*command[:1], *ENV, *command[1:])
        assert result.code == 1, result.text
        assert "These secrets have no value in dev: API_KEY. The service was not touched." in result.err
        assert "make secret NAME=API_KEY ENV=dev" in result.err
    assert service_in_moto().task_definition == before


def test_a_new_value_restarts_the_service(deployed: Settings, ops: Ops, client: Client) -> None:
    deployed.change(service={"secrets": ["API_KEY"]})
    key = client("kms").create_key()["KeyMetadata"]["KeyId"]
    with contextlib.suppress(client("kms").exceptions.AlreadyExistsException):
        client("kms").create_alias(AliasName=f"alias/{APP}-dev-network", TargetKeyId=key)
    assert ops("secret", *ENV, "--name", "API_KEY", "--generate").code == 0
    result = ops("deploy", *ENV, "--image", "release-1", "--yes")
    assert result.code == 0, result.text
    assert "1 of 1 have a value" in result.text
    assert "restarted for API_KEY" in result.text


# ---------------------------------------------------------------------- incident-url

URL = "https://events.pagerduty.com/integration/0123abcd/enqueue"


def test_incident_url_from_standard_input(account_ready: Settings, ops: Ops, client: Client) -> None:
    result = ops("incident-url", *ENV, given=f"{URL}\n")
    assert result.code == 0, result.text
    assert "0123abcd" not in result.text
    stored = client("ssm").get_parameter(Name=f"/{APP}/dev/incident-url", WithDecryption=True)["Parameter"]
    assert (stored["Type"], stored["Value"]) == ("SecureString", URL)
    for path in account_ready.path.parent.rglob("*"):
        assert not path.is_file() or b"0123abcd" not in path.read_bytes()
    again = ops("incident-url", *ENV, given=URL.replace("0123abcd", "ffff"))
    assert again.code == 0, again.text


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "http://events.pagerduty.com/integration/0123/enqueue",
        "https://evil.example/0123",
        "0123",
    ],
)
def test_incident_url_that_is_none(wrong: str, account_ready: Settings, ops: Ops, client: Client) -> None:
    result = ops("incident-url", *ENV, given=wrong)
    assert result.code == 2
    assert "<KEY>" in result.err
    assert "0123" not in result.text
    assert client("ssm").describe_parameters()["Parameters"] == []


@pytest.mark.parametrize(
    ("service", "value", "code"),
    [
        (
            "splunk-on-call",
            "https://alert.victorops.com/integrations/cloudwatch/20131130/alert/aa-11/team",
            0,
        ),
        ("splunk-on-call", URL, 2),
        ("email", "oncall@example.com", 0),
        ("none", "x", 2),
    ],
)
def test_incident_url_of_each_service(service: str, value: str, code: int, account_ready: Settings, ops: Ops) -> None:
    account_ready.change(incident_management=service)
    assert ops("incident-url", *ENV, given=value).code == code


def test_incident_url_typed_on_a_terminal_is_not_shown(account_ready: Settings, client: Client) -> None:
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "incident-url", *ENV],
        cwd=account_ready.path.parent, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while b"(not shown)" not in shown:
        shown += os.read(main, 1000)
    time.sleep(0.2)
    os.write(main, f"{URL}\n".encode())
    while True:
        try:
            piece = os.read(main, 1000)
        except OSError:  # the terminal was closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(60) == 0, shown
    os.close(main)
    assert b"0123abcd" not in shown
    assert b"Stored in" in shown


# ---------------------------------------------------------------------- status


def test_status(deployed: Settings, ops: Ops, client: Client) -> None:
    alarm = {
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "Namespace": "x",
        "MetricName": "x",
        "Period": 60,
        "Statistic": "Sum",
    }
    client("cloudwatch").put_metric_alarm(AlarmName=f"{APP}-dev-errors", **alarm)
    client("cloudwatch").put_metric_alarm(AlarmName=f"{APP}-dev-cpu", **alarm)
    client("cloudwatch").set_alarm_state(AlarmName=f"{APP}-dev-errors", StateValue="ALARM", StateReason="5XX")
    layer = deployed.path.parent / "infra/network/main.tf"
    layer.write_text(layer.read_text() + 'resource "terraform_data" "new" {}\n')
    result = ops("status", *ENV)
    assert result.code == 0, result.text
    assert DIGEST["old"] in result.out
    assert "release-1" in result.out
    assert "1 of 1 run" in result.out
    assert "alarms alarm" in result.out
    assert "errors" in result.out
    assert "drift: 1 to add" in result.out
    assert "as the code says" in result.out
    data = json.loads(ops("status", *ENV, "--json", "--no-drift").out)
    assert data["healthy"] is True
    assert data["alarms"]["ALARM"] == ["errors"]
    assert data["layers"]["network"] == "applied"
    assert data["deployments"][0]["image"] == DIGEST["old"]


def test_status_of_a_service_that_is_down(deployed: Settings, ops: Ops) -> None:
    service_in_moto().running_count = 0
    assert "NOT HEALTHY" in ops("status", *ENV, "--no-drift").out


def test_status_before_up(account_ready: Settings, ops: Ops) -> None:
    result = ops("status", *ENV)
    assert result.code == 0, result.text
    assert "nothing is deployed" in result.out
    assert "layer network" in result.out


def test_status_before_bootstrap(project: Settings, ops: Ops) -> None:
    assert ops("status", *ENV).code == 3


# ---------------------------------------------------------------------- down and destroy


def test_down_wants_the_name(deployed: Settings, ops: Ops, client: Client) -> None:
    asked = ops("down", *ENV)
    assert asked.code == 2
    assert "dev: service, database, network" in asked.out
    assert "CONFIRM=dev" in asked.err
    assert ops("down", *ENV, "--confirm", "prod").code == 2
    assert ops("image", *ENV).code == 0
    done = ops("down", *ENV, "--confirm", "dev")
    assert done.code == 0, done.text
    assert done.out.index("[service]") < done.out.index("[database]") < done.out.index("[network]")
    assert client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []
    assert client("ssm").describe_parameters()["Parameters"] == []
    assert client("ecr").describe_repositories()["repositories"]
    again = ops("down", *ENV, "--confirm", "dev")
    assert again.code == 0, again.text
    assert again.out.count("nothing is there") == 3


def test_down_refuses_what_is_protected(account_ready: Settings, ops: Ops) -> None:
    result = ops("down", "--env", "prod", "--confirm", "prod")
    assert result.code == 2
    assert "prod is protected" in result.err
    assert "protected: false" in result.err


def test_down_refuses_what_is_still_protected_in_aws(deployed: Settings, ops: Ops, client: Client) -> None:
    client("rds").modify_db_cluster(DBClusterIdentifier=f"{APP}-dev", DeletionProtection=True)
    result = ops("down", *ENV, "--confirm", "dev")
    assert result.code == 2
    assert "make apply LAYER=database ENV=dev" in result.err


def test_down_goes_on_after_a_failure(deployed: Settings, ops: Ops, client: Client) -> None:
    balancer = client("elbv2").describe_load_balancers(Names=[f"{APP}-dev"])["LoadBalancers"][0]
    client("elbv2").delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    failed = ops("down", *ENV, "--confirm", "dev")
    assert failed.code == 1
    assert "Terraform apply failed in service-dev" in failed.err
    client("ecs").create_cluster(clusterName=f"{APP}-dev")
    subnets = [item["SubnetId"] for item in client("ec2").describe_subnets()["Subnets"]][:2]
    client("elbv2").create_load_balancer(Name=f"{APP}-dev", Subnets=subnets)
    service = {"cluster": f"{APP}-dev", "serviceName": f"{APP}-dev", "taskDefinition": f"{APP}-dev"}
    client("ecs").create_service(**service, desiredCount=0)
    done = ops("down", *ENV, "--confirm", "dev")
    assert done.code == 0, done.text


def test_down_deletes_log_groups_that_a_service_made_again(deployed: Settings, ops: Ops, client: Client) -> None:
    logs = client("logs")
    again = [f"/aws/ecs/containerinsights/{APP}-dev/performance", f"/aws/rds/cluster/{APP}-dev/postgresql"]
    others = [f"/aws/rds/cluster/{APP}-develop/postgresql", f"/aws/ecs/containerinsights/{APP}-dev-pr-1/performance"]
    for name in again + others:
        logs.create_log_group(logGroupName=name)
    done = ops("down", *ENV, "--confirm", "dev")
    assert done.code == 0, done.text
    left = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    assert not set(again) & set(left)
    assert set(others) <= set(left)
    assert again[0] in done.text


def test_destroy_everything(deployed: Settings, ops: Ops, client: Client, push: Callable[..., None]) -> None:
    push("release-2", DIGEST["new"], f"{APP}/previews")
    assert ops("incident-url", *ENV, given=URL).code == 0
    assert ops("up", *ENV, "--workspace", "pr-1", "--image", "release-2").code == 0
    asked = ops("destroy")
    assert asked.code == 2
    assert f"CONFIRM={APP}" in asked.err
    done = ops("destroy", "--confirm", APP)
    assert done.code == 0, done.text
    assert client("s3").list_buckets()["Buckets"] == []
    assert client("dynamodb").list_tables()["TableNames"] == []
    assert client("ecr").describe_repositories()["repositories"] == []
    assert client("ssm").describe_parameters()["Parameters"] == []
    assert client("kms").list_aliases()["Aliases"] == [
        item for item in client("kms").list_aliases()["Aliases"] if item["AliasName"].startswith("alias/aws/")
    ]
    assert not (deployed.path.parent / ".ops").exists()


def test_the_locks_table_is_deleted_when_it_is_no_longer_updated(
    project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto's is never updated for longer than its answer takes."""
    from ops import teardown
    from ops.project import load

    states = ["UPDATING", "UPDATING", "ACTIVE"]
    deleted: list[dict[str, str]] = []

    def delete(**table: str) -> None:
        assert not states, "ResourceInUseException: the table is being updated"
        deleted.append(table)

    found = SimpleNamespace(
        update_table=lambda **_: None,
        describe_table=lambda **_: {"Table": {"TableStatus": states.pop(0)}},
        delete_table=delete,
    )
    monkeypatch.setattr(teardown, "POLL_SECONDS", 0.0)
    aws: Any = SimpleNamespace(client=lambda _: found)
    teardown._delete_table(load(), aws)
    assert deleted == [{"TableName": f"{APP}-tfstate-locks"}]


def test_destroy_refuses_while_anything_is_protected(deployed: Settings, ops: Ops) -> None:
    deployed.change(environments={"dev": {}})
    text = deployed.path.read_text().replace("protected: false", "protected: true")
    deployed.path.write_text(text)
    result = ops("destroy", "--confirm", APP)
    assert result.code == 2
    assert "dev is protected" in result.err
    assert ops("image", *ENV).code == 0
    assert BUCKET
