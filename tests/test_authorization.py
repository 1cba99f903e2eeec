"""Every statement of every policy is one that AWS understands, by the Service Authorization Reference.

https://docs.aws.amazon.com/service-authorization/latest/reference/ says which actions there are, what kinds of
resources each is about and which condition keys its requests have. What does not fit is no error for IAM: it never
matches.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bakes import Bake
from tests.conftest import Once
from tests.policies import documents, evaluator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Policies = dict[str, dict[str, Any]]


@pytest.fixture(scope="session", params=["everything", "bare"])
def policies(request: pytest.FixtureRequest, bake: Bake, once: Once) -> Policies:
    """The policies of two renders: with every component, and with none."""
    options = {
        "everything": {"app_name": "shop", "domain_name": "shop.example.com"},
        "bare": {
            "database": "none",
            "feature_flags": "none",
            "internet_egress": "nat-gateway",
            "aws_region": "cn-north-1",
        },
    }[request.param]
    return documents(once, bake(**options))


def as_list(value: Any) -> list[Any]:
    """What may be one thing or a list of them, as a list."""
    return value if isinstance(value, list) else [value]


def statements(policies: Policies) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each statement stands, and it; without those that deny whatever is another's."""
    for where, document in policies.items():
        for statement in document["Statement"]:
            if statement["Action"] != "*":
                yield f"{where} {statement.get('Sid')}", statement


@functools.cache
def actions(pattern: str) -> list[Any]:
    """The actions of the reference that a pattern covers."""
    reference = evaluator("reference")
    return [reference.action(name) for name in reference.names() if fnmatch.fnmatchcase(name, pattern.lower())]


@functools.lru_cache(100_000)
def meet(one: str, other: str) -> bool:
    """Whether two texts with * as any text have something in common."""
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return meet(one[1:], other) or meet(one, other[1:])
    if other[0] == "*":
        return meet(one, other[1:]) or meet(one[1:], other)
    return one[0] == other[0] and meet(one[1:], other[1:])


@functools.cache
def pattern_of(template: str) -> str:
    """The ARN of a kind of resource with * for its variables."""
    return re.sub(r"\$\{\w+\}", "*", template)


def kinds(action: Any, resource: str) -> list[Any]:
    """The kinds of resources of an action of which a resource in a policy may be one."""
    # A log group's ARN has two forms, and which one an action is asked about is not always the reference's.
    forms = {resource, resource.removesuffix(":*") if ":log-group:" in resource else resource}
    if ":log-group:" in resource and not resource.endswith("*"):
        forms.add(f"{resource}:*")
    return [kind for kind in action.kinds if resource == "*" or any(meet(pattern_of(kind.arn), form) for form in forms)]


def test_every_action_exists(policies: Policies) -> None:
    unknown = [
        f"{where}: {pattern}"
        for where, statement in statements(policies)
        for pattern in as_list(statement["Action"])
        if not actions(pattern)
    ]
    assert not unknown, "\n".join(unknown)


def test_every_action_finds_its_resources(policies: Policies) -> None:
    """An action that knows no resources needs *, another at least one that it is about."""
    lost = [
        f"{where}: {action.name} is not about {as_list(statement['Resource'])}"
        for where, statement in statements(policies)
        if statement["Effect"] == "Allow"
        for pattern in as_list(statement["Action"])
        for action in actions(pattern)
        if "*" not in as_list(statement["Resource"])
        and not any(kinds(action, resource) for resource in as_list(statement["Resource"]))
    ]
    assert not lost, "\n".join(lost)


def test_every_resource_is_one_of_its_actions(policies: Policies) -> None:
    idle = [
        f"{where}: nothing there is about {resource}"
        for where, statement in statements(policies)
        for resource in as_list(statement["Resource"])
        if resource != "*"
        and not any(kinds(action, resource) for pattern in as_list(statement["Action"]) for action in actions(pattern))
    ]
    assert not idle, "\n".join(idle)


def test_every_condition_can_be_met(policies: Policies) -> None:
    """A key that the requests of an action do not have keeps an Allow from ever matching."""
    reference, globals_ = evaluator("reference"), evaluator("keys").GLOBAL
    never = [
        f"{where}: {action.name} has no {key}"
        for where, statement in statements(policies)
        for operator, wanted in statement.get("Condition", {}).items()
        for key, value in wanted.items()
        # These are met by a key that is not there.
        if "Not" not in operator and not operator.endswith("IfExists") and (operator, value) != ("Null", "true")
        for pattern in as_list(statement["Action"])
        for action in actions(pattern)
        if key.lower() not in globals_
        and reference.template_of(key) not in action.keys
        and not any(
            reference.template_of(key) in kind.keys
            for resource in as_list(statement["Resource"])
            for kind in kinds(action, resource)
        )
    ]
    assert not never, "\n".join(never)
