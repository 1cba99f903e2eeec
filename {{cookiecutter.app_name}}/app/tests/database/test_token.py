"""The IAM token: what AWS's own client makes, a new one for each connection."""

from __future__ import annotations

import asyncio
import datetime
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import botocore.session
import pytest

from app.database import DatabaseSettings, token_maker
from app.settings import read
from app.tests.service import ROOT, running
from ops.laptop.dev.database import user
from ops.laptop.postgres import LocalPostgres, check_token

HOST = "shop-dev.cluster-abc.eu-west-1.rds.amazonaws.com"
NOW = datetime.datetime(2026, 11, 23, 12, 0, 0)  # noqa: DTZ001 - botocore's clock is naive UTC


@pytest.fixture
def database_settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> DatabaseSettings:
    for name, value in (environment | {"DB_HOST": HOST, "DB_PORT": "5432", "AWS_REGION": "eu-west-1"}).items():
        monkeypatch.setenv(name, value)
    return read(DatabaseSettings)[0]


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session/+=token")


@pytest.mark.usefixtures("credentials")
def test_it_is_the_token_of_the_official_client(database_settings: DatabaseSettings) -> None:
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW):
        official = botocore.session.get_session().create_client("rds", region_name="eu-west-1")
        for user_name in ("app", "Ärger & co=1"):
            settings = database_settings.model_copy(update={"db_user": user_name})
            expected = official.generate_db_auth_token(HOST, 5432, user_name)
            assert asyncio.run(token_maker(settings)()) == expected


def test_every_connection_uses_a_token_and_tls(own_environment: dict[str, str], server: LocalPostgres) -> None:
    server.front.forget()
    with running(own_environment) as service:
        assert service.ask("GET", "/items").status == 200
    sessions = [session for session in server.front.sessions if session.user == user()]
    assert sessions
    assert all(session.encrypted and session.login == "iam" for session in sessions)


def test_a_token_that_is_refused_is_not_used_again(own_environment: dict[str, str], server: LocalPostgres) -> None:
    server.front.forget()
    with running({**own_environment, "DB_IDLE_SECONDS": "1"}) as service:
        assert service.ask("GET", "/items").status == 200
        sessions = len(server.front.sessions)
        refused: list[str] = []

        def refuse_once(token: str, **rules: object) -> str | None:
            if not refused:
                refused.append(token)
                return "it has expired"
            return check_token(token, **rules)  # type: ignore[arg-type]

        with mock.patch("ops.laptop.postgres.front.check_token", refuse_once):
            time.sleep(2)  # Until the connection is closed, because it is idle.
            answer = service.ask("GET", "/items")
        assert refused
        assert answer.status == 200
        assert len(server.front.sessions) > sessions + 1


def test_no_credentials(own_environment: dict[str, str]) -> None:
    without = {name: own_environment[name] for name in own_environment if "ACCESS_KEY" not in name}
    with running({**without, "AWS_EC2_METADATA_DISABLED": "true"}) as service:
        answer = service.ask("GET", "/items")
        assert answer.status == 503
        assert "Unable to locate credentials" in str(service.lines())
        assert b"credentials" not in answer.body


def test_a_bundle_without_certificates(own_environment: dict[str, str], tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("nothing")
    ended = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=ROOT,
        env={**own_environment, "DB_CA_BUNDLE": str(bundle)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "no certificates in PEM form" in ended.stderr
    assert "Traceback" not in ended.stderr
