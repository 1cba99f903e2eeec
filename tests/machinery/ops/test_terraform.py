"""Plans, applies, locks, workspaces and interruptions, with the real Terraform and state in a simulated bucket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.machinery import ROOT
from tests.machinery.ops.conftest import APP, BUCKET, DIGEST, Ops, Settings, bash

Client = Callable[[str], Any]


def test_apply_asks_and_applies_what_was_shown(account_ready: Settings, ops: Ops, client: Client) -> None:
    unanswered = ops("apply", "--layer", "network", "--env", "dev")
    assert unanswered.code == 2
    assert "YES=1" in unanswered.err
    assert "terraform_data.base will be created" in unanswered.out
    done = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert done.code == 0, done.text
    state = client("s3").head_object(Bucket=BUCKET, Key="network/dev.tfstate")
    assert state["ServerSideEncryption"] == "aws:kms"
    assert state["SSEKMSKeyId"].endswith(f"alias/{APP}-tfstate")
    again = ops("apply", "--layer", "network", "--env", "dev")
    assert again.code == 0
    assert "no changes" in again.out


def test_a_reviewed_plan_is_applied_as_it_was(account_ready: Settings, ops: Ops, tmp_path: Path) -> None:
    plan = tmp_path / "plans/network.plan"
    made = ops("plan", "--layer", "network", "--env", "dev", "--out", str(plan), "--detailed-exitcode")
    assert made.code == 5
    assert "terraform_data.base will be created" in Path(f"{plan}.txt").read_text()
    assert plan.stat().st_mode & 0o077 == 0
    assert ops("apply", "--layer", "network", "--env", "dev", "--plan-file", str(plan)).code == 0
    stale = ops("apply", "--layer", "network", "--env", "dev", "--plan-file", str(plan))
    assert stale.code == 1
    assert "plan again" in stale.err
    missing = ops("apply", "--layer", "network", "--env", "dev", "--plan-file", str(tmp_path / "none"))
    assert missing.code == 2
    assert ops("plan", "--layer", "network", "--env", "dev", "--detailed-exitcode", "--no-lock").code == 0


def test_layers_have_an_order(account_ready: Settings, ops: Ops) -> None:
    result = ops("plan", "--layer", "service", "--env", "dev", "--image", DIGEST["new"])
    assert result.code == 1
    assert "needs network and build-repository and database" in result.err
    assert "make apply LAYER=network ENV=dev" in result.err


def test_plan_of_the_service_keeps_the_running_image(deployed: Settings, ops: Ops) -> None:
    same = ops("plan", "--layer", "service", "--env", "dev", "--detailed-exitcode")
    assert same.code == 0, same.text
    other = ops("plan", "--layer", "service", "--env", "dev", "--image", "release-2", "--detailed-exitcode")
    assert other.code == 5
    assert DIGEST["new"] in other.out
    assert ops("plan", "--layer", "network", "--env", "dev", "--image", "release-2").code == 2


def test_service_without_an_image(deployed: Settings, ops: Ops, client: Client) -> None:
    client("ecs").delete_service(cluster=f"{APP}-dev", service=f"{APP}-dev", force=True)
    result = ops("plan", "--layer", "service", "--env", "dev")
    assert result.code == 2
    assert "IMAGE=" in result.err


def test_an_error_names_layer_place_and_next_step(account_ready: Settings, ops: Ops) -> None:
    (account_ready.path.parent / "infra/network/bad.tf").write_text('output "x" { value = var.nothing }\n')
    result = ops("plan", "--layer", "network", "--env", "dev")
    assert result.code == 1
    assert "failed in network-dev" in result.err
    assert "bad.tf" in result.err
    assert "Next: Correct infra/network" in result.err


# ---------------------------------------------------------------------- locks

LOCK = {
    "ID": "11111111-2222-3333-4444-555555555555",
    "Operation": "OperationTypeApply",
    "Who": "maria@laptop",
    "Version": "1.11.4",
    "Created": "2026-01-31T08:00:00Z",
    "Path": f"{BUCKET}/network/dev.tfstate",
    "Info": "",
}


def _lock_in_bucket(client: Client) -> None:
    client("s3").put_object(Bucket=BUCKET, Key="network/dev.tfstate.tflock", Body=json.dumps(LOCK).encode())


def _lock_in_table(client: Client) -> None:
    item = {"LockID": {"S": LOCK["Path"]}, "Info": {"S": json.dumps(LOCK)}}
    client("dynamodb").put_item(TableName=f"{APP}-tfstate-locks", Item=item)


@pytest.mark.parametrize("lock", [_lock_in_bucket, _lock_in_table])
def test_a_locked_state(lock: Callable[[Client], None], account_ready: Settings, ops: Ops, client: Client) -> None:
    lock(client)
    result = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert result.code == 4
    assert "maria@laptop" in result.err
    assert "2026-01-31" in result.err
    assert f"make unlock LAYER=network ENV=dev LOCK={LOCK['ID']}" in result.err
    assert ops("plan", "--layer", "network", "--env", "dev", "--no-lock").code == 0


def test_an_apply_says_who_has_the_lock_and_waits_for_it(
    account_ready: Settings, ops: Ops, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lock_in_bucket(client)
    monkeypatch.setattr("ops.terraform.LOCK_SECONDS", 60)
    key = "network/dev.tfstate.tflock"
    timer = threading.Timer(4, lambda: client("s3").delete_object(Bucket=BUCKET, Key=key))
    timer.start()
    result = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    timer.join()
    assert result.code == 0, result.text
    assert "locked by maria@laptop" in result.out
    assert "Waiting up to" in result.out


def test_terraform_gets_the_credentials_that_boto3_found(
    account_ready: Settings, ops: Ops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_session: None
) -> None:
    """Found once: a profile that asks for an MFA code would ask again, and Terraform cannot ask at all."""
    program = tmp_path / "credentials"
    asked = tmp_path / "asked"
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    program.write_text(
        f"""#!/bin/sh
echo asked >> "{asked}"
echo '{{"Version": 1, "AccessKeyId": "{key}", "SecretAccessKey": "{secret}"}}'
"""
    )
    program.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f"[profile mfa]\ncredential_process = {program}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "mfa")
    seen = tmp_path / "seen"
    (account_ready.path.parent / "infra/network/seen.tf").write_text(
        'resource "terraform_data" "seen" {\n  provisioner "local-exec" {\n'
        f'    command = "echo $AWS_ACCESS_KEY_ID $AWS_SESSION_TOKEN $AWS_PROFILE > {seen}"\n  }}\n}}\n'
    )
    result = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert result.code == 0, result.text
    assert seen.read_text().split() == [key]
    assert len(asked.read_text().splitlines()) == 1


def test_unlock(account_ready: Settings, ops: Ops, client: Client) -> None:
    account_ready.change(terraform_state_locks="s3")
    _lock_in_bucket(client)
    where = ("unlock", "--layer", "network", "--env", "dev", "--lock")
    assert ops(*where, LOCK["ID"]).code == 2
    assert ops(*where, "other-lock", "--yes").code == 4
    assert ops(*where, LOCK["ID"], "--yes").code == 0
    assert ops("apply", "--layer", "network", "--env", "dev", "--yes").code == 0


# ---------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_apply_keeps_its_state(sent: signal.Signals, account_ready: Settings, ops: Ops) -> None:
    root = account_ready.path.parent
    slow = root / "infra/network/slow.tf"
    slow.write_text(
        'resource "terraform_data" "first" {}\n'
        'resource "terraform_data" "slow" {\n  depends_on = [terraform_data.first]\n'
        '  provisioner "local-exec" { command = "touch started; sleep 3" }\n}\n'
        'resource "terraform_data" "last" {\n  depends_on = [terraform_data.slow]\n}\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "apply", "--layer", "network", "--env", "dev", "--yes"],
        cwd=root, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell's background job ignores SIGINT, and so would everything below it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (root / "infra/network/started").exists():
        assert time.monotonic() < deadline, "the apply did not begin"
        time.sleep(0.1)
    if sent is signal.SIGINT:
        os.killpg(process.pid, sent)  # as a terminal does
    else:
        process.send_signal(sent)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "goes on where it stopped" in err
    slow.write_text(slow.read_text().replace("sleep 3", "true"))
    again = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert again.code == 0, again.text
    assert "terraform_data.last" in again.out
    assert "create terraform_data.first" not in again.out


def test_a_state_that_could_not_be_stored_is_not_lost(account_ready: Settings, ops: Ops) -> None:
    (account_ready.path.parent / "infra/network/errored.tfstate").write_text("{}")
    result = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert result.code == 1
    assert "state push errored.tfstate" in result.err


def test_variables_of_the_environment_do_not_change_a_plan(
    account_ready: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_VAR_environment", "prod")
    monkeypatch.setenv("TF_CLI_ARGS_plan", "-destroy")
    monkeypatch.setenv("TF_WORKSPACE", "other")
    result = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert result.code == 0, result.text
    assert "2 to add" in result.out or "applied" in result.out


def test_nothing_is_left_beside_the_code(account_ready: Settings, ops: Ops) -> None:
    assert ops("apply", "--layer", "network", "--env", "dev", "--yes").code == 0
    left = bash(
        "find . -newer project.yaml -type f -not -path './.ops/*' -not -path './infra/*/main.tf'",
        account_ready.path.parent,
    )
    assert [
        line
        for line in left.stdout.split()
        if "infra/config" not in line and "/app/" not in line and "dist" not in line and ".dockerignore" not in line
    ] == []
    assert (account_ready.path.parent / ".ops").stat().st_mode & 0o077 == 0


def test_another_program_that_takes_terraform_s_commands(
    account_ready: Settings, ops: Ops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that only renames Terraform: OpenTofu itself cannot be had here."""
    from ops import processes

    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "tofu").symlink_to(shutil.which("terraform") or "")
    for program in ("git", "sh", "bash"):
        (folder / program).symlink_to(shutil.which(program) or "")
    monkeypatch.setenv("PATH", str(folder))
    assert ops("plan", "--layer", "network", "--env", "dev").code != 0
    monkeypatch.setattr(processes, "TERRAFORM", "tofu")
    planned = ops("plan", "--layer", "network", "--env", "dev")
    assert planned.code == 0, planned.text


LATE = """
resource "terraform_data" "late" {
  provisioner "local-exec" {
    command = "test -e '%(path)s' || { touch '%(path)s'; echo '%(error)s' >&2; exit 1; }"
  }
}
"""


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        ("ValidationError: Access Denied for bucket: shop-dev-logs", True),
        ("creating AppConfig Environment: BadRequestException: trying to assume role", True),
        ("AccessDeniedException: not authorized to perform: kms:CreateGrant", True),
        ("InvalidParameterValue: Verify that you have permission to create service linked role.", True),
        ("WAFServiceLinkedRoleErrorException: AWS WAF is not able to access the service linked role.", True),
        ("WAFLogDestinationPermissionIssueException: Unable to deliver logs to the destination.", True),
        ("AccessDenied: not authorized to perform: iam:CreateRole", False),
    ],
)
def test_what_aws_has_not_heard_of_yet_is_applied_again(
    account_ready: Settings, ops: Ops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, waits: bool
) -> None:
    monkeypatch.setattr("ops.terraform._PAUSES", (0.0, 0.0))
    text = LATE % {"path": tmp_path / "once", "error": error}
    (account_ready.path.parent / "infra/network/late.tf").write_text(text)
    result = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert result.code == (0 if waits else 1), result.text
    assert ("AWS has not heard yet" in result.text) == waits


def test_what_aws_goes_on_refusing_is_told(
    account_ready: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ops.terraform._PAUSES", (0.0, 0.0))
    text = LATE % {"path": tmp_path / "not/there", "error": "Access Denied for bucket: x"}
    (account_ready.path.parent / "infra/network/late.tf").write_text(text)
    result = ops("apply", "--layer", "network", "--env", "dev", "--yes")
    assert result.code == 1
    assert "Access Denied for bucket" in result.err
    assert "repeat the command" in result.err
