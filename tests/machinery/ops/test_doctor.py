"""doctor: what would go wrong later, with the way to mend it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.machinery.ops.conftest import APP, Ops, Settings

Client = Callable[[str], Any]


def _checks(ops: Ops, *options: str) -> dict[str, dict[str, str]]:
    result = ops("doctor", "--json", *options)
    found = json.loads(result.out)
    assert result.code == (1 if any(item["status"] == "problem" for item in found) else 0)
    for item in found:
        assert item["fix"] or item["status"] == "ok", item
    return {item["name"]: item for item in found}


@pytest.fixture(autouse=True)
def quotas(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the account may have: moto knows few quotas."""
    values = {"vpc": 5.0, "ec2": 5.0, "fargate": 200.0, "lambda": 900.0}
    from botocore.client import BaseClient

    original = BaseClient._make_api_call

    def call(self: Any, name: str, arguments: Any) -> Any:
        if name == "GetServiceQuota":
            return {"Quota": {"Value": values[arguments["ServiceCode"]]}}
        if name == "GetAccountSettings":
            limit = {
                "ConcurrentExecutions": 1000,
                "UnreservedConcurrentExecutions": values["lambda"],
            }
            return {"AccountLimit": limit}
        return original(self, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return values


def test_a_fresh_account(project: Settings, ops: Ops) -> None:
    checks = _checks(ops)
    assert checks["bootstrap"]["fix"] == "make bootstrap"
    assert checks["incident URL dev"]["fix"] == "make incident-url ENV=dev"
    assert {item["status"] for item in checks.values()} == {"ok", "warning"}
    text = ops("doctor").out
    assert "→ make bootstrap" in text
    assert "0 problems" in text


def test_offline_needs_no_credentials(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "credentials" not in _checks(ops, "--offline")


def test_a_bootstrapped_account(account_ready: Settings, ops: Ops) -> None:
    assert _checks(ops)["bootstrap"]["status"] == "ok"


def test_an_interrupted_bootstrap(account_ready: Settings, ops: Ops) -> None:
    state = account_ready.path.parent / ".ops/bootstrap/account.tfstate"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    assert "interrupted" in _checks(ops)["bootstrap"]["detail"]


def test_placeholders(project: Settings, ops: Ops) -> None:
    project.change(github_repository="my-org/shop", owner="platform-team", description="A service on AWS")
    check = _checks(ops, "--offline")["placeholders"]
    assert check["status"] == "warning"
    for name in ("github_repository", "owner", "description"):
        assert name in check["detail"]


def test_wrong_account(project: Settings, ops: Ops) -> None:
    project.change(aws_account_id="999999999999")
    checks = _checks(ops)
    assert checks["credentials"]["status"] == "problem"
    assert "123456789012" in checks["credentials"]["detail"]


def test_broken_settings(project: Settings, ops: Ops) -> None:
    project.change(aws_region="us-east-one")
    assert "aws_region" in _checks(ops)["project.yaml"]["detail"]


def test_old_terraform(project: Settings, ops: Ops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/terraform"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho \'{"terraform_version": "1.9.8"}\'\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    check = _checks(ops, "--offline")["Terraform"]
    assert (check["status"], check["detail"]) == ("problem", "1.9.8")


def test_nothing_installed(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    checks = _checks(ops)
    assert checks["Terraform"]["status"] == "problem"
    assert checks["Docker"]["status"] == "warning"
    assert checks["git"]["status"] == "warning"


@pytest.mark.parametrize(
    ("quota", "value", "name"),
    [
        ("vpc", 2, "quota VPCs"),
        ("ec2", 1, "quota elastic IPs"),
        ("fargate", 1, "quota Fargate vCPU"),
        ("lambda", 0, "quota Lambda concurrency"),
    ],
)
def test_quotas(quota: str, value: float, name: str, project: Settings, ops: Ops, quotas: dict[str, float]) -> None:
    project.change(internet_egress="nat-gateway")
    assert _checks(ops)[name]["status"] == "ok"
    quotas[quota] = value
    check = _checks(ops)[name]
    assert check["status"] == "problem"
    assert "quota" in check["fix"]


def test_another_projects_oidc_provider(project: Settings, ops: Ops, client: Client) -> None:
    create = client("iam").create_open_id_connect_provider
    url = "https://token.actions.githubusercontent.com"
    create(Url=url, ClientIDList=["sts.amazonaws.com"], ThumbprintList=["0" * 40])
    check = _checks(ops)["OIDC provider"]
    assert check["status"] == "problem"
    assert "account_settings: existing" in check["fix"]
    project.change(account_settings="existing")
    assert _checks(ops)["OIDC provider"]["status"] == "ok"


def test_domain(project: Settings, ops: Ops, client: Client) -> None:
    project.change(domain_name="shop.example.com")
    assert _checks(ops)["domain"]["status"] == "problem"
    client("route53").create_hosted_zone(Name="shop.example.com", CallerReference="1")
    assert _checks(ops)["domain"]["status"] == "ok"


def test_more_zones_than_the_region_has(project: Settings, ops: Ops) -> None:
    project.change(
        aws_region="us-west-1",
        environments={
            "dev": {
                "network": {
                    "zones": 4,
                    "nat_gateways": 1,
                    "endpoint_zones": 2,
                    "cidr": "10.1.0.0/16",
                }
            }
        },
    )
    check = _checks(ops)["region"]
    assert check["status"] == "problem"
    assert "dev wants 4" in check["detail"]


def test_github_subject(project: Settings, ops: Ops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gh-bin/gh"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho \'[{"use_default": true, "sub_claim_prefix": "repo:acme@1/shop@2"}]\'\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    check = _checks(ops)["GitHub"]
    assert check["status"] == "problem"
    assert check["fix"] == "make github-subject"
    project.change(github_oidc_subject_prefix="repo:acme@1/shop@2")
    assert _checks(ops)["GitHub"]["status"] == "ok"
    answer = '{"sub_claim_prefix": "repo:acme@1/shop@2", "default_branch": "master"}'
    program.write_text(f"#!/bin/sh\necho '[{answer}]'\n")
    check = _checks(ops)["GitHub"]
    assert check["status"] == "warning"
    assert "is master; CD and the roles know main alone" in check["detail"]


def test_what_may_not_be_checked_is_a_warning(project: Settings, ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    original = BaseClient._make_api_call

    def call(self: Any, name: str, arguments: Any) -> Any:
        if name == "DescribeVpcs":
            raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, name)
        return original(self, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    check = _checks(ops)["quota VPCs"]
    assert check["status"] == "warning"
    assert "may not do DescribeVpcs" in check["detail"]
    assert APP
