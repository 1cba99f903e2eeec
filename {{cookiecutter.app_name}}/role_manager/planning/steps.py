"""What a plan is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from role_manager.sql import identifier

_PER_STATEMENT = 500


@dataclasses.dataclass(frozen=True)
class Change:
    """One step of a plan.

    Attributes:
        object: what is changed, for a person.
        now: how it is.
        wanted: how it must be.
        sql: what makes it so.
        needs: the roles whose privileges the statement takes; `make_plan` arranges them.
        temporary: it comes and goes within the plan.
        early: it comes before these memberships: as their member the master would act in another's name.
        locks: how many entries it takes in the server's table of locks.
        name: of the object alone, as the server quotes it.
        each: the same for each object by itself, when it is about several.

    """

    object: str
    now: str
    wanted: str
    sql: str
    needs: frozenset[str] = frozenset()
    temporary: bool = False
    early: bool = False
    locks: int = 1
    name: str = ""
    each: tuple[Change, ...] = ()

    @property
    def pieces(self) -> tuple[Change, ...]:
        """The changes of single objects that it is made of."""
        return self.each or (self,)

    @property
    def reason(self) -> str:
        """The difference in one line."""
        return f"{self.now}; wanted: {self.wanted}"

    def or_blocked(self, may: bool, who: str, why: str = "") -> Change | Blocked:
        """The change itself, or when the master may not make it, who has to run its statement."""
        return self if may else Blocked(self.object, self.reason + why, f"{who} runs: {self.sql}")


@dataclasses.dataclass(frozen=True)
class Blocked:
    """A difference that is not repaired: what, why not, and who can do what about it."""

    object: str
    reason: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The changes in the order they must run, and what cannot be changed. Both empty: all is well.

    `iam_logins`: the server has rds_iam, so roles log in with tokens. `locks`: how many it has room for. `uncertain`:
    roles of which only a try can tell whether the server grants them.
    """

    changes: tuple[Change, ...]
    blocked: tuple[Blocked, ...]
    iam_logins: bool = True
    locks: int = 0
    uncertain: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether catalog and desired state are equal."""
        return not self.changes and not self.blocked


def together(
    kind: str, names: Sequence[str], write: Callable[[Sequence[str]], str], *, locks: int = 1, **same: Any
) -> Iterator[Change]:
    """Make changes that are alike but for their objects, with as many objects in one as a statement should hold."""
    for start in range(0, len(names), _PER_STATEMENT):
        part = names[start : start + _PER_STATEMENT]
        each = tuple(Change(f"{kind} {name}", sql=write([name]), locks=locks, name=name, **same) for name in part)
        if len(part) == 1:
            yield each[0]
        else:
            yield Change(several(kind, part), sql=write(part), locks=locks * len(part), each=each, **same)


def several(kind: str, names: Sequence[str]) -> str:
    """Name objects for a person: the only one, or how many and the first."""
    return f"{kind} {names[0]}" if len(names) == 1 else f"{len(names)} objects: {kind} {names[0]} and others"


def in_the_name_of(role: str, sql: str) -> str:
    """Run SQL as another role, which is the grantor then."""
    return f"SET LOCAL ROLE {identifier(role)};\n{sql};\nSET LOCAL ROLE NONE"
