"""The archive, run by AWS's own runtime client against a real server and a simulated Secrets Manager."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from ops import package
from ops.laptop.lambda_runtime import LambdaFunction
from role_manager.connection import CA_BUNDLE
from role_manager.tests.conftest import DESIRED, Database


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("package") / "role_manager.zip"
    package.build(output, "arm64")
    return output


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def function(
    archive: Path, simulator: str, newest_database: Database, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LambdaFunction]:
    with LambdaFunction(archive, "role_manager.handler.handler", environment(newest_database, simulator)) as found:
        yield found


def environment(database: Database, simulator: str, **changes: str) -> dict[str, str]:
    server = database.server
    secret = {"username": server.master, "password": server.master_password}
    client = boto3.client("secretsmanager", endpoint_url=simulator)
    arn = client.create_secret(Name=os.urandom(8).hex(), SecretString=json.dumps(secret))["ARN"]
    client.close()
    return {
        "AWS_ENDPOINT_URL": simulator,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "DESIRED_STATE": json.dumps(DESIRED),
        "DB_HOST": "localhost",
        "DB_PORT": str(server.port),
        "DB_NAME": server.database,
        "DB_CA_BUNDLE": str(server.ca_file),
        "MASTER_SECRET_ARN": arn,
        **changes,
    }


def lines(function: LambdaFunction) -> list[dict[str, Any]]:
    return [json.loads(line) for line in function.logs().splitlines() if line.startswith("{")]


def test_from_nothing_to_proven(function: LambdaFunction, newest_database: Database) -> None:
    planned = function.invoke({"action": "plan"})
    assert planned.error is None, planned.payload
    assert planned.payload["result"] == "changes"
    assert planned.payload["changes_total"] > 10
    assert {"object", "reason", "now", "wanted", "sql"} == set(planned.payload["changes"][0])

    applied = function.invoke({"action": "apply"})
    assert applied.payload["result"] == "applied"
    assert function.invoke({"action": "apply"}).payload["result"] == "nothing to do"

    passed = function.invoke({"action": "check"})
    assert passed.error is None, passed.payload
    assert passed.payload["result"] == "passed"
    assert {proof["method"] for proof in passed.payload["proofs"]} == {"login"}

    newest_database.master("GRANT rds_superuser TO app")
    drift = function.invoke({"action": "check"})
    assert drift.error == "Unhandled"
    assert drift.payload["errorType"] == "Drift"
    report = json.loads(drift.payload["errorMessage"])
    assert "rds_superuser" in report["summary"]
    assert report["changes"]

    written = lines(function)
    mine = [line for line in written if line.get("request_id") == drift.request_id]
    assert mine[0]["message"] == "started"
    assert mine[-1]["level"] == "error"
    assert {"time", "level", "message", "request_id"} <= set(mine[-1])
    everything = function.logs() + json.dumps([passed.payload, drift.payload])
    assert newest_database.server.master_password not in everything
    assert "X-Amz-Signature" not in everything


@pytest.mark.parametrize(
    "payload",
    [
        {},
        None,
        [],
        "plan",
        {"action": "drop"},
        {"action": ["plan"]},
        {"action": "plan", "desired_state": {"schemas": ["x"]}},
        {"Action": "plan"},
        {"action": "plan; DROP TABLE x"},
    ],
)
def test_any_other_payload_is_refused(function: LambdaFunction, payload: Any) -> None:
    answer = function.invoke(payload)
    assert answer.payload["errorType"] == "InvalidRequestError"
    assert '{"action": "plan"}' in answer.payload["errorMessage"]


def test_an_incomplete_environment_is_named(archive: Path, simulator: str, newest_database: Database) -> None:
    broken = environment(newest_database, simulator, DB_HOST="", DESIRED_STATE="")
    with LambdaFunction(archive, "role_manager.handler.handler", broken) as function:
        message = function.invoke({"action": "plan"}).payload["errorMessage"]
    assert "DESIRED_STATE" in message
    assert "DB_HOST" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"DESIRED_STATE": '{"schemas": [], "roles": {}}'}, "at least one schema"),
        ({"DESIRED_STATE": "{not json"}, "must be JSON"),
        ({"MASTER_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:1:secret:no"}, "cannot be read"),
        ({"DB_CA_BUNDLE": ""}, "is not trusted"),
        ({"DB_PORT": "1"}, "cannot be reached"),
    ],
)
def test_what_is_wrong_is_said(
    archive: Path, simulator: str, newest_database: Database, changes: dict[str, str], words: str
) -> None:
    broken = environment(newest_database, simulator, **changes)
    with LambdaFunction(archive, "role_manager.handler.handler", broken) as function:
        answer = function.invoke({"action": "apply"})
        assert answer.error == "Unhandled"
        assert words in answer.payload["errorMessage"]
        assert newest_database.server.master_password not in function.logs()


def test_a_secret_of_another_form_is_not_repeated(archive: Path, simulator: str, newest_database: Database) -> None:
    client = boto3.client("secretsmanager", endpoint_url=simulator)
    arn = client.create_secret(Name="plain", SecretString="hunter2hunter2")["ARN"]
    client.close()
    broken = environment(newest_database, simulator, MASTER_SECRET_ARN=arn)
    with LambdaFunction(archive, "role_manager.handler.handler", broken) as function:
        message = function.invoke({"action": "apply"}).payload["errorMessage"]
        assert "username and password" in message
        assert "hunter2" not in message + function.logs()


# --- The archive --------------------------------------------------------------------------------


def test_equal_input_gives_equal_bytes(archive: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    package.build(again, "x86_64")  # pure Python: the same for both
    assert again.read_bytes() == archive.read_bytes()


def test_the_archive_holds_what_runs_and_no_more(archive: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
    assert "role_manager/handler.py" in names
    assert "role_manager/rds-ca-bundle.pem" in names
    unwanted = ("role_manager/tests/", "ops/", "boto3/", "botocore/", "yaml/")
    assert not [name for name in names if name.startswith(unwanted)]
    assert not [name for name in names if name.endswith((".so", ".pyd"))]
    assert archive.stat().st_size < 5_000_000


def test_byte_code_is_for_the_runtime_and_never_checked(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        name = "role_manager/__pycache__/handler.cpython-313.pyc"
        if name not in content.namelist():
            assert sys.version_info[:2] != (3, 13)
            pytest.skip("there is no Python 3.13 on this machine")
        header = content.read(name)[:16]
    # PEP 552: bit 0 says hash-based, bit 1 says check the source.
    assert int.from_bytes(header[4:8], "little") == 0b01
    if sys.version_info[:2] == (3, 13):
        assert header[:4] == importlib.util.MAGIC_NUMBER


def test_the_archive_needs_nothing_else_to_load(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import role_manager.handler, pg8000\n"
        f"assert pg8000.__file__.startswith({str(tmp_path)!r})\n"
        "late = [name for name in ('boto3', 'botocore', 'yaml', 'role_manager.proofs') if name in sys.modules]\n"
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)


def test_the_bundle_has_the_authorities_of_rds() -> None:
    assert CA_BUNDLE.read_text().count("BEGIN CERTIFICATE") == 115
    for region in ("us-east-1", "eu-central-1", "ap-southeast-2", "sa-east-1"):
        assert package.missing_authority(region, CA_BUNDLE) is None
    problem = package.missing_authority("cn-north-1", CA_BUNDLE)
    assert problem is not None
    assert "amazonaws.com.cn" in problem


def _make_package(folder: Path, region: str) -> subprocess.CompletedProcess[str]:
    config = folder / "project.yaml"
    config.write_text(f"cpu_architecture: arm64\naws_region: {region}\n")
    command = [sys.executable, "-m", "ops.package", "--config", str(config)]
    return subprocess.run([*command, "--output", str(folder / "out.zip")], capture_output=True, text=True, check=False)


def test_make_package_builds_for_the_project(tmp_path: Path) -> None:
    answer = _make_package(tmp_path, "eu-west-1")
    assert answer.returncode == 0, answer.stderr
    assert "sha256" in answer.stdout


@pytest.mark.parametrize("region", ["us-gov-west-1", "cn-north-1", "ap-southeast-6"])
def test_make_package_stops_where_no_authority_of_the_region_is_known(tmp_path: Path, region: str) -> None:
    answer = _make_package(tmp_path, region)
    assert answer.returncode == 1
    assert f"no certificate authority of {region}" in answer.stderr
    assert "curl --fail --output" in answer.stderr
    assert not (tmp_path / "out.zip").exists()
