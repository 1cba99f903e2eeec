"""The command line: help, wrong use, credentials, and every operator target of `make help`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from botocore.awsrequest import AWSResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ops.cli import cli

from tests.machinery import ROOT
from tests.machinery.ops.conftest import Ops, Settings

# What each operator target of the Makefile is called with in a test: enough to reach its command.
TARGETS = {
    "doctor": "OFFLINE=1",
    "bootstrap": "PLAN=1",
    "up": "ENV=dev PLAN=1",
    "status": "ENV=dev",
    "deploy": "ENV=dev IMAGE=release-1",
    "smoke": "ENV=dev",
    "logs": "ENV=dev",
    "exec": "ENV=dev",
    "run": "ENV=dev CMD='echo $HOME'",
    "flag": "ENV=dev",
    "migrate": "ENV=dev",
    "roles": "ENV=dev ACTION=check",
    "incident-url": "ENV=dev",
    "secret": "ENV=dev NAME=API_KEY GENERATE=1",
    "secrets": "ENV=dev",
    "job": "ENV=dev NAME=clean-up OVERLAP=1",
    "jobs": "ENV=dev FORGET=1",
    "queue": "ENV=dev NAME=example ACTION=redrive YES=1",
    "plan": "LAYER=network ENV=dev",
    "apply": "LAYER=network ENV=dev",
    "unlock": "LAYER=network ENV=dev LOCK=1",
    "down": "ENV=dev",
    "destroy": "",
}


def operator_targets() -> list[str]:
    """Targets that `make help` lists and whose recipe calls an operator command."""
    makefile = (ROOT / "Makefile").read_text()
    helped = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    calling = re.findall(r"^([a-z-]+):.*\n\t@.*\$\(OPS\) ", makefile, re.MULTILINE)
    return [target for target in helped if target in calling]


def test_every_operator_target_is_tested() -> None:
    assert sorted(operator_targets()) == sorted(TARGETS)


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ops/ for all tests of this process: Python compiles it once."""
    folder = tmp_path_factory.mktemp("commands") / "ops"
    shutil.copytree(ROOT / "ops", folder, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    return folder


@pytest.fixture
def make(project: Settings, commands: Path) -> Path:
    """The project with the Makefile, and this Python as its environment."""
    root = project.path.parent
    for name in ("Makefile", "requirements-dev.txt", "requirements-uv.txt"):
        shutil.copy(ROOT / name, root)
    (root / "ops").symlink_to(commands)
    (root / ".venv/bin").mkdir(parents=True)
    # A link would lose the packages: Python finds them beside the path it was called by.
    (root / ".venv/bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (root / ".venv/bin/python").chmod(0o755)
    (root / ".venv/.installed").touch()
    return root


@pytest.mark.parametrize("target", TARGETS)
def test_target_shows_its_options(target: str, make: Path) -> None:
    process = _make(make, f"{target} HELP=1")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"Usage: ops {target} ")


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "doctor"])
def test_target_reaches_its_command(target: str, make: Path) -> None:
    """In an account without anything: each says what is missing, none fails in its own code."""
    process = _make(make, f"{target} {TARGETS[target]}")
    output = process.stdout + process.stderr
    assert "Traceback" not in output
    assert "Usage:" not in output, "an option that the command does not have"
    if target not in ("bootstrap", "secrets", "jobs"):  # a project that declares none says so
        assert process.returncode == 2  # what make makes of every failure
        assert "Error: " in process.stderr
        assert "Next: " in process.stderr or target == "incident-url"


@pytest.mark.parametrize("target", ["github-subject", "github-environments"])
def test_target_about_github_shows_its_options(target: str, make: Path) -> None:
    process = _make(make, f"{target} HELP=1")
    assert process.returncode == 0, process.stderr
    assert f"Usage: ops {target} " in process.stdout


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("deploy ENV=dev", "IMAGE: missing."),
        ("plan ENV=dev", "LAYER: missing."),
        ("unlock LAYER=service ENV=dev", "LOCK: missing."),
        ("secret ENV=dev NAME=", "NAME: missing."),
        ("run ENV=dev CMD=true MINUTES=soon", "MINUTES: 'soon' is not a valid integer range."),
        ("flag ENV=dev NAME=new-cart PERCENT=200", "PERCENT: 200.0 is not in the range 0<=x<=100."),
        ("roles ENV=dev ACTION=drop", "ACTION: 'drop' is not one of 'plan', 'apply', 'check'."),
    ],
)
def test_what_is_missing_or_wrong_has_the_name_that_is_typed(typed: str, said: str, make: Path) -> None:
    process = _make(make, typed)
    assert f"Error: {said}\n" in process.stderr
    assert f"Next: `make {typed.split()[0]} … {said.partition(':')[0]}=…`; " in process.stderr
    assert "Usage: ops" not in process.stderr


def _make(root: Path, arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"make --no-print-directory {arguments}"],
        cwd=root, env=os.environ | {"NAME": "from-the-environment"}, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_lock_stops_at_the_first_file_that_fails_under_every_make(make: Path) -> None:
    """GNU make 3.81, macOS's, knows no .SHELLFLAGS: nothing there ends a loop at a step that fails."""
    uv = make / ".venv/bin/uv"
    uv.write_text('#!/bin/sh\necho "$@" >> uv-calls\nexit 1\n')
    uv.chmod(0o755)
    process = _make(make, ".SHELLFLAGS=-c lock")
    assert process.returncode != 0
    assert len((make / "uv-calls").read_text().splitlines()) == 1


def test_lock_pins_providers_for_every_machine(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project.path.parent
    real = shutil.which("terraform")
    fake = root / "bin/terraform"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *"providers lock"*) echo "$@" >> "{root}/locked"; exit 0;; esac\nexec "{real}" "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    result = ops("lock-providers")
    assert result.code == 0, result.text
    calls = (root / "locked").read_text().splitlines()
    assert len(calls) == 5
    assert all("-platform=linux_arm64" in call and "-platform=darwin_arm64" in call for call in calls)


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_is_complete(name: str, ops: Ops) -> None:
    command = cli.commands[name]
    assert command.help, name
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
    result = ops(name, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: ops {name} ")


def test_help_tells_exit_codes_and_all_commands(ops: Ops) -> None:
    result = ops("--help")
    for name in cli.commands:
        assert re.search(rf"^  {name}\b", result.out, re.MULTILINE)
    assert "Exit codes:" in result.out


# ---------------------------------------------------------------------- wrong use


def test_unknown_environment(project: Settings, ops: Ops) -> None:
    result = ops("status", "--env", "test")
    assert result.code == 2
    assert "environment test: not in project.yaml, which has dev, prod" in result.err


def test_no_environment(project: Settings, ops: Ops) -> None:
    result = ops("up")
    assert result.code == 2
    assert "ENV=dev|prod" in result.err


def test_one_environment_needs_no_name(account_ready: Settings, ops: Ops) -> None:
    found = yaml.safe_load(account_ready.path.read_text())
    del found["environments"]["prod"]
    account_ready.path.write_text(yaml.safe_dump(found))
    assert "There is no service shop-dev" in ops("image").err


def test_unknown_layer(project: Settings, ops: Ops) -> None:
    result = ops("plan", "--layer", "networks", "--env", "dev")
    assert result.code == 2
    assert "account, network, build-repository, database, service" in result.err


def test_workspace_where_there_is_none(account_ready: Settings, ops: Ops) -> None:
    assert ops("plan", "--layer", "network", "--env", "dev", "--workspace", "pr-1").code == 2
    assert ops("plan", "--layer", "account", "--workspace", "pr-1").code == 2
    too_long = ops("up", "--env", "dev", "--workspace", "pr-" + "1" * 30)
    assert too_long.code == 2
    assert "at most 32" in too_long.err


def test_broken_setting_is_named(project: Settings, ops: Ops) -> None:
    project.change(environments={"dev": {"servise": {"cpu": 256}}})  # codespell:ignore servise
    result = ops("up", "--env", "dev")
    assert result.code == 2
    assert "environments.dev.servise" in result.err  # codespell:ignore servise


def test_broken_yaml(project: Settings, ops: Ops) -> None:
    project.path.write_text("app_name: [")
    result = ops("up", "--env", "dev")
    assert result.code == 2
    assert "Traceback" not in result.text
    assert "project.yaml can't be read: on line 1" in result.err


def test_elsewhere(tmp_path: Path, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = ops("status", "--env", "dev")
    assert result.code == 2
    assert "top of the repository" in result.err


def test_without_terraform(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = ops("status", "--env", "dev")
    assert result.code == 1
    assert "Terraform is not installed" in result.err


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20))
def test_any_text_as_environment_gets_an_answer(project: Settings, ops: Ops, text: str) -> None:
    result = ops("image", f"--env={text}", f"--workspace={text}")
    assert result.code in (2, 3)
    assert "Traceback" not in result.text


# ---------------------------------------------------------------------- credentials


@pytest.mark.usefixtures("new_session")
def test_no_credentials(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    result = ops("status", "--env", "dev")
    assert result.code == 3
    assert "no AWS credentials" in result.err
    assert "aws sso login" in result.err


@pytest.mark.usefixtures("new_session")
def test_profile_that_does_not_exist(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    result = ops("status", "--env", "dev")
    assert result.code == 3
    assert "nobody" in result.err


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId"])
def test_expired_credentials(code: str, project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>The token is expired</Message></Error></ErrorResponse>"

    def send(self: object, request: object) -> AWSResponse:
        response = AWSResponse("http://sts", 403, {}, None)
        response._content = body.encode()
        return response

    monkeypatch.setattr("botocore.httpsession.URLLib3Session.send", send)
    result = ops("status", "--env", "dev")
    assert result.code == 3
    assert "The token is expired" in result.err
    assert "aws sso login" in result.err


def test_wrong_account(project: Settings, ops: Ops) -> None:
    project.change(aws_account_id="999999999999")
    result = ops("up", "--env", "dev")
    assert result.code == 3
    assert "999999999999" in result.err
    assert "123456789012" in result.err
    assert "AWS_PROFILE" in result.err


@pytest.mark.usefixtures("new_session")
def test_aws_out_of_reach(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = ops("status", "--env", "dev")
    assert result.code == 1
    assert "can't be reached" in result.err
