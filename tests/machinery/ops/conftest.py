"""A project with layers in miniature, moto's server as its AWS, and the commands as a person calls them.

The layers are real Terraform without a provider: `terraform_data` whose provisioners make (in moto, by boto3) what
the commands look for. So state, locks, plans and workspaces are Terraform's own, and a test takes seconds.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import yaml
from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from ops import aws, cli, ecs, flags
from ops.project import load

# What moto lacks is in the rehearsal's additions: AppConfig's deployments, conditions of bucket policies.
from ops.rehearsal.simulator.identities import ADMINISTRATOR
from ops.rehearsal.simulator.journal import Journal
from ops.rehearsal.simulator.moto_additions import appconfig, s3
from ops.rehearsal.simulator.world import World
from werkzeug.serving import make_server

from tests.machinery import ROOT
from tests.machinery.ops import docker as stand_in
from tests.machinery.ops import miniature

REGION = "us-east-1"
APP = "shop"
ACCOUNT = "123456789012"  # the one that moto simulates
OTHER = "210987654321"  # the one of an environment that lives elsewhere
BUCKET = f"{APP}-tfstate-{ACCOUNT}-{REGION}"
DIGEST = {name: f"sha256:{number * 64}" for name, number in (("old", "1"), ("new", "2"))}
assert appconfig
assert s3


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.out + self.err


Ops = Callable[..., Result]


@dataclass
class RoleManager:
    """What the role manager answers from now on; None: there is no such function."""

    answer: dict[str, Any] | None = field(
        default_factory=lambda: {
            "action": "check",
            "result": "passed",
            "summary": "3 roles were proven.",
        }
    )
    error: bool = False
    log: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """What a simulated AWS knows."""
    directory = tmp_path_factory.mktemp("moto")
    return World(directory, ACCOUNT, REGION, directory, endpoint="", receiver="", accounts=(OTHER,))


@pytest.fixture(scope="session")
def moto(world: World) -> Iterator[str]:
    """The address of a simulated AWS."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # The journal knows a call that is repeated because its answer got lost; without it, Terraform's lock is in
    # its own way then.
    application = Journal(DomainDispatcherApplication(create_backend_app), world.directory / "journal.jsonl", world)
    server = make_server("127.0.0.1", 0, application, True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with miniature.serving() as address:
        os.environ["MINIATURE"] = address
        yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    application.file.close()


@functools.cache
def _session(**arguments: str) -> Any:
    """One session for all tests: reading AWS's models is most of a client's time."""
    return boto3.Session(**arguments)


@pytest.fixture(autouse=True)
def account(moto: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty AWS account, reached by the environment alone."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "TF_VAR_", "TF_CLI_ARGS"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": ADMINISTRATOR[0],
        "AWS_SECRET_ACCESS_KEY": ADMINISTRATOR[1],
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "NO_COLOR": "1",
        "STAND_INS_PYTHON": sys.executable,
    }.items():
        monkeypatch.setenv(name, value)
    moto_api_backend.reset()
    for number in (ACCOUNT, OTHER):
        world.identities.make_administrator(number)
    monkeypatch.setattr("ops.aws.boto3", SimpleNamespace(Session=_session))
    monkeypatch.setattr(ecs, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(flags, "POLL_SECONDS", 0.05)
    monkeypatch.setattr("ops.terraform.LOCK_SECONDS", 0)
    monkeypatch.setenv("OPS_GITHUB", "0")


@pytest.fixture
def new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are looked for again, for tests of what is wrong with them."""
    monkeypatch.setattr("ops.aws.boto3", boto3)
    aws._session.cache_clear()


@dataclass
class Settings:
    """project.yaml of a test's project."""

    path: Path

    def change(self, **values: Any) -> None:
        """Set values at the top; a dictionary is merged."""
        settings = yaml.safe_load(self.path.read_text())
        for name, value in values.items():
            if isinstance(value, dict):
                for key, inner in value.items():
                    settings[name][key] = settings[name].get(key, {}) | inner if isinstance(inner, dict) else inner
            else:
                settings[name] = value
        self.path.write_text(yaml.safe_dump(settings))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project with miniature layers, as the current folder."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "infra/config", root / "infra/config")
    settings = yaml.safe_load((ROOT / "project.yaml").read_text())
    environment = settings["environments"].popitem()[1] | {"protected": False}
    database = {"min_capacity": 0, "max_capacity": 2, "pause_after_seconds": 1800, "instances": 1}
    environment["database"] = database | {"backup_retention_days": 7}
    environment["network"] |= {"zones": 2, "nat_gateways": 1, "endpoint_zones": 2}
    roles = {"migrator": {"profile": "owner"}, "app": {"profile": "read-write"}}
    settings |= {
        "app_name": APP,
        "aws_account_id": ACCOUNT,
        "aws_region": REGION,
        "owner": "team",
        "description": "A shop",
        "github_repository": "acme/shop",
        "domain_name": "",
        "database": "aurora-postgresql",
        "feature_flags": "appconfig",
        "incident_management": "pagerduty",
        "terraform_state_locks": "dynamodb",
        "environments": {"dev": environment, "prod": environment | {"protected": True}},
        "database_roles": {"schemas": ["app"], "roles": roles},
    }
    (root / "project.yaml").write_text(yaml.safe_dump(settings))
    for name, text in miniature.LAYERS.items():
        (root / "infra" / name).mkdir()
        (root / "infra" / name / "main.tf").write_text(text)
    (root / "app").mkdir()
    (root / "app/Dockerfile").write_text("FROM scratch\nCOPY app/requirements*.txt /\nCOPY . /service\n")
    (root / "app/requirements.txt").write_text("")
    (root / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    (root / "role_manager/dist").mkdir(parents=True)
    (root / "role_manager/dist/role_manager.zip").write_bytes(b"zip")
    monkeypatch.chdir(root)
    return Settings(root / "project.yaml")


@pytest.fixture
def ops(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ops:
    """Run a command in this process; standard input is not a terminal."""

    def run(*arguments: str, given: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        captured = capfd.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def client() -> Callable[[str], Any]:
    """A client of the simulated AWS, as a bystander has it."""
    return miniature._client


@dataclass
class Fargate:
    """What tasks do that are run from now on."""

    exit_code: int = 0
    reason: str = "Essential container in task exited"
    container_reason: str = ""
    log: list[str] = field(default_factory=list)
    ends: bool = True
    ran: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(autouse=True)
def fargate(monkeypatch: pytest.MonkeyPatch) -> Fargate:
    """Tasks that end as a test says, with their log; moto's run for ever."""
    will = Fargate()
    original = EC2ContainerServiceBackend.run_task

    def run_task(backend: EC2ContainerServiceBackend, *args: Any, **kwargs: Any) -> Any:
        tasks = original(backend, *args, **kwargs)
        for task in tasks:
            definition = backend.describe_task_definition(task.task_definition_arn)
            container: Any = definition.container_definitions[0]
            overrides: Any = (task.overrides or {}).get("containerOverrides", [{}])
            will.ran.append(
                {
                    "image": container["image"],
                    "family": definition.family,
                    "command": (overrides or [{}])[0].get("command"),
                    "release": {i["name"]: i["value"] for i in container["environment"]}["RELEASE"],
                }
            )
            options = container["logConfiguration"]["options"]
            logs = miniature._client("logs")
            stream = f"{options['awslogs-stream-prefix']}/app/{task.id}"
            logs.create_log_stream(logGroupName=options["awslogs-group"], logStreamName=stream)
            now = int(time.time() * 1000)
            events = [{"timestamp": now + n, "message": text} for n, text in enumerate(will.log)]
            if events:
                logs.put_log_events(logGroupName=options["awslogs-group"], logStreamName=stream, logEvents=events)
            if will.ends:
                task.last_status = "STOPPED"
                task.stopped_reason = will.reason
                ours: Any = task.containers[0]
                ours.exitCode = None if will.container_reason else will.exit_code
                ours.reason = will.container_reason
        return tasks

    monkeypatch.setattr(EC2ContainerServiceBackend, "run_task", run_task)
    return will


@pytest.fixture
def push(client: Callable[[str], Any]) -> Callable[..., None]:
    """Put an image of a digest into the build repository (or another), as `docker push` does."""

    def put(tag: str, digest: str, repository: str = APP) -> None:
        ecr = client("ecr")
        manifest = f'{{"schemaVersion": 2, "layers": [], "config": {{"digest": "{digest}"}}, "of": "{tag}"}}'
        ecr.put_image(
            repositoryName=repository,
            imageTag=tag,
            imageManifest=manifest,
            imageDigest=digest,
            imageManifestMediaType=stand_in.MEDIA_TYPE,
        )

    return put


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in for `docker` on the PATH, which pushes into the simulated build repository; the file of its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "calls").touch()
    program = folder / "docker"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in.__file__}" "{folder}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "calls"


@pytest.fixture
def account_ready(project: Settings, client: Callable[[str], Any]) -> Settings:
    """A project whose account is bootstrapped."""
    names = {
        "state_bucket": f"{APP}-tfstate-{ACCOUNT}-{REGION}",
        "locks_table": f"{APP}-tfstate-locks",
        "state_key": f"alias/{APP}-tfstate",
    }
    miniature.make("account", names, {})
    state = '{"version": 4, "terraform_version": "1.11.4", "serial": 1, "lineage": "test", "outputs": {}, "resources": [{"mode": "managed", "type": "terraform_data", "name": "account", "provider": "provider[\\"terraform.io/builtin/terraform\\"]", "instances": []}]}'
    client("s3").put_object(Bucket=names["state_bucket"], Key="account.tfstate", Body=state.encode())
    return project


_states: dict[str, bytes] = {}


@pytest.fixture
def deployed(
    account_ready: Settings,
    ops: Ops,
    push: Callable[[str, str], None],
    fargate: Fargate,
    healthy_tasks: None,
    role_manager: RoleManager,
) -> Settings:
    """A project with dev deployed: digest `old`, tag `release-1`; `new`, tag `release-2`, is in the repository.

    The first test of a process deploys by the commands; later ones get the states and the things that it made.
    """
    bucket = miniature._client("s3")
    if _states:
        for key, body in _states.items():
            bucket.put_object(Bucket=BUCKET, Key=key, Body=body)
        names = dict(load("dev").names)
        for layer in ("network", "build-repository", "database", "service"):
            miniature.make(layer, names, {"image_digest": DIGEST["old"]})
        push("release-1", DIGEST["old"])
        push("release-2", DIGEST["new"])
        miniature._client("ssm").put_parameter(Name=f"/{APP}/dev/image", Value=DIGEST["old"], Type="String")
        return account_ready
    assert ops("apply", "--layer", "build-repository", "--yes").code == 0
    push("release-1", DIGEST["old"])
    push("release-2", DIGEST["new"])
    result = ops("up", "--env", "dev", "--image", "release-1")
    assert result.code == 0, result.text
    fargate.ran.clear()
    role_manager.calls.clear()
    for item in bucket.list_objects_v2(Bucket=BUCKET)["Contents"]:
        _states[item["Key"]] = bucket.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
    return account_ready


def service_in_moto(name: str = f"{APP}-dev") -> Any:
    """moto's own object of the ECS service, to change what the simulated AWS says of it."""
    return ecs_backends[ACCOUNT][REGION].services[f"{name}:{name}"]


def bash(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def healthy_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of services run, and their targets are healthy."""
    monkeypatch.setenv("MOTO_ECS_SERVICE_RUNNING", "1")


@pytest.fixture
def role_manager(monkeypatch: pytest.MonkeyPatch) -> RoleManager:
    """A role manager that answers as a test says."""
    will = RoleManager()
    from moto.awslambda.models import LambdaBackend

    def invoke(_backend: LambdaBackend, function_name: str, *args: Any, **_kwargs: Any) -> bytes | None:
        body = next(item for item in args if isinstance(item, str) and "action" in item)
        headers = args[-1]
        will.calls.append((function_name, json.loads(body)))
        if will.answer is None:
            return None
        if will.error:
            headers["x-amz-function-error"] = "Unhandled"
            headers["x-amz-log-result"] = base64.b64encode(will.log.encode()).decode()
        return json.dumps(will.answer).encode()

    monkeypatch.setattr(LambdaBackend, "invoke", invoke)
    return will
