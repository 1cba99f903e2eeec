"""What a plan would change, as data: what is the same change, what is another one, and what changes only the image."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops import review

OLD, NEW = f"x@sha256:{'1' * 64}", f"x@sha256:{'2' * 64}"


def change(address: str, actions: list[str], before: Any = None, **after: Any) -> dict[str, Any]:
    return {"address": address, "change": {"actions": actions, "before": before, "after": after, "after_unknown": {}}}


def planned(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"resource_changes": list(changes)}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return review.differences(review.changes(one), review.changes(other))


THREE = [change("a.a", ["create"], n=1), change("b.b", ["delete"], {"id": "b-1"}), change("c.c", ["update"], n=2)]


@given(st.permutations(THREE))
def test_the_order_in_a_plan_does_not_matter(found: list[dict[str, Any]]) -> None:
    assert review.changes(planned(*found)) == review.changes(planned(*THREE))


def test_a_plan_that_does_nothing_has_no_changes() -> None:
    assert review.changes(planned(change("a.b", ["no-op"], cpu=1), change("data.c.d", ["read"]))) == {}
    assert review.changes({}) == {}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (planned(*THREE[:2], change("c.c", ["update"], n=3)), "otherwise than approved: update c.c (n)"),
        (
            planned(*THREE[:2], change("c.c", ["delete", "create"], n=2)),
            "otherwise than approved: update, now replace c.c",
        ),
        (planned(*THREE, change("d.d", ["create"])), "not approved: create d.d"),
        # The same address, and another thing behind it.
        (
            planned(THREE[0], change("b.b", ["delete"], {"id": "b-2"}), THREE[2]),
            "otherwise than approved: delete b.b (deleted id)",
        ),
    ],
)
def test_a_difference_is_named(other: dict[str, Any], says: str) -> None:
    lines = differences(planned(*THREE), other)
    assert len(lines) == 1
    assert lines[0].startswith(says)
    assert differences(planned(*THREE), planned(*THREE)) == []


def test_what_was_done_in_the_meantime_is_no_difference() -> None:
    """Of a plan that was applied half-way the rest is still what was approved."""
    assert differences(planned(*THREE), planned(*THREE[1:])) == []
    assert differences(planned(*THREE[1:]), planned(*THREE)) == ["not approved: create a.a"]


def test_outputs_and_what_is_known_after_apply_count() -> None:
    known = planned(change("a.b", ["create"], arn="x"))
    unknown = planned(change("a.b", ["create"]))
    unknown["resource_changes"][0]["change"]["after_unknown"] = {"arn": True}
    assert differences(known, unknown)
    output = {"output_changes": {"url": {"actions": ["update"], "before": "a", "after": "b", "after_unknown": False}}}
    assert list(review.changes(output)) == ["output.url"]


def test_what_is_sensitive_is_in_no_hash() -> None:
    """The role that plans may not know such a value, and an artifact must not tell it."""
    one, other = (change("a.b", ["update"], endpoint=[secret], name="n") for secret in ("one", "two"))
    for item in (one, other):
        item["change"]["after_sensitive"] = {"endpoint": [True]}
    assert review.changes(planned(one)) == review.changes(planned(other))


def task_definition(image: str, **more: Any) -> dict[str, Any]:
    return {"container_definitions": json.dumps([{"image": image, "environment": []}]), "cpu": "256"} | more


def deployment(after: dict[str, Any], **service: Any) -> dict[str, Any]:
    definition = change(
        "aws_ecs_task_definition.service", ["delete", "create"], task_definition(OLD, arn="a:1"), **after
    )
    definition["change"]["after_unknown"] = {"arn": True, "revision": True}
    before = {"task_definition": "a:1", "desired_count": 2}
    update = change("aws_ecs_service.service", ["update"], before, **{"desired_count": 2} | service)
    update["change"]["after_unknown"] = {"task_definition": True}
    return planned(definition, update)


def test_a_deployment_changes_nothing_but_the_image() -> None:
    assert review.only_image(deployment(task_definition(NEW)))
    assert review.only_image({})


@pytest.mark.parametrize(
    "found",
    [
        deployment(task_definition(NEW, cpu="512")),
        deployment(task_definition(NEW), desired_count=3),
        planned(change("aws_lb.x", ["create"], None, name="x")),
        {
            "resource_changes": [
                {"address": "a.b", "change": {"actions": ["delete"], "before": {"id": 1}, "after": None}}
            ]
        },
        {"output_changes": {"url": {"actions": ["update"], "before": "a", "after": "b"}}},
    ],
)
def test_anything_else_is_more_than_the_image(found: dict[str, Any]) -> None:
    assert not review.only_image(found)
