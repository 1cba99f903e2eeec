"""The IAM policies of a render, as Terraform plans them, and what they decide."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.bakes import Project
from tests.conftest import Once
from tests.terraform import Terraform, copy_infra, mocked_provider
from tools import template

RUN = """
run "made" {
  command = %s
  variables {
    project_file = "./tests/answers.yaml"
    %s
  }
}
"""
# What the layers of an environment are given besides. Only the account layer is planned and not made: its state bucket
# refuses to be destroyed after a test.
VARIABLES = {
    "network": 'environment = "dev"',
    "database": 'environment = "dev"\n    role_manager_package = "./main.tf"',
    "service": f'environment = "dev"\n    image_digest = "sha256:{"0" * 64}"',
}


def evaluator(module: str = "questions") -> ModuleType:
    """A module of ops/rehearsal/iam of the template, which is copied into renders as it is."""
    root = str(template.RENDERED_ROOT)
    if root not in sys.path:
        sys.path.append(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)  # into what other tests render at this moment
        return importlib.import_module(f"ops.rehearsal.iam.{module}")


@dataclass(frozen=True)
class Role:
    """What one role may do: its policies, and the boundary that limits them."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    boundary: dict[str, Any] | None = None

    def may(self, action: str, resource: str, context: Mapping[str, str] | None = None) -> bool:
        """Whether IAM lets it; `context` holds condition keys."""
        policies = evaluator()
        asked = policies.Request(
            "arn:aws:iam::123456789012:role/x",
            action,
            resource,
            {"aws:RequestedRegion": "us-east-1", **(context or {})},
        )
        return policies.all_say(self.documents, asked) == "allowed" and (
            self.boundary is None or policies.says(self.boundary, asked) == "allowed"
        )


@dataclass(frozen=True)
class Account:
    """The roles of the account layer by what they are for, and the boundaries by their names."""

    roles: dict[str, Role]
    boundaries: dict[str, dict[str, Any]]


def resources(once: Once, project: Project, layer: str) -> list[dict[str, Any]]:
    """The resources that a layer makes for a render, as Terraform's JSON has them: type, name, index, values."""
    name = f"{layer} {sorted(project.options.items())}"
    made: list[dict[str, Any]] = once(name, lambda work: _resources(project, layer, work))
    return made


def _resources(project: Project, layer: str, work: Path) -> list[dict[str, Any]]:
    terraform = Terraform(work)
    folder = copy_infra(project.path, work) / layer
    shutil.copy(project.path / "project.yaml", folder / "tests" / "answers.yaml")
    test = folder / "tests" / "answers.tftest.hcl"
    command = "plan" if layer == "account" else "apply"
    test.write_text(mocked_provider(folder) + RUN % (command, VARIABLES.get(layer, "")), encoding="utf-8")
    terraform.must(folder, "init", "-backend=false")
    printed = terraform.must(folder, "test", "-json", "-verbose", "-filter=tests/answers.tftest.hcl")
    events = [json.loads(line) for line in printed.splitlines()]
    if layer == "account":
        (plan,) = (event["test_plan"] for event in events if event.get("type") == "test_plan")
        return [change | {"values": change["change"]["after"]} for change in plan["resource_changes"]]
    (state,) = (event["test_state"] for event in events if event.get("type") == "test_state")
    return list(state["root_module"]["resources"])


def documents(once: Once, project: Project) -> dict[str, dict[str, Any]]:
    """Every policy of an identity and every boundary that a rendered repository has for dev, by where it stands."""
    return {
        f"{layer} {found['address']}": json.loads(found["values"]["policy"])
        for layer in ("account", *VARIABLES)
        if (project.path / "infra" / layer).is_dir()
        for found in resources(once, project, layer)
        if found["type"] in ("aws_iam_policy", "aws_iam_role_policy")
    }


def account(once: Once, project: Project) -> Account:
    """The account layer of a rendered repository."""
    roles: dict[str, Role] = {}
    documents: dict[str, dict[str, Any]] = {}
    boundaries: dict[str, dict[str, Any]] = {}
    attached: list[tuple[str, str]] = []
    changes = resources(once, project, "account")
    for change in changes:
        after = change["values"]
        key = str(change.get("index", ""))
        match change["type"]:
            case "aws_iam_role":
                roles[after["name"]] = Role()
            case "aws_iam_policy":
                document = json.loads(after["policy"])
                documents[f"{change['name']} {key}"] = document
                if change["name"] == "boundary":
                    boundaries[after["name"]] = document
            case "aws_iam_role_policy_attachment":
                attached.append((after["role"], f"{change['name']} {'' if change['name'] == 'read' else key}"))
    for change in changes:
        if change["type"] == "aws_iam_role_policy":
            roles[change["values"]["role"]].documents.append(json.loads(change["values"]["policy"]))
    for role, document in attached:
        roles[role].documents.append(documents[document])
    return Account({name.partition("-github-")[2]: role for name, role in roles.items()}, boundaries)
