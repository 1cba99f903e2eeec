"""The three actions: plan, apply and check. Each returns a report and raises when it must fail."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from role_manager import catalog
from role_manager.connection import (
    ConnectionLostError,
    Server,
    Session,
    StatementError,
    Timeouts,
    connect,
)
from role_manager.desired import DesiredState
from role_manager.plan import Plan, make_plan
from role_manager.privileges import Change

ACTIONS = ("plan", "apply", "check")

# Any constant: whoever manages roles in this database takes the same lock.
_LOCK_KEY = int.from_bytes(b"rolemngr", "big", signed=True)
_ATTEMPTS = 3
# Somebody else changed the same rows or holds a lock: everything was rolled back and may be repeated.
_TRY_AGAIN = {"40001", "40P01", "55P03"}
_T = TypeVar("_T")
_CHANGED_BY_OTHERS = "tuple concurrently updated"


class ActionError(Exception):
    """An action that must fail; `report` says everything about it."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.summary)
        self.report = report


@dataclasses.dataclass
class Report:
    """What an action found and did.

    Attributes:
        action: plan, apply or check.
        result: `nothing to do`, `changes` (plan), `applied`, `passed`, or what went wrong: `blocked`,
            `drift`, `failed`.
        summary: one sentence for a person.
        plan: the changes that are to be made or were made, and what is blocked.
        proofs: of check: for each role what was tried.
        round_trips: requests to the server, after login.
        seconds: how long it took.

    """

    action: str
    result: str
    summary: str
    plan: Plan = dataclasses.field(default_factory=lambda: Plan((), ()))
    proofs: list[Any] = dataclasses.field(default_factory=list)
    round_trips: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Manager:
    """What every action needs.

    Attributes:
        server: the database.
        login: gives the master's user name and password.
        desired: what the database shall look like.
        log: takes a message and fields.
        timeouts: limits in seconds.

    """

    server: Server
    login: Callable[[], tuple[str, str]]
    desired: DesiredState
    log: Callable[..., None] = lambda *_, **__: None
    timeouts: Timeouts = dataclasses.field(default_factory=Timeouts)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Log in as the master."""
        user, password = self.login()
        settings = {
            # Nothing that a user of the database made can stand for a function or operator here.
            "search_path": "pg_catalog",
            "standard_conforming_strings": "on",
            "statement_timeout": f"{int(self.timeouts.statement * 1000)}ms",
            "lock_timeout": f"{int(self.timeouts.lock * 1000)}ms",
            "idle_in_transaction_session_timeout": f"{int(self.timeouts.statement * 1000)}ms",
        }
        with connect(self.server, user, lambda: password, settings=settings, timeouts=self.timeouts) as session:
            yield session


def plan(manager: Manager) -> Report:
    """Say what apply would do. Changes nothing."""
    started = time.monotonic()
    found, round_trips = _retrying(manager, "plan", _read_plan)
    return _planned(found, round_trips, time.monotonic() - started)


def _planned(found: Plan, round_trips: int, seconds: float) -> Report:
    result = "nothing to do" if found.empty else "blocked" if found.blocked else "changes"
    return Report("plan", result, _sentence(found), found, [], round_trips, round(seconds, 3))


def apply(manager: Manager) -> Report:
    """Make the changes of the plan, in one transaction, all or none.

    Raises:
        ActionError: nothing was changed; or, if the connection broke during COMMIT, it is not known.

    """
    started = time.monotonic()
    report = _retrying(manager, "apply", _apply_once)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _read_plan(manager: Manager) -> tuple[Plan, int]:
    with manager.session() as session:
        rows = session.run("BEGIN READ ONLY;\n" + catalog.queries(manager.desired) + ";\nROLLBACK")
        return make_plan(manager.desired, catalog.parse(rows)), 1


def _apply_once(manager: Manager) -> Report:
    with manager.session() as session:
        # One round trip: the lock may take as long as another apply, the rest may not.
        rows = session.run(
            f"BEGIN READ WRITE;\nSET LOCAL lock_timeout = '{int(manager.timeouts.statement)}s';\n"
            f"SELECT pg_advisory_xact_lock({_LOCK_KEY});\n"
            f"SET LOCAL lock_timeout = '{int(manager.timeouts.lock * 1000)}ms';\n" + catalog.queries(manager.desired)
        )
        found = make_plan(manager.desired, catalog.parse(rows[1:]))
        if found.blocked:
            session.run("ROLLBACK")
            raise ActionError(Report("apply", "blocked", _sentence(found), found, [], 2))
        for number, change in enumerate(found.changes, 1):
            _run_change(session, change, number, found, manager)
        round_trips = 1 + len(found.changes)
        if found.changes:
            rows = session.run(catalog.queries(manager.desired))
            rest = make_plan(manager.desired, catalog.parse(rows))
            round_trips += 1
            if not rest.empty:
                session.run("ROLLBACK")
                summary = "The changes did not lead to the desired state, so none was kept. " + (_sentence(rest))
                raise ActionError(Report("apply", "failed", summary, rest, [], round_trips + 1))
        _commit(session, found, round_trips + 1)
        result = "applied" if found.changes else "nothing to do"
        summary = f"{len(found.changes)} changes were made." if found.changes else "Nothing to do."
        return Report("apply", result, summary, found, [], round_trips + 1)


def _run_change(session: Session, change: Change, number: int, found: Plan, manager: Manager) -> None:
    manager.log("change", object=change.object, reason=change.reason, sql=change.sql, number=number)
    where = f"change {number} of {len(found.changes)} ({change.object})"
    try:
        session.run(change.sql)
    except StatementError as error:
        if error.state in _TRY_AGAIN or _CHANGED_BY_OTHERS in error.message:
            raise
        summary = f"{where} was refused: {error}. Nothing was changed."
        raise ActionError(Report("apply", "failed", summary, found)) from None
    except ConnectionLostError as error:
        summary = (
            f"The connection was lost at {where}: {error}. The server takes back everything of an "
            "unfinished transaction: nothing was changed. Apply again."
        )
        raise ActionError(Report("apply", "failed", summary, found)) from None


def _commit(session: Session, found: Plan, round_trips: int) -> None:
    try:
        session.run("COMMIT")
    except ConnectionLostError as error:
        if not found.changes:
            return  # there was nothing to commit
        summary = (
            f"The connection was lost at COMMIT: {error}. Either all {len(found.changes)} changes "
            "were made or none. Plan tells which; apply again is safe."
        )
        raise ActionError(Report("apply", "failed", summary, found, [], round_trips)) from None


def _retrying(manager: Manager, action: str, work: Callable[[Manager], _T]) -> _T:
    """Repeat what failed before anything was changed, or was rolled back by the server."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return work(manager)
        except ConnectionLostError as error:
            problem = f"The connection was lost while reading the catalog: {error}."
        except StatementError as error:
            again = error.state in _TRY_AGAIN or _CHANGED_BY_OTHERS in error.message
            problem = f"The server refused: {error}. Nothing was changed."
            if not again:
                raise ActionError(Report(action, "failed", problem)) from None
        manager.log("trying again", level="warning", problem=problem, attempt=attempt)
        if attempt < _ATTEMPTS:
            time.sleep(0.5 * attempt)
    raise ActionError(Report(action, "failed", f"{problem} Tried {_ATTEMPTS} times."))


def check(manager: Manager, *, logins: bool = True) -> Report:
    """Compare, and prove by logging in as each role what it can and cannot do. Leaves nothing behind.

    Args:
        manager: what to check.
        logins: False proves with SET ROLE alone, where no IAM tokens can be had.

    Raises:
        ActionError: there is a difference, or a role can do too much or too little.

    """
    from role_manager import proofs

    started = time.monotonic()
    found, round_trips = _retrying(manager, "check", _read_plan)
    results = proofs.prove(manager, logins=logins and found.iam_logins)
    failed = [proof for proof in results if proof.problems]
    summary = _sentence(found) if not found.empty else "The catalog is as declared."
    if failed:
        summary += " Proofs failed: " + "; ".join(
            f"{proof.role}: {', '.join(proof.problems[:3])}" for proof in failed[:10]
        )
    else:
        summary += f" {len(results)} roles were proven."
    result = "drift" if not found.empty else "failed" if failed else "passed"
    report = Report("check", result, summary, found, results, round_trips, round(time.monotonic() - started, 3))
    if result != "passed":
        raise ActionError(report)
    return report


def _sentence(found: Plan) -> str:
    if found.empty:
        return "Nothing to do."
    parts = []
    changes = tuple(change for change in found.changes if not change.temporary)
    if changes:
        listed = "; ".join(f"{c.object}: {c.reason}" for c in changes[:5])
        parts.append(f"{len(changes)} changes to make: {listed}" + _more(changes))
    if found.blocked:
        listed = "; ".join(f"{b.object}: {b.reason} ({b.remedy})" for b in found.blocked[:5])
        parts.append(f"{len(found.blocked)} cannot be made: {listed}" + _more(found.blocked))
    return ". ".join(parts) + "."


def _more(items: tuple[Any, ...]) -> str:
    return f"; and {len(items) - 5} more" if len(items) > 5 else ""
