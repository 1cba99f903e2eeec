"""The IAM token: what AWS's own client makes, kept for less than its life, made anew when refused."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from unittest import mock

import botocore.session
import pytest

from app.components import database
from app.components.database import IamToken
from app.tests.service import ROOT, running
from ops.laptop.dev.database import user
from ops.laptop.postgres import LocalPostgres, check_token

HOST = "shop-dev.cluster-abc.eu-west-1.rds.amazonaws.com"
NOW = datetime.datetime(2026, 11, 23, 12, 0, 0)  # noqa: DTZ001 - botocore's clock is naive UTC


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session/+=token")


@pytest.mark.usefixtures("credentials")
def test_it_is_the_token_of_the_official_client() -> None:
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW):
        official = botocore.session.get_session().create_client("rds", region_name="eu-west-1")
        for user_name in ("app", "Ärger & co=1"):
            expected = official.generate_db_auth_token(HOST, 5432, user_name)
            assert IamToken(HOST, 5432, user_name, "eu-west-1").get() == expected


@pytest.mark.usefixtures("credentials")
def test_it_is_replaced_before_it_expires() -> None:
    clock = mock.Mock(return_value=1000.0)
    made: list[str] = []
    with mock.patch("time.monotonic", clock):
        token = IamToken(HOST, 5432, "app", "eu-west-1")
        token._sign = lambda: made.append("") or str(len(made))  # type: ignore[method-assign, func-returns-value]
        assert [token.get(), token.get()] == ["1", "1"]
        clock.return_value += database.TOKEN_REUSED_SECONDS - 1
        assert token.get() == "1"
        clock.return_value += 2
        assert token.get() == "2"
        token.forget()
        assert token.get() == "3"
    assert database.TOKEN_REUSED_SECONDS + 60 < database.TOKEN_SECONDS


def test_every_connection_uses_a_token_and_tls(own_environment: dict[str, str], server: LocalPostgres) -> None:
    server.front.forget()
    with running(own_environment) as service:
        assert service.ask("GET", "/items").status == 200
    sessions = [session for session in server.front.sessions if session.user == user()]
    assert sessions
    assert all(session.encrypted and session.login == "iam" for session in sessions)


def test_an_expired_token_is_refused_and_a_new_one_taken(
    own_environment: dict[str, str], server: LocalPostgres
) -> None:
    """The server says no to a token that the service still held for good."""
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
            server.front.cut_all()
            answer = service.ask("GET", "/items")
        assert refused
        assert answer.status == 200
        assert len(server.front.sessions) > sessions + 1


def test_no_credentials(own_environment: dict[str, str]) -> None:
    without = {name: own_environment[name] for name in own_environment if "ACCESS_KEY" not in name}
    with running({**without, "AWS_EC2_METADATA_DISABLED": "true"}) as service:
        answer = service.ask("GET", "/items")
        assert answer.status == 503
        assert "no AWS credentials" in str(service.lines())
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
