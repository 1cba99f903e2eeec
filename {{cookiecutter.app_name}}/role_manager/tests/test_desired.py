from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from role_manager.desired import InvalidDesiredStateError, parse

GOOD: dict[str, Any] = {"schemas": ["app"], "roles": {"migrator": {"profile": "owner"}}}


def test_what_is_not_said_has_a_default() -> None:
    role = parse(GOOD).owner
    assert (role.login, role.connection_limit, role.statement_timeout_seconds) == ("iam", -1, 0)
    assert parse(GOOD).extensions == ()
    assert parse(GOOD).retired == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schemas": []}, "at least one schema"),
        ({"schemas": "app"}, "schemas: must be a list"),
        ({"schemas": ["app", "app"]}, "listed twice"),
        ({"schemas": ["pg_mine"]}, "reserved name"),
        ({"schemas": ["x" * 64]}, "longer than 63 bytes"),
        ({"schemas": ["é" * 32]}, "longer than 63 bytes"),
        ({"schemas": ["a\0b"]}, "zero byte"),
        ({"schemas": [7]}, "not text"),
        ({"schemas": [""]}, "is empty"),
        ({"schemas": ["\ud800"]}, "not valid Unicode"),
        ({"roles": {}}, "roles: must be a mapping"),
        ({"roles": {"app": {"profile": "read-write"}}}, "exactly one role"),
        ({"roles": {"a": {"profile": "owner"}, "b": {"profile": "owner"}}}, "exactly one role"),
        ({"roles": {"rds_superuser": {"profile": "owner"}}}, "reserved name"),
        ({"roles": {"pg_monitor": {"profile": "owner"}}}, "reserved name"),
        ({"roles": {"public": {"profile": "owner"}}}, "reserved name"),
        ({"roles": {"m": {"profile": "admin"}}}, "roles.m.profile: 'admin' is not one of"),
        ({"roles": {"m": {"profile": "owner", "login": "password"}}}, "roles.m.login"),
        ({"roles": {"m": {"profile": "owner", "connection_limit": True}}}, "connection_limit"),
        ({"roles": {"m": {"profile": "owner", "connection_limit": -2}}}, "connection_limit"),
        ({"roles": {"m": {"profile": "owner", "statement_timeout_seconds": 0.5}}}, "timeout"),
        ({"roles": {"m": {"profile": "owner", "password": "x"}}}, "unknown key 'password'"),
        ({"retired": ["migrator"]}, "also listed under roles"),
        ({"retired": ["rdsadmin"]}, "reserved name"),
        ({"grants": []}, "unknown key 'grants'"),
        ({"adopt": "table x"}, "adopt: must be a list"),
        ({"adopt": ["orders"]}, "is not a kind and a name"),
        ({"adopt": ["table "]}, "is not a kind and a name"),
        ({"adopt": [7]}, "is not a kind and a name"),
        ({"adopt": ["table \0"]}, "is not a kind and a name"),
        ({"adopt": ["table \ud800"]}, "is not a kind and a name"),
        ({"adopt": ["trigger t"]}, "is not a kind and a name"),
    ],
)
def test_a_broken_rule_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDesiredStateError, match="not valid") as caught:
        parse(GOOD | change)
    assert any(words in problem for problem in caught.value.problems), caught.value.problems


def test_all_problems_come_at_once() -> None:
    with pytest.raises(InvalidDesiredStateError) as caught:
        parse({"schemas": [""], "roles": {"m": {"profile": "x", "login": "y"}}, "extra": 1})
    assert len(caught.value.problems) >= 4


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_anything_else_is_refused_with_words(data: Any) -> None:
    with pytest.raises(InvalidDesiredStateError):
        parse(data)


def test_what_may_be_adopted_has_a_kind_and_a_name() -> None:
    items = ["table app.orders", "operator class app.x USING btree", 'function app."F f"(integer, text)', "role old"]
    assert parse(GOOD | {"adopt": items}).adopt == (
        ("table", "app.orders"),
        ("operator class", "app.x USING btree"),
        ("function", 'app."F f"(integer, text)'),
        ("role", "old"),
    )
