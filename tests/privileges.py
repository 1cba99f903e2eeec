"""What rehearsals say of the policies of roles: which actions nothing needs, and whether infra/ says why they stay.

A role's action is one that a run needs when a call is refused without it. An action that no run needs stays only with a
reason: on its line, or above its statement where no run needs anything of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.policies import evaluator


class Place(NamedTuple):
    """Where Terraform has an action: one for all roles and environments to which it gives a policy of this text."""

    sid: str
    action: str


@dataclass(frozen=True)
class Line:
    """A line that has an action, with the `Sid` that stands before it, and whether a comment stands above that."""

    text: str
    sid: str
    introduced: bool

    @property
    def commented(self) -> bool:
        """Whether it says why."""
        return re.search(r"#\s*\w", self.text) is not None


def decisions(report: Path) -> Any:
    """The usage that a rehearsal kept beside its report."""
    return evaluator("usage").read(report / "decisions")


def one_by_one(usage: Any, role: str) -> Iterator[tuple[str, list[Any]]]:
    """Take each action of a role out in turn: the action, and the calls that are refused without it."""
    for action in sorted({g.action for g in usage.declared if g.role.endswith(f"/{role}")}):
        yield action, usage.without(role, action)


def unexplained(usages: Iterable[Any], infra: Path) -> list[Place]:
    """The actions that none of the runs needs and for which Terraform's files give no reason."""
    every = list(usages)
    needed = {Place(g.sid, g.action) for usage in every for any_of in usage.needed if len(any_of) == 1 for g in any_of}
    declared = {Place(g.sid, g.action) for usage in every for g in usage.declared}
    idle = {sid for sid, _ in declared} - {sid for sid, _ in needed}

    def explained(place: Place) -> bool:
        return all(line.commented or (place.sid in idle and line.introduced) for line in lines(infra, place))

    return sorted(place for place in declared - needed if not explained(place))


def lines(infra: Path, place: Place) -> list[Line]:
    """The lines that have an action: those of its statements, or where these name a local value, all.

    Raises LookupError when there is none.
    """
    text = f'"{place.action}"'
    found = []
    for file in sorted(infra.glob("*/*.tf")):
        sid, introduced, before = "", False, ""
        for line in file.read_text(encoding="utf-8").splitlines():
            if match := re.match(r'\s*Sid\s*=\s*"(\w+)"', line):
                sid, introduced = match[1], before.lstrip().startswith("#") or "#" in line
            if text in line.partition("#")[0]:
                found.append(Line(line, sid, introduced))
            before = line
    if not found:
        raise LookupError(f"no line of {infra} has {text}")
    return [line for line in found if line.sid == place.sid] or found
