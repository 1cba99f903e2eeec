"""An environment in an account of its own: who is asked for what, and what is refused before anything is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ops.rehearsal.sign_in import administrators_key
from ops.rehearsal.simulator.identities import ADMINISTRATOR

from tests.machinery.ops import miniature
from tests.machinery.ops.conftest import ACCOUNT, APP, DIGEST, OTHER, REGION, Ops, Settings

Client = Callable[[str], Any]
FIND = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{OTHER}:root"},
            "Action": ["ecr:DescribeImages", "ecr:DescribeRepositories"],
        }
    ],
}


@pytest.fixture
def two(project: Settings) -> Settings:
    """A project with dev in its own account and prod in another, and nothing else that takes time."""
    project.change(
        database="none",
        feature_flags="none",
        incident_management="none",
        environments={"prod": {"aws_account_id": OTHER, "protected": False}},
    )
    return project


@pytest.fixture
def profiles(two: Settings, tmp_path: Path, new_session: None, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same with a profile for each account, and nothing said in the shell."""
    text = two.path.read_text(encoding="utf-8").replace(
        f"aws_account_id: '{OTHER}'", f"aws_account_id: '{OTHER}'\n    aws_profile: there"
    )
    two.path.write_text(f"aws_profile: here\n{text}", encoding="utf-8")
    file = tmp_path / "credentials"
    keys = {"here": ADMINISTRATOR[0], "there": administrators_key(OTHER)}
    file.write_text(
        "".join(
            f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {ADMINISTRATOR[1]}\n"
            for name, key in keys.items()
        ),
        encoding="utf-8",
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    return two


def _there(service: str) -> Any:
    return miniature.client_of(service, OTHER)


def _buckets(client: Any) -> list[str]:
    return [item["Name"] for item in client.list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    "command",
    [
        ("up", "--env", "prod"),
        ("up", "--env", "prod", "--plan"),
        ("deploy", "--env", "prod", "--image", DIGEST["new"]),
        ("plan", "--layer", "account", "--env", "prod"),
        ("down", "--env", "prod", "--confirm", "prod"),
        ("bootstrap", "--yes"),
        ("destroy", "--confirm", APP),
    ],
    ids=" ".join,
)
def test_the_wrong_account_is_one_message_before_anything_is_done(
    command: tuple[str, ...], two: Settings, ops: Ops, client: Client
) -> None:
    result = ops(*command)
    assert result.code == 3
    assert result.text.count("The credentials are of account") == 1
    assert f"The credentials are of account {ACCOUNT}" in result.err
    assert f"project.yaml says {OTHER}" in result.err
    assert "Next: Set AWS_PROFILE" in result.err
    assert (_buckets(client("s3")), _buckets(_there("s3"))) == ([], [])


def test_doctor_tells_for_each_account_who_one_is(two: Settings, ops: Ops) -> None:
    result = ops("doctor", "--json")
    found = {item["name"]: item for item in json.loads(result.out)}
    assert result.code == 1
    assert found[f"credentials {ACCOUNT}"]["status"] == "ok"
    assert "here live dev" in found[f"credentials {ACCOUNT}"]["detail"]
    assert f"bootstrap {ACCOUNT}" in found
    wrong = found[f"credentials {OTHER}"]
    assert (wrong["status"], f"bootstrap {OTHER}" in found) == ("problem", False)
    assert f"project.yaml says {OTHER}" in wrong["detail"]


def test_a_profile_for_each_account(profiles: Settings, ops: Ops) -> None:
    found = {item["name"]: item for item in json.loads(ops("doctor", "--json").out)}
    assert {found[f"credentials {number}"]["status"] for number in (ACCOUNT, OTHER)} == {"ok"}
    assert "here live prod" in found[f"credentials {OTHER}"]["detail"]
    assert found[f"bootstrap {OTHER}"]["fix"] == "make bootstrap"


def test_a_profile_that_is_of_another_account(profiles: Settings, ops: Ops) -> None:
    profiles.path.write_text(profiles.path.read_text().replace("aws_profile: there", "aws_profile: here"))
    result = ops("up", "--env", "prod", "--plan")
    assert result.code == 3
    assert f"{OTHER} for prod (aws_profile here in project.yaml)" in result.err


def test_a_profile_that_is_not_there(profiles: Settings, ops: Ops) -> None:
    profiles.path.write_text(profiles.path.read_text().replace("aws_profile: there", "aws_profile: nowhere"))
    result = ops("up", "--env", "prod", "--plan")
    assert result.code == 3
    assert "nowhere" in result.err
    assert "aws_profile in project.yaml" in result.err


def test_what_the_shell_says_wins(profiles: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "here")
    result = ops("up", "--env", "prod", "--plan")
    assert (result.code, result.text.count("The credentials are of account")) == (3, 1)


def test_from_bootstrap_to_nothing(
    profiles: Settings, ops: Ops, client: Client, push: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ops("bootstrap", "--yes")
    assert made.code == 0, made.text
    state = f"{APP}-tfstate-{{}}-{REGION}"
    assert state.format(ACCOUNT) in _buckets(client("s3"))
    assert _buckets(client("s3")) != _buckets(_there("s3"))
    assert state.format(OTHER) in _buckets(_there("s3"))
    assert "no changes" in ops("plan", "--layer", "account", "--env", "prod").out
    assert ops("apply", "--layer", "build-repository", "--yes").code == 0
    push("old", DIGEST["old"])
    push("new", DIGEST["new"])

    # The repository does not know the other account yet.
    refused = ops("up", "--env", "prod", "--image", DIGEST["old"], "--yes")
    assert refused.code == 3
    assert "make apply LAYER=build-repository" in refused.err
    client("ecr").set_repository_policy(repositoryName=APP, policyText=json.dumps(FIND))

    promoted = ops("up", "--env", "prod", "--image", DIGEST["old"], "--yes", "--no-wait")
    assert promoted.code == 0, promoted.text
    assert ops("image", "--env", "prod").out.strip() == DIGEST["old"]
    deployed = ops("deploy", "--env", "prod", "--image", "new", "--yes", "--no-wait")
    assert deployed.code == 0, deployed.text
    rolled_back = ops("deploy", "--env", "prod", "--image", DIGEST["old"], "--yes", "--no-wait")
    assert rolled_back.code == 0, rolled_back.text
    history = _there("ssm").get_parameter_history(Name=f"/{APP}/prod/image")["Parameters"]
    assert [item["Value"] for item in history] == [DIGEST["old"], DIGEST["new"], DIGEST["old"]]
    assert client("ssm").describe_parameters()["Parameters"] == []
    assert client("ecs").list_clusters()["clusterArns"] == []

    gone = ops("destroy", "--confirm", APP)
    assert gone.code == 0, gone.text
    assert (_buckets(client("s3")), _buckets(_there("s3"))) == ([], [])
    assert client("ecr").describe_repositories()["repositories"] == []


def test_an_image_is_built_where_images_are(
    profiles: Settings, ops: Ops, client: Client, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ops("bootstrap", "--yes").code == 0
    assert ops("apply", "--layer", "build-repository", "--yes").code == 0
    client("ecr").set_repository_policy(repositoryName=APP, policyText=json.dumps(FIND))
    # With the other account's keys alone nothing can be pushed.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", administrators_key(OTHER))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ADMINISTRATOR[1])
    refused = ops("up", "--env", "prod", "--yes", "--no-wait")
    assert refused.code == 3
    assert f"pushed to account {ACCOUNT}" in refused.err
    assert "IMAGE=" in refused.err


def test_a_job_takes_the_role_where_its_environment_lives(two: Settings, ops: Ops) -> None:
    def settings(*options: str) -> dict[str, str]:
        result = ops("github-settings", *options)
        assert result.code == 0, result.text
        return dict(line.partition("=")[::2] for line in result.out.splitlines() if "=" in line)

    role = "arn:aws:iam::{}:role/shop/github-actions/shop-github-{}"
    assert settings("--env", "prod", "--role", "plan")["role_arn"] == role.format(OTHER, "plan")
    prod = settings("--env", "prod", "--role", "apply")
    assert (prod["role_arn"], prod["account_id"]) == (role.format(OTHER, "apply-prod"), OTHER)
    assert settings("--env", "dev", "--role", "apply")["role_arn"] == role.format(ACCOUNT, "apply-dev")
    assert settings("--role", "build")["role_arn"] == role.format(ACCOUNT, "build")
    # The account layer of the other account is planned where its role is to be had.
    assert json.loads(settings()["plans"]) == [
        {"environment": "", "layers": "account build-repository"},
        {"environment": "dev", "layers": "network service"},
        {"environment": "prod", "layers": "account network service"},
    ]


def test_a_preview_is_pushed_where_images_are(two: Settings, ops: Ops) -> None:
    two.change(environments={"dev": {"aws_account_id": OTHER}, "prod": {"aws_account_id": ACCOUNT}})
    role = "role_arn=arn:aws:iam::{}:role/shop/github-actions/shop-github-preview"
    assert role.format(ACCOUNT) in ops("github-settings", "--role", "preview").out
    assert role.format(OTHER) in ops("github-settings", "--env", "dev", "--role", "preview").out


def test_one_account_alone(two: Settings, ops: Ops, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_GITHUB", "0")
    made = ops("bootstrap", "--env", "dev", "--yes")
    assert made.code == 0, made.text
    assert (len(_buckets(client("s3"))), _buckets(_there("s3"))) == (2, [])
    assert os.environ["OPS_GITHUB"] == "0"
