"""bootstrap: from nothing, interrupted after each of its steps, with lost state, and with the real account layer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ops.terraform import Terraform

from tests.machinery import ROOT
from tests.machinery.ops import provider
from tests.machinery.ops.conftest import APP, BUCKET, Ops, Settings
from tests.machinery.ops.test_terraform import LOCK

Client = Callable[[str], Any]


def _end_state(project: Settings, client: Client) -> dict[str, Any]:
    """What counts after a bootstrap: what is in the bucket's state, on disk, and locked."""
    state = json.loads(client("s3").get_object(Bucket=BUCKET, Key="account.tfstate")["Body"].read())
    keys = [item["Key"] for item in client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    locks = client("dynamodb").scan(TableName=f"{APP}-tfstate-locks")["Items"]
    left = [path.name for path in (project.path.parent / ".ops").rglob("*.tfstate*") if "terraform" not in path.parts]
    return {
        "resources": sorted(f"{item['type']}.{item['name']}" for item in state["resources"]),
        "objects": keys,
        "locks": [item for item in locks if "Info" in item],
        "local": left,
    }


def test_bootstrap_says_what_it_makes_and_makes_it(project: Settings, ops: Ops, client: Client) -> None:
    shown = ops("bootstrap", "--plan")
    assert shown.code == 0, shown.text
    assert "create  terraform_data.base" in shown.out
    assert client("s3").list_buckets()["Buckets"] == []
    unanswered = ops("bootstrap")
    assert unanswered.code == 2
    assert client("s3").list_buckets()["Buckets"] == []
    done = ops("bootstrap", "--yes")
    assert done.code == 0, done.text
    assert "respected: S3 lock file and DynamoDB table" in done.out
    assert "Next: make up ENV=dev" in done.out
    end = _end_state(project, client)
    assert end == {
        "resources": ["terraform_data.base", "terraform_data.version"],
        "objects": ["account.tfstate"],
        "locks": [],
        "local": [],
    }
    again = ops("bootstrap")
    assert again.code == 0, again.text
    assert "Everything of the account layer is there" in again.out
    assert _end_state(project, client) == end


def _commands(monkeypatch: pytest.MonkeyPatch, stop_after: int) -> list[str]:
    """Interrupt after a number of Terraform's commands; the list of those that ran."""
    ran: list[str] = []
    for name in ("_run", "_text"):
        original = getattr(Terraform, name)

        def counted(self: Terraform, command: str, *args: Any, original: Any = original, **kwargs: Any) -> Any:
            if len(ran) == stop_after:
                raise KeyboardInterrupt
            try:
                return original(self, command, *args, **kwargs)
            finally:
                ran.append(command)

        monkeypatch.setattr(Terraform, name, counted)
    return ran


# init, plan, show, apply | init, push, pull | plan (refused), plan (refused)
@pytest.mark.parametrize("steps", range(10))
def test_interrupted_after_each_step_it_ends_the_same(
    steps: int, project: Settings, ops: Ops, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        ran = _commands(patched, steps)
        interrupted = ops("bootstrap", "--yes")
    if interrupted.code == 0:
        assert steps >= len(ran) >= 9, "every step was interrupted"
        return
    assert interrupted.code == 130, interrupted.text
    done = ops("bootstrap", "--yes")
    assert done.code == 0, done.text
    assert _end_state(project, client) == {
        "resources": ["terraform_data.base", "terraform_data.version"],
        "objects": ["account.tfstate"],
        "locks": [],
        "local": [],
    }


def test_a_lock_of_somebody_else_is_left_alone(project: Settings, ops: Ops, client: Client) -> None:
    assert ops("bootstrap", "--yes").code == 0
    lock = LOCK | {"Path": f"{BUCKET}/account.tfstate"}
    client("s3").put_object(Bucket=BUCKET, Key="account.tfstate.tflock", Body=json.dumps(lock).encode())
    result = ops("bootstrap", "--yes")
    assert result.code == 4
    assert "maria@laptop" in result.err


def test_a_probe_of_a_killed_run_is_removed(project: Settings, ops: Ops, client: Client) -> None:
    assert ops("bootstrap", "--yes").code == 0
    lock = {
        "ID": "1-2",
        "Who": "ops-lock-check",
        "Operation": "ops-lock-check",
        "Created": "2026-01-31",
    }
    client("s3").put_object(Bucket=BUCKET, Key="account.tfstate.tflock", Body=json.dumps(lock).encode())
    assert ops("bootstrap", "--yes").code == 0


def test_locks_that_are_not_respected_are_found(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Terraform.plan
    monkeypatch.setattr(
        Terraform,
        "plan",
        lambda self, *args, **kwargs: original(self, *args, **kwargs | {"lock": False}),
    )
    result = ops("bootstrap", "--yes")
    assert result.code == 1
    assert "took no notice of a lock" in result.err


def test_s3_locks_alone(project: Settings, ops: Ops) -> None:
    project.change(terraform_state_locks="s3")
    result = ops("bootstrap", "--yes")
    assert result.code == 0, result.text
    assert "respected: S3 lock file (" in result.out


def test_local_state_of_something_else_is_not_deleted(project: Settings, ops: Ops) -> None:
    assert ops("bootstrap", "--yes").code == 0
    state = project.path.parent / ".ops/bootstrap/account.tfstate"
    state.parent.mkdir(exist_ok=True)
    resource = {
        "mode": "managed",
        "type": "aws_s3_bucket",
        "name": "x",
        "instances": [{"attributes": {"id": "x"}}],
    }
    state.write_text(json.dumps({"version": 4, "resources": [resource]}))
    result = ops("bootstrap", "--yes")
    assert result.code == 1
    assert state.exists()


# ---------------------------------------------------------------------- the real account layer


@pytest.fixture
def real(project: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The project with this repository's own account layer, and the provider.

    Without the buckets' lifecycle rules, for each of which the provider waits a minute; nothing here depends on them.
    """
    provider.require(tmp_path, monkeypatch)
    root = project.path.parent
    shutil.rmtree(root / "infra/account")
    ignore = shutil.ignore_patterns("tests", ".terraform*")
    for folder in ("account", "modules"):
        if (ROOT / "infra" / folder).is_dir():
            shutil.copytree(ROOT / "infra" / folder, root / "infra" / folder, ignore=ignore)
    state = root / "infra/account/state.tf"
    text = state.read_text()
    while (start := text.find('resource "aws_s3_bucket_lifecycle_configuration"')) >= 0:
        text = text[:start] + text[text.index("\n}\n", start) + 3 :]
    state.write_text(text)
    # S3 Control has the account in its host name: it goes to moto as a proxy.
    monkeypatch.setenv("HTTP_PROXY", os.environ["AWS_ENDPOINT_URL"])
    return project


def test_the_real_account_layer_killed_with_its_state_lost(real: Settings, ops: Ops, client: Client) -> None:
    root = real.path.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", "bootstrap", "--yes"],
        cwd=root, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 180
    seen = ""
    assert process.stdout
    for line in process.stdout:
        seen += line
        if "create aws_s3_bucket.state (" in line or time.monotonic() > deadline:
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert "create aws_s3_bucket.state (" in seen, seen
    shutil.rmtree(root / ".ops/bootstrap")
    done = ops("bootstrap", "--yes")
    assert done.code == 0, done.text
    assert f"adopting {BUCKET}" in done.out
    found = [client("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in client("kms").list_keys()["Keys"]]
    keys = [key for key in found if key["Description"] != "Default key"]  # which moto makes for itself
    assert len(keys) == 1, keys
    again = ops("bootstrap")
    assert again.code == 0, again.text
    gone = ops("destroy", "--confirm", APP)
    assert gone.code == 0, gone.text
    assert client("s3").list_buckets()["Buckets"] == []
    assert client("dynamodb").list_tables()["TableNames"] == []
    assert client("iam").list_roles()["Roles"] == []
    assert client("kms").describe_key(KeyId=keys[0]["KeyId"])["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_a_provider_of_another_project_is_not_taken(real: Settings, ops: Ops, client: Client) -> None:
    client("iam").create_open_id_connect_provider(
        Url="https://token.actions.githubusercontent.com",
        ClientIDList=["sts.amazonaws.com"],
        ThumbprintList=["0" * 40],
    )
    result = ops("bootstrap", "--yes")
    assert result.code == 3
    assert "account_settings: existing" in result.err
    assert client("s3").list_buckets()["Buckets"] == []


@pytest.mark.parametrize("other", [f"{APP}-x", APP.rpartition("-")[0] or f"{APP}-y"])
def test_an_application_whose_names_would_overlap_is_refused(
    project: Settings, ops: Ops, client: Client, other: str
) -> None:
    client("s3").create_bucket(Bucket=BUCKET.replace(f"{APP}-tfstate", f"{other}-tfstate"))
    refused = ops("bootstrap", "--yes")
    assert refused.code != 0
    assert f"an application {other}" in refused.err
    assert len(client("s3").list_buckets()["Buckets"]) == 1
