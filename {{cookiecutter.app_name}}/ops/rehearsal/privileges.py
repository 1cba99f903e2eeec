"""What each role may do, and what of it was done: least privilege, looked at from both sides.

A grant is one pattern of one statement's `Action`. The simulator's journal says for every call which statements allowed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ops.rehearsal.iam.policy import as_list, statements
from ops.rehearsal.iam.roles import Role


@dataclass(frozen=True)
class Privileges:
    """The grants of a role and those that were used, as `Sid: service:Action`."""

    name: str
    granted: frozenset[str]
    used: frozenset[str]

    @property
    def unused(self) -> list[str]:
        """What nothing used here."""
        return sorted(self.granted - self.used)


def used_by(journal: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return for each role, by its name, the grants that calls needed."""
    found: dict[str, set[str]] = {}
    for record in journal:
        asker = str(record.get("principal", ""))
        for asked in record.get("asked", ()):
            role = str(asked.get("of") or asker)
            for _, sid, pattern in asked.get("by", {}).get("identity", ()):
                found.setdefault(_name(role), set()).add(f"{sid}: {pattern}")
    return found


def _name(principal: str) -> str:
    """The role's name: `arn:aws:sts::1:assumed-role/NAME/SESSION` or `arn:aws:iam::1:role/PATH/NAME`."""
    resource = principal.rpartition(":")[2]
    parts = resource.split("/")
    return parts[1] if parts[0] == "assumed-role" else parts[-1]


def of(roles: Iterable[Role], journal: Iterable[Mapping[str, Any]]) -> list[Privileges]:
    """Compare what roles were granted with what was used, by the names of the roles."""
    used = used_by(journal)
    found = []
    for role in roles:
        granted = frozenset(
            f"{statement.get('Sid') or f'statement {number}'}: {action}"
            for policy in role.policies.values()
            for number, statement in enumerate(statements(policy), 1)
            if statement["Effect"] == "Allow"
            for action in as_list(statement.get("Action", []))
        )
        found.append(Privileges(role.name, granted, granted & frozenset(used.get(role.name, ()))))
    return sorted(found, key=lambda one: one.name)
