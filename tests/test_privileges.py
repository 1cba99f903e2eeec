"""That an action which no rehearsal needs is found, and what counts as a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import privileges
from tests.policies import evaluator

ROLE = "arn:aws:iam::123456789012:role/app/app-build"
TERRAFORM = """
locals {
  used = [
    {
      Sid    = "Push"
      Action = [
        "ecr:PutImage", "ecr:BatchGetImage",
        "ecr:TagResource", # when tags change
        # When rules change.
        "ecr:PutLifecyclePolicy",
      ]
    },
    {
      # Lambda leaves these behind.
      Sid    = "Leftovers"
      Action = "ec2:DeleteNetworkInterface"
    },
    {
      Sid    = "Bucket"
      Action = local.read_bucket
    },
  ]
  read_bucket = ["s3:GetBucket*"]
}
"""


def usage(*needed: tuple[str, str]) -> Any:
    """A run of a role that has every action of the Terraform above and needs some."""
    module = evaluator("usage")
    places = [
        *[("Push", f"ecr:{name}") for name in ("PutImage", "BatchGetImage", "TagResource", "PutLifecyclePolicy")],
        ("Leftovers", "ec2:DeleteNetworkInterface"),
        ("Bucket", "s3:GetBucket*"),
    ]
    found = module.Usage(declared={module.Granted(ROLE, "push", sid, action) for sid, action in places})
    for sid, action in needed:
        found.needed[frozenset([module.Granted(ROLE, "push", sid, action)])] = {
            module.Missed("ecr PutImage", action, "*")
        }
    return found


@pytest.fixture
def infra(tmp_path: Path) -> Path:
    """A layer with the Terraform above."""
    (tmp_path / "account").mkdir()
    (tmp_path / "account" / "build.tf").write_text(TERRAFORM, encoding="utf-8")
    return tmp_path


def test_what_nothing_needs_has_its_reason_on_the_line_or_above_its_idle_statement(infra: Path) -> None:
    found = privileges.unexplained([usage(("Push", "ecr:PutImage"))], infra)
    assert found == [("Bucket", "s3:GetBucket*"), ("Push", "ecr:BatchGetImage"), ("Push", "ecr:PutLifecyclePolicy")]


def test_what_one_of_several_runs_needs_needs_no_reason(infra: Path) -> None:
    runs = [usage(("Push", "ecr:PutImage")), usage(("Push", "ecr:BatchGetImage"), ("Bucket", "s3:GetBucket*"))]
    assert privileges.unexplained(runs, infra) == [("Push", "ecr:PutLifecyclePolicy")]


def test_of_two_that_allow_the_same_neither_is_needed(infra: Path) -> None:
    found = usage()
    found.needed[frozenset(g for g in found.declared if g.action in ("ecr:PutImage", "ecr:BatchGetImage"))] = {"a call"}
    assert ("Push", "ecr:PutImage") in privileges.unexplained([found], infra)


def test_an_action_that_stands_nowhere_is_an_error(infra: Path) -> None:
    with pytest.raises(LookupError, match="ecr:DeleteRepository"):
        privileges.lines(infra, privileges.Place("Push", "ecr:DeleteRepository"))


def test_each_action_is_taken_out_in_turn() -> None:
    found = dict(privileges.one_by_one(usage(("Push", "ecr:PutImage")), "app-build"))
    assert [str(call) for call in found["ecr:PutImage"]] == ["ecr PutImage needs ecr:PutImage on *"]
    assert {action for action, missed in found.items() if not missed} == found.keys() - {"ecr:PutImage"}
