"""What a plan would do, as data: what somebody approves, and whether a later plan is still that.

A saved plan holds secrets and belongs to one state, so it cannot be shown or passed on. Its changes can: each
attribute as a hash, without values that Terraform calls sensitive.
https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_IDLE = (["no-op"], ["read"])
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# What identifies the object that a change deletes or replaces.
_IDENTITY = ("arn", "id")


@dataclass(frozen=True)
class Change:
    """One resource or output that a plan changes: what is done, and a hash for each of its values."""

    action: str
    values: Mapping[str, str] = field(default_factory=dict)


Changes = Mapping[str, Change]


def changes(planned: Mapping[str, Any]) -> dict[str, Change]:
    """The changes of a plan (`terraform show -json`) by address; empty where it would do nothing."""
    resources = {item["address"]: item["change"] for item in planned.get("resource_changes", [])}
    outputs = {f"output.{name}": change for name, change in planned.get("output_changes", {}).items()}
    return {
        address: _change(change)
        for address, change in sorted((resources | outputs).items())
        if change["actions"] not in _IDLE
    }


def differences(approved: Changes, now: Changes) -> list[str]:
    """What a plan does that was not approved, a line for each.

    What was approved and is not in it any more is none: it was done in the meantime, by a run that ended half-way.
    """
    lines = []
    for address, after in now.items():
        before = approved.get(address)
        if before is None:
            lines.append(f"not approved: {after.action} {address}")
        elif before != after:
            names = [
                name
                for name in sorted({*before.values, *after.values})
                if before.values.get(name) != after.values.get(name)
            ]
            what = f"{before.action}, now {after.action}" if before.action != after.action else after.action
            which = f" ({', '.join(names)})" if names else ""
            lines.append(f"otherwise than approved: {what} {address}{which}")
    return lines


def only_image(planned: Mapping[str, Any]) -> bool:
    """Whether a plan changes nothing but which image runs: all that it knows beforehand differs in digests alone."""
    for change in planned.get("output_changes", {}).values():
        if not change.get("after_unknown") and _neutral(change.get("before")) != _neutral(change.get("after")):
            return False
    for change in (item["change"] for item in planned.get("resource_changes", [])):
        if change["actions"] in _IDLE:
            continue
        before, after = change.get("before"), change.get("after")
        if not isinstance(before, Mapping) or not isinstance(after, Mapping):
            return False  # created or deleted
        unknown = change.get("after_unknown") or {}
        for name in {*before, *after}:
            if not unknown.get(name) and _neutral(before.get(name)) != _neutral(after.get(name)):
                return False
    return True


def _change(change: Mapping[str, Any]) -> Change:
    after = _masked(change.get("after"), change.get("after_sensitive"))
    unknown = change.get("after_unknown") or {}
    if isinstance(after, Mapping):
        names = {*after, *(unknown if isinstance(unknown, Mapping) else ())}
        values = {name: _hash([after.get(name), unknown.get(name)]) for name in names}
    else:
        values = {"value": _hash([after, unknown])}
    before = change.get("before")
    if "delete" in change["actions"] and isinstance(before, Mapping):
        values |= {f"deleted {name}": _hash(before[name]) for name in _IDENTITY if name in before}
    return Change(_action(change["actions"]), values)


def _action(actions: list[str]) -> str:
    return "replace" if len(actions) > 1 else actions[0]


def _masked(value: Any, sensitive: Any) -> Any:
    """A value without what is sensitive in it: such a value may not be known to everybody who plans."""
    if sensitive is True:
        return "(sensitive)"
    if isinstance(value, Mapping) and isinstance(sensitive, Mapping):
        return {name: _masked(item, sensitive.get(name)) for name, item in value.items()}
    if isinstance(value, list) and isinstance(sensitive, list):
        marks = [*sensitive, *[None] * len(value)]
        return [_masked(item, mark) for item, mark in zip(value, marks, strict=False)]
    return value


def _neutral(value: Any) -> str:
    return _DIGEST.sub("sha256:image", json.dumps(value, sort_keys=True))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
