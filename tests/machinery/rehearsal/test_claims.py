"""Claims can fail: what is wrong makes the claim about it not hold."""

from __future__ import annotations

from typing import Any

import pytest
from ops.rehearsal.claims.claim import Result
from ops.rehearsal.claims.database import _checked
from ops.rehearsal.claims.subjects import SUBJECTS
from ops.terraform import LAYERS

DECLARED = {"roles": {"migrator": {"login": "iam"}, "app": {"login": "iam"}, "readonly": {"login": "none"}}}


def proof(role: str, **changed: Any) -> dict[str, Any]:
    return {"role": role, "method": "login", "proven": ["reads"], "problems": []} | changed


def report(*proofs: dict[str, Any], result: str = "passed") -> dict[str, Any]:
    return {"action": "check", "result": result, "summary": "All is well.", "proofs": list(proofs)}


GOOD = report(proof("migrator"), proof("app"))


def broken(given: dict[str, Any] | None) -> list[str]:
    result = Result("Database role manager")
    _checked(DECLARED, given, "what it said", result)
    return [f"{claim.text}: {claim.detail}" for claim in result.claims if not claim.holds]


def test_a_check_that_passes_holds() -> None:
    assert broken(GOOD) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "its check passes on the deployed database: what it said"),
        ({}, "its check passes on the deployed database: what it said"),
        (report(proof("migrator"), proof("app"), result="drift"), "its check passes on the deployed database"),
        (report(), "it proves by logging in what each role can do: not proven: app, migrator"),
        (report(proof("migrator"), proof("app", method="set role")), "not proven: app"),
        (report(proof("migrator"), proof("app", proven=[])), "not proven: app"),
        (report(proof("migrator"), proof("app", problems=["reads too much"])), "not proven: app"),
    ],
)
def test_a_check_that_says_less_does_not_hold(given: dict[str, Any] | None, says: str) -> None:
    assert any(says in line for line in broken(given)), broken(given)


def test_subjects_have_names_of_their_own_and_name_layers_that_exist() -> None:
    names = [subject.name for subject in SUBJECTS]
    assert len(names) == len(set(names))
    assert {layer for subject in SUBJECTS for layer in subject.alone} <= {layer.name for layer in LAYERS}
