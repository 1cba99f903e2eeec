"""What a run says of the policies of its roles: what was used, what was not, and what would be missed.

Reads two files of a run's directory: `journal.jsonl` (a line for each call, with every statement that allowed it) and
`policies.jsonl` (the policies of each role that asked for something, as they were last). `keep` writes both again for when
the directory is gone, with equal calls once; so what IAM was asked can be decided again without one of the actions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

JOURNAL, POLICIES = "journal.jsonl", "policies.jsonl"


class Granted(NamedTuple):
    """One action (or pattern of actions) that a statement of one of a role's policies allows."""

    role: str
    policy: str
    sid: str
    action: str


class Missed(NamedTuple):
    """A call that needs an action: the operation, and what IAM was asked for it."""

    call: str
    action: str
    resource: str

    def __str__(self) -> str:
        """Say it as a person reads it."""
        return f"{self.call} needs {self.action} on {self.resource}"


@dataclass
class Usage:
    """The actions of roles over one run, or over several that were added up.

    `declared` are all that identity policies and boundaries allow, `used` counts the questions that each of them answered,
    `needed` has the calls that nothing allows but the actions of its key, which each would do. `boundaries` names the policies that are boundaries. A call
    that was refused uses nothing: it is an attempt.
    """

    declared: set[Granted] = field(default_factory=set)
    used: dict[Granted, int] = field(default_factory=dict)
    needed: dict[frozenset[Granted], set[Missed]] = field(default_factory=dict)
    boundaries: set[str] = field(default_factory=set)
    calls: int = 0
    refused: int = 0
    seconds: float = 0

    def add(self, other: Usage) -> None:
        """Add another run: another environment or other choices."""
        self.declared |= other.declared
        self.boundaries |= other.boundaries
        for granted, count in other.used.items():
            self.used[granted] = self.used.get(granted, 0) + count
        for any_of, missed in other.needed.items():
            self.needed.setdefault(any_of, set()).update(missed)
        self.calls, self.refused = self.calls + other.calls, self.refused + other.refused
        self.seconds += other.seconds

    def roles(self) -> list[str]:
        """Return the roles that asked for something, by ARN."""
        return sorted({granted.role for granted in self.declared})

    def of(self, role: str) -> tuple[int, int]:
        """Return how many of a role's own actions were used, and how many it has; its boundary does not count."""
        own = [g for g in self.declared if g.role == role and g.policy not in self.boundaries]
        return sum(g in self.used for g in own), len(own)

    def unused(self, role: str | None = None) -> list[Granted]:
        """Return the actions that nothing used, of one role or of all."""
        return sorted(g for g in self.declared if g not in self.used and role in (None, g.role))

    def without(self, role: str, action: str) -> list[Missed]:
        """Return the calls that would be refused if an action were taken out of all of a role's policies.

        `role` is the ARN or ends it, as in `role/my-app-github-build`; `action` is as a policy has it, such as `ecr:Put*`.
        Raises KeyError when none of the role's policies has this action.
        """
        meant = {
            g
            for g in self.declared
            if (g.role == role or g.role.endswith(f"/{role.removeprefix('role/')}"))
            and g.action.lower() == action.lower()
        }
        if not meant:
            raise KeyError(f"{role} has no {action}")
        return sorted({call for any_of, missed in self.needed.items() if any_of <= meant for call in missed})


def read(directory: Path) -> Usage:
    """Read a run's files."""
    usage = Usage()
    last: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in _lines(directory / POLICIES):
        last[record["role"], record["policy"]] = record["statements"]
        if record["layer"] == "boundary":
            usage.boundaries.add(record["policy"])
    for (role, policy), statements in last.items():
        usage.declared |= {
            Granted(role, policy, statement["sid"], action)
            for statement in statements
            if statement["effect"] == "Allow"
            for action in statement["actions"]
        }
    for record in _lines(directory / JOURNAL):
        if "service" not in record:
            continue
        times = record.get("times", 1)
        usage.calls += times
        usage.seconds += record.get("iam_ms", 0) / 1000
        if record.get("refused"):
            usage.refused += times
            continue
        for asked in record.get("asked", ()):
            _note(usage, record, asked, times)
    return usage


def keep(directory: Path, target: Path) -> None:
    """Write a run's files into another directory: `read` finds the same there."""
    target.mkdir(parents=True, exist_ok=True)
    kept: dict[str, list[float]] = {}
    for record in _lines(directory / JOURNAL):
        if "service" in record:
            text = json.dumps({name: record[name] for name in _ASKED if name in record})
            sums = kept.setdefault(text, [0, 0.0])
            sums[0] += record.get("times", 1)
            sums[1] += record.get("iam_ms", 0)
    with (target / JOURNAL).open("w", encoding="utf-8") as file:
        for text, (times, milliseconds) in kept.items():
            file.write(json.dumps(json.loads(text) | {"times": times, "iam_ms": round(milliseconds, 2)}) + "\n")
    with (target / POLICIES).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in _lines(directory / POLICIES))


# What one call's record has that another's can have as well.
_ASKED = ("service", "call", "role", "asked", "refused")


def _note(usage: Usage, record: dict[str, Any], asked: dict[str, Any], times: int) -> None:
    role = asked.get("of") or record.get("role")
    if not role or not asked["allowed"]:
        return
    for layer in ("identity", "boundary"):
        found = [Granted(role, *each) for each in asked.get("by", {}).get(layer, ())]
        for granted in found:
            usage.used[granted] = usage.used.get(granted, 0) + times
        if found and not asked.get("resource_alone"):
            call = f"{record['service']} {record['call']}"
            usage.needed.setdefault(frozenset(found), set()).add(Missed(call, asked["action"], asked["resource"]))


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)
