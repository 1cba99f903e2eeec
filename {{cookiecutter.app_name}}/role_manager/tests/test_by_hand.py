"""`python -m ops.laptop.roles` from a shell."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
import yaml

from ops.laptop.roles import parse_dsn
from role_manager.tests.conftest import DESIRED, Database


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump({"app_name": "x", "database_roles": DESIRED}))
    return path


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.laptop.roles", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_plan_apply_and_check(newest_database: Database, config: Path) -> None:
    dsn = newest_database.server.dsn()
    planned = run("plan", "--dsn", dsn, "--config", config)
    assert planned.returncode == 2, planned.stderr
    assert 'CREATE ROLE "app"' in planned.stdout
    applied = run("apply", "--dsn", dsn, "--config", config)
    assert applied.returncode == 0, applied.stderr
    again = run("plan", "--dsn", dsn, "--config", config, "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["result"] == "nothing to do"
    checked = run("check", "--config", config, DATABASE_URL=dsn)
    assert checked.returncode == 0, checked.stdout
    assert "app (login): proven" in checked.stdout
    newest_database.master("GRANT rds_superuser TO app")
    drift = run("check", "--dsn", dsn, "--config", config, "--without-logins")
    assert drift.returncode == 2
    assert "rds_superuser" in drift.stdout


def test_the_password_may_be_in_the_environment(newest_database: Database, config: Path) -> None:
    server = newest_database.server
    dsn = server.dsn(server.master)
    answer = run("plan", "--dsn", dsn, "--config", config, PGPASSWORD=server.master_password)
    assert answer.returncode == 2, answer.stderr


def test_any_postgresql_will_do(newest_database: Database, config: Path) -> None:
    """A plain server: a superuser over its Unix socket, no rds_iam."""
    server = newest_database.server
    with server.superuser("postgres") as connection:
        connection.run("ALTER ROLE rds_iam RENAME TO rds_iam_hidden")
    try:
        folder = urllib.parse.quote(str(server.socket_directory), safe="")
        dsn = f"postgresql://rdsadmin@/app?host={folder}&sslmode=disable"
        for action in ("apply", "check"):
            answer = run(action, "--dsn", dsn, "--config", config, PGPASSWORD=server.superuser_password)
            assert answer.returncode == 0, answer.stdout + answer.stderr
        assert "app (set role): proven" in answer.stdout
        assert "no role rds_iam" in answer.stdout
    finally:
        with server.superuser("postgres") as connection:
            connection.run("ALTER ROLE rds_iam_hidden RENAME TO rds_iam")


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://m:s3cret@db.example.com/app?sslmode=require", "verify-full"),
        ("postgresql://m:s3cret@db.example.com/app?sslmode=disable", "on this machine"),
        ("postgresql://m:s3cret@db.example.com/app?sslkey=x", "unknown parameters: sslkey"),
        ("host=db user=s3cret", "must begin like"),
        ("postgresql://m:s3cret@db:port/app", "not a URL"),
        ("postgresql://m:s3cret@nowhere.invalid/app", "cannot be reached"),
    ],
)
def test_wrong_dsns_are_explained_and_not_repeated(config: Path, dsn: str, words: str) -> None:
    answer = run("plan", "--dsn", dsn, "--config", config)
    assert answer.returncode == 1
    assert words in answer.stderr
    assert "s3cret" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_interruption_is_one_line(config: Path) -> None:
    with socket.create_server(("localhost", 0)) as silent:
        dsn = f"postgresql://m@localhost:{silent.getsockname()[1]}/app?sslmode=disable"
        command = [sys.executable, "-m", "ops.laptop.roles", "apply", "--dsn", dsn, "--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process, silent.accept()[0]:
            process.send_signal(signal.SIGINT)  # it waits for an answer
            _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (130, 2)
    assert "Interrupted" in said


def test_a_wrong_configuration_is_explained(tmp_path: Path) -> None:
    dsn = "postgresql://m@localhost/app"
    missing = run("plan", "--dsn", dsn, "--config", tmp_path / "no.yaml")
    assert "no.yaml" in missing.stderr
    empty = tmp_path / "project.yaml"
    empty.write_text("app_name: x\n")
    assert "must be a mapping" in run("plan", "--dsn", dsn, "--config", empty).stderr
    empty.write_text("a: [")
    assert "not valid YAML" in run("plan", "--dsn", dsn, "--config", empty).stderr


def test_names_and_passwords_of_any_form_pass_through_a_dsn() -> None:
    dsn = "postgresql://us%40er:p%2Fw%3A%3F@[::1]:6432/d%20b?sslmode=disable"
    server, user, password = parse_dsn(dsn, {})
    assert (user, password, server.database) == ("us@er", "p/w:?", "d b")
    assert (server.host, server.port, server.encrypted) == ("::1", 6432, False)
