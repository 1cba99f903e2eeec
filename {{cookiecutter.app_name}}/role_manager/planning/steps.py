"""What a plan is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from role_manager.sql import identifier

_T = TypeVar("_T")
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
        relation: the table it is about, if it is one.
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
    relation: str = ""
    each: tuple[Change, ...] = ()

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

    `iam_logins`: the server has rds_iam, so roles log in with tokens. `uncertain`: roles of which only a try can
    tell whether the server grants them.
    """

    changes: tuple[Change, ...]
    blocked: tuple[Blocked, ...]
    iam_logins: bool = True
    uncertain: frozenset[str] = frozenset()

    @property
    def empty(self) -> bool:
        """Whether catalog and desired state are equal."""
        return not self.changes and not self.blocked


def together(
    items: Sequence[_T],
    show: Callable[[_T], str],
    write: Callable[[Sequence[_T]], str],
    relation: Callable[[_T], str],
    *,
    locks: int = 1,
    **same: Any,
) -> Iterator[Change]:
    """Make changes that are alike but for their objects, with as many objects in one as a statement should hold."""
    for start in range(0, len(items), _PER_STATEMENT):
        part = items[start : start + _PER_STATEMENT]
        each = tuple(
            Change(show(item), sql=write([item]), locks=locks, relation=relation(item), **same) for item in part
        )
        if len(part) == 1:
            yield each[0]
        else:
            yield Change(several(part, show), sql=write(part), locks=locks * len(part), each=each, **same)


def several(items: Sequence[_T], show: Callable[[_T], str]) -> str:
    """Name objects for a person: the only one, or how many and the first."""
    return show(items[0]) if len(items) == 1 else f"{len(items)} objects: {show(items[0])} and others"


def in_the_name_of(role: str, sql: str) -> str:
    """Run SQL as another role, which is the grantor then."""
    return f"SET LOCAL ROLE {identifier(role)};\n{sql};\nSET LOCAL ROLE NONE"
