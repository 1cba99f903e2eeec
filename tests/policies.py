"""The IAM policies of a render, as Terraform plans them, and what they decide."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.terraform import Terraform, copy_infra, mocked_provider
from tools import template

RUN = """
run "planned" {
  command = plan
  variables {
    project_file = "./tests/answers.yaml"
  }
}
"""


def evaluator() -> ModuleType:
    """ops/rehearsal/policies.py of the template, which is copied into renders as it is."""
    name = "rendered_policies"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, template.RENDERED_ROOT / "ops" / "rehearsal" / "policies.py"
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


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
        return policies.decide_all(self.documents, asked) == "allowed" and (
            self.boundary is None or policies.decide(self.boundary, asked) == "allowed"
        )


@dataclass(frozen=True)
class Account:
    """The roles of the account layer by what they are for, and the boundaries by their names."""

    roles: dict[str, Role]
    boundaries: dict[str, dict[str, Any]]


def planned(terraform: Terraform, infra: Path, layer: str, answers: Path) -> list[dict[str, Any]]:
    """The resources that a layer would create with these answers, as Terraform's JSON has them."""
    folder = infra / layer
    shutil.copy(answers, folder / "tests" / "answers.yaml")
    test = folder / "tests" / "answers.tftest.hcl"
    test.write_text(mocked_provider(folder) + RUN, encoding="utf-8")
    terraform.must(folder, "init", "-backend=false")
    printed = terraform.must(folder, "test", "-json", "-verbose", "-filter=tests/answers.tftest.hcl")
    test.unlink()
    (plan,) = (event for event in map(json.loads, printed.splitlines()) if event.get("type") == "test_plan")
    return list(plan["test_plan"]["resource_changes"])


def account(terraform: Terraform, repository: Path, work: Path) -> Account:
    """The account layer of a rendered repository."""
    infra = copy_infra(repository, work)
    roles: dict[str, Role] = {}
    documents: dict[str, dict[str, Any]] = {}
    boundaries: dict[str, dict[str, Any]] = {}
    attached: list[tuple[str, str]] = []
    changes = planned(terraform, infra, "account", repository / "project.yaml")
    for change in changes:
        after = change["change"]["after"]
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
            roles[change["change"]["after"]["role"]].documents.append(json.loads(change["change"]["after"]["policy"]))
    for role, document in attached:
        roles[role].documents.append(documents[document])
    return Account({name.partition("-github-")[2]: role for name, role in roles.items()}, boundaries)
