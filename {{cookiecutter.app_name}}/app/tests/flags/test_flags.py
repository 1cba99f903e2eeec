"""Who has a feature, and which values are taken."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.flags import DECLARATIONS, Flags, FlagsError, bucket

USERS = st.text(max_size=50)
PERCENT = st.one_of(st.integers(0, 100), st.floats(0, 100))


@pytest.fixture(scope="module")
def declarations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def attribute(**constraints: object) -> dict[str, object]:
        return {"constraints": constraints}

    users = attribute(type="array", elements={"type": "string"})
    launch = {
        "percent": attribute(type="number", minimum=0, maximum=100),
        "users_on": users,
        "users_off": users,
    }
    file = tmp_path_factory.mktemp("flags") / "flags.json"
    file.write_text(
        json.dumps(
            {
                "version": "1",
                "flags": {
                    "launch": {"name": "launch", "attributes": launch},
                    "other": {"name": "other", "attributes": launch},
                    "limit": {
                        "name": "limit",
                        "attributes": {
                            "rows": attribute(type="number"),
                            "color": attribute(type="string", enum=["red", "blue"]),
                        },
                    },
                },
                "values": {"limit": {"enabled": True, "rows": 5}},
            }
        )
    )
    return file


def launch(declarations: Path, **value: Any) -> Flags:
    flags = Flags(declarations)
    flags.update({"launch": {"enabled": True, **value}})
    return flags


def test_the_hash_is_the_documented_one() -> None:
    digest = hashlib.sha256(b"launch:user-1").hexdigest()
    assert bucket("launch", "user-1") == int(digest[:16], 16) % 10_000
    # A value that must never change: it would move users in and out of running launches.
    assert bucket("launch", "user-1") == 135


@settings(deadline=None)
@given(user=USERS, first=PERCENT, second=PERCENT)
def test_who_has_it_keeps_it_when_the_share_grows(declarations: Path, user: str, first: float, second: float) -> None:
    low, high = sorted((first, second))
    if launch(declarations, percent=low).enabled("launch", user):
        assert launch(declarations, percent=high).enabled("launch", user)


@settings(deadline=None)
@given(user=USERS, percent=PERCENT)
def test_the_same_user_gets_the_same_answer(declarations: Path, user: str, percent: float) -> None:
    answers = {launch(declarations, percent=percent).enabled("launch", user) for _ in range(3)}
    assert len(answers) == 1


@settings(deadline=None)
@given(user=USERS)
def test_nobody_and_everybody(declarations: Path, user: str) -> None:
    assert not launch(declarations, percent=0).enabled("launch", user)
    assert launch(declarations, percent=100).enabled("launch", user)
    assert launch(declarations).enabled("launch", user)
    assert not launch(declarations, enabled=False, percent=100).enabled("launch", user)


@pytest.mark.parametrize("percent", [1, 10, 50, 90])
def test_the_share_is_what_was_asked_for(declarations: Path, percent: int) -> None:
    flags = launch(declarations, percent=percent)
    having = sum(flags.enabled("launch", f"user-{number}") for number in range(20_000))
    assert abs(having / 200 - percent) < 1.2


def test_flags_choose_different_users(declarations: Path) -> None:
    flags = Flags(declarations)
    half = {"enabled": True, "percent": 50}
    flags.update({"launch": half, "other": half})
    same = sum(flags.enabled("launch", str(user)) == flags.enabled("other", str(user)) for user in range(10_000))
    assert 4_700 < same < 5_300


@settings(deadline=None)
@given(user=USERS, percent=PERCENT)
def test_users_on_and_off(declarations: Path, user: str, percent: float) -> None:
    assert launch(declarations, percent=percent, users_on=[user]).enabled("launch", user)
    assert not launch(declarations, percent=percent, users_off=[user]).enabled("launch", user)
    both = launch(declarations, percent=percent, users_on=[user], users_off=[user])
    assert not both.enabled("launch", user)


def test_without_a_user_only_what_everybody_has(declarations: Path) -> None:
    assert launch(declarations).enabled("launch")
    assert not launch(declarations, percent=99).enabled("launch")
    assert not launch(declarations, users_off=["a"]).enabled("launch")


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        "launch",
        {"launch": True},
        {"launch": {}},
        {"launch": {"enabled": "true"}},
        {"launch": {"enabled": True, "percent": "10"}},
        {"launch": {"enabled": True, "percent": 101}},
        {"launch": {"enabled": True, "percent": -1}},
        {"launch": {"enabled": True, "percent": True}},
        {"launch": {"enabled": True, "percent": float("nan")}},
        {"launch": {"enabled": True, "users_on": "abc"}},
        {"launch": {"enabled": True, "users_on": [1]}},
        {"limit": {"enabled": True, "color": "green"}},
    ],
)
def test_values_that_are_refused_change_nothing(declarations: Path, values: object) -> None:
    flags = launch(declarations, percent=100)
    with pytest.raises(FlagsError):
        flags.update(values)
    assert flags.enabled("launch", "anybody")


def test_unknown_flags_and_attributes_are_for_another_release(declarations: Path) -> None:
    flags = Flags(declarations)
    flags.update({"launch": {"enabled": True, "_createdAt": "x", "new": 1}, "later": {"x": 1}})
    assert flags.enabled("launch", "a")


def test_a_flag_that_is_left_out_has_its_default(declarations: Path) -> None:
    flags = Flags(declarations)
    flags.update({"limit": {"enabled": True, "rows": 9}})
    assert flags.attribute("limit", "rows", 1.0) == 9
    flags.update({})
    assert flags.attribute("limit", "rows", 1.0) == 5
    assert flags.attribute("limit", "color", "red") == "red"
    flags.update({"limit": {"enabled": False}})
    assert flags.attribute("limit", "rows", 1.0) == 1


def test_what_is_not_declared_is_an_error_of_the_code(declarations: Path) -> None:
    flags = Flags(declarations)
    with pytest.raises(KeyError):
        flags.enabled("nope")
    with pytest.raises(KeyError):
        flags.attribute("limit", "nope", 1.0)
    with pytest.raises(FlagsError):
        flags.attribute("limit", "rows", "a string")


def test_the_declarations_fit_appconfig() -> None:
    """The limits are AppConfig's; a document that breaks them fails at its deployment."""
    document = json.loads(DECLARATIONS.read_text())
    assert document["version"] == "1"
    assert document.keys() == {"version", "flags", "values"}
    assert document["values"].keys() <= document["flags"].keys()
    for name, flag in document["flags"].items():
        assert name[0].islower()
        assert name.replace("_", "").replace("-", "").isalnum()
        assert len(name) <= 64
        assert len(flag.get("attributes", {})) <= 25
        for attribute, value in document["values"].get(name, {}).items():
            assert attribute == "enabled" or attribute in flag["attributes"]
            assert value != [], "AppConfig refuses an empty list: leave the attribute out"
    Flags()
