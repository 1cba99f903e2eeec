"""The three actions: plan, apply and check. Each returns a report and raises when it must fail."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from role_manager import catalog
from role_manager.connection import ConnectionLostError, Server, Session, StatementError, Timeouts, connect
from role_manager.desired import DesiredState
from role_manager.planning import Blocked, Change, Plan, make_plan
from role_manager.sql import identifier, literal

ACTIONS = ("plan", "apply", "check")

# Any constant: whoever manages roles in this database takes the same lock.
_LOCK_KEY = int.from_bytes(b"rolemngr", "big", signed=True)
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
# Somebody else changed the same rows: everything was rolled back and may be repeated. XX000 is what PostgreSQL says of
# a catalog row that changed under a statement ("tuple concurrently updated", "cache lookup failed").
_TRY_AGAIN = {"40001", "40P01", "XX000"}
_LOCKED = "55P03"
_GONE = {"42P01", "42883", "42704", "42703", "3F000"}  # undefined table, function, object, column, schema
# How often an object that somebody else holds is tried, and for how long in all objects are waited for.
_LOCK_TRIES, _LOCK_SECONDS = 4, 40.0
_TRANSACTIONS = 500
_T = TypeVar("_T")

# A session of ours depends on no setting of a role or a database: what came from there goes back to PostgreSQL's own.
_OWN_SETTINGS = """SET ROLE NONE;
SELECT count(set_config(name, boot_val, false)) FROM pg_settings
WHERE source IN ('global', 'database', 'user', 'database user') AND context = 'user' AND boot_val IS NOT NULL"""


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
        result: `nothing to do`, `changes` (plan), `applied`, `passed`, or what went wrong: `blocked` (plan: something
            cannot be made so; apply: the rest was), `drift`, `failed`.
        summary: one sentence for a person.
        plan: the changes that are to be made or were made, and what is blocked.
        proofs: of check: for each role what was tried.
        round_trips: requests to the server in all sessions, after login.
        seconds: how long it took.

    """

    action: str
    result: str
    summary: str
    plan: Plan = dataclasses.field(default_factory=lambda: Plan((), ()))
    proofs: list[Any] = dataclasses.field(default_factory=list)
    round_trips: int = 0
    seconds: float = 0.0

    @property
    def fails(self) -> bool:
        """Whether the action must fail. A plan may say what is blocked."""
        return self.result in {"drift", "failed"} or (self.result == "blocked" and self.action != "plan")


@dataclasses.dataclass(frozen=True)
class Manager:
    """What every action needs.

    Attributes:
        server: the database.
        login: gives the master's user name and password.
        desired: what the database shall look like.
        log: takes a message and fields.
        timeouts: limits in seconds.
        meter: counts round trips.

    """

    server: Server
    login: Callable[[], tuple[str, str]]
    desired: DesiredState
    log: Callable[..., None] = lambda *_, **__: None
    timeouts: Timeouts = dataclasses.field(default_factory=Timeouts)
    meter: Counter[str] = dataclasses.field(default_factory=Counter)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Log in as the master."""
        user, password = self.login()
        settings = {
            # Nothing that a user of the database made can stand for a function or operator here.
            "search_path": "pg_catalog, pg_temp",
            "standard_conforming_strings": "on",
            "transform_null_equals": "off",
            "quote_all_identifiers": "off",
            "statement_timeout": f"{int(self.timeouts.statement * 1000)}ms",
            "lock_timeout": f"{int(self.timeouts.lock * 1000)}ms",
            "idle_in_transaction_session_timeout": f"{int(self.timeouts.statement * 1000)}ms",
            "jit": "off",
            # After large migrations the catalogs have no statistics yet, and nested loops would take seconds.
            "enable_nestloop": "off",
        }
        with connect(
            self.server, user, lambda: password, settings=settings, timeouts=self.timeouts, meter=self.meter
        ) as session:
            yield session


def _action(work: Callable[..., Report]) -> Callable[..., Report]:
    """Add round trips and seconds to what an action reports, and raise it where the action must fail."""

    @functools.wraps(work)
    def run(manager: Manager, **options: bool) -> Report:
        started = time.monotonic()
        try:
            report = work(manager, **options)
        except ActionError as error:
            report = error.report
        report.round_trips = manager.meter.pop("round trips", 0)
        report.seconds = round(time.monotonic() - started, 3)
        if report.fails:
            raise ActionError(report)
        return report

    return run


@_action
def plan(manager: Manager) -> Report:
    """Say what apply would do. Changes nothing."""
    found = _retrying(manager, "plan", _read_plan)
    result = "nothing to do" if found.empty else "blocked" if found.blocked else "changes"
    return Report("plan", result, _sentence(found), found)


def _read_plan(manager: Manager) -> Plan:
    with manager.session() as session:
        rows = session.run(f"BEGIN READ ONLY;\n{_OWN_SETTINGS};\n{catalog.query(manager.desired)};\nROLLBACK")
        return _plan(session, manager.desired, rows)


def _plan(session: Session, desired: DesiredState, rows: list[list[Any]]) -> Plan:
    """Make the plan; where only the server can tell whether it grants a role, ask it, and take the answer back."""
    found = catalog.parse([row for row in rows if len(row) == 2])
    tried: set[str] = set()
    refused: set[str] = set()
    while (
        asked := (made := make_plan(desired, dataclasses.replace(found, refused=frozenset(refused)))).uncertain - tried
    ):
        for role in sorted(asked):
            try:
                # Within a transaction BEGIN does nothing.
                session.run(f"BEGIN;\nSAVEPOINT try;\nGRANT {identifier(role)} TO {identifier(found.me.name)}")
            except StatementError:
                refused.add(role)
            session.run("ROLLBACK TO SAVEPOINT try")
        tried |= asked
    return made


# --- Apply --------------------------------------------------------------------------------------


@_action
def apply(manager: Manager) -> Report:
    """Make the changes of the plan, each object by itself; in one transaction, unless they need more locks than it has.

    Raises:
        ActionError: `blocked`: something is left, everything else was changed. `failed`: what the summary says; if the
            connection broke during COMMIT, it is not known.

    """
    work = _Apply(manager)
    blocked = work.run()
    result = "blocked" if blocked else "applied" if work.done else "nothing to do"
    summary = f"{_count(work.done)} made." if work.done else "Nothing was changed." if blocked else "Nothing to do."
    if blocked:
        summary += f" {_sentence(Plan((), tuple(blocked)))}"
    return Report("apply", result, summary, Plan(tuple(work.done), tuple(blocked)))


@dataclasses.dataclass
class _Apply:
    """One apply."""

    manager: Manager
    done: list[Change] = dataclasses.field(default_factory=list)  # by transactions that are over
    transactions: int = 0  # that are over
    waits: Counter[str] = dataclasses.field(default_factory=Counter)  # how often each object was waited for
    stuck: dict[str, Blocked] = dataclasses.field(default_factory=dict)  # what is waited for no more
    # Of the transaction that runs: what it changed, what the server did not take, whether it does all there is to do.
    made: list[Change] = dataclasses.field(default_factory=list)
    refused: list[Blocked] = dataclasses.field(default_factory=list)
    complete: bool = True

    def run(self) -> list[Blocked]:
        """Make all changes; return what is left."""
        while (left := _retrying(self.manager, "apply", self._transact)) is None:
            pass
        return left

    def _wait_again(self, change: Change, holders: str) -> None:
        """Let others have their turn; give up the object when its turn does not come."""
        lock = self.manager.timeouts.lock
        self.waits[change.object] += 1
        problem = f"{holders} holds a lock on it, which was waited for {lock:g} s at a time"
        self.manager.log("waiting for a lock", level="warning", object=change.object, problem=problem)
        many = self.waits[change.object] >= _LOCK_TRIES or self.waits.total() * lock >= _LOCK_SECONDS
        if many and not change.each:  # of a group each object is tried by itself
            reason = f"{change.reason}. The lock timeout ended the wait: {problem}"
            self.stuck[change.object] = Blocked(change.object, reason, "end that transaction, then apply again")
        time.sleep(_PAUSE_SECONDS)

    def _transact(self, manager: Manager) -> list[Blocked] | None:
        """One transaction; returns what is left, or None when there is more to do."""
        self.made, self.refused, self.complete = [], [], True
        query = catalog.query(manager.desired)
        with manager.session() as session:
            try:
                rows = session.run(
                    f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;\n{_OWN_SETTINGS};\n"
                    # Another apply may take a while, the rest may not.
                    f"SET LOCAL lock_timeout = '{int(manager.timeouts.lock_of_apply * 1000)}ms';\n"
                    f"SELECT pg_advisory_xact_lock({_LOCK_KEY});\n"
                    f"SET LOCAL lock_timeout = '{int(manager.timeouts.lock * 1000)}ms';\n{query}"
                )
            except StatementError as error:
                if error.state != _LOCKED:
                    raise
                session.run("ROLLBACK")
                key = f"l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = {_LOCK_KEY}"
                raise self._failed(
                    f"The lock timeout ended the wait for the lock of another apply, held by {_holders(session, key)}; "
                    f"{self._so_far}. When no apply runs, end that session: SELECT pg_terminate_backend(its pid)"
                ) from None
            found = _plan(session, manager.desired, rows)
            # Something comes or goes meanwhile: once more, and what is then left is somebody's who works beside us.
            for last in (False, True):
                if not self.complete or not (changes := self._possible(found)):
                    break
                if not self._step(session, changes, last=last):
                    return None
                found = _plan(session, manager.desired, session.run(query))
            else:
                self._give_up(found)
            try:
                session.run("COMMIT")
            except ConnectionLostError as error:
                if self.made:
                    raise self._failed(
                        f"The connection was lost at COMMIT: {error}. Either all {len(self.made)} changes of the transaction "
                        f"were made or none; {self._so_far}. Plan tells which; apply again is safe."
                    ) from None
        self.transactions += 1
        self.done += self.made
        if not self.complete and self.made and self.transactions < _TRANSACTIONS:
            return None
        return list(dict.fromkeys([*found.blocked, *self.refused, *self.stuck.values()]))

    def _possible(self, plan: Plan) -> list[Change]:
        """What the plan may still change: groups, or where one object of it was waited for or refused, the others.

        What takes more locks than there is room for is left for another transaction: each beginning is safe to stop after.
        """
        found: list[Change] = []
        locks, left = 0, self._left
        for change in plan.changes:
            alone = change.object in self.waits or any(piece.object in left for piece in change.each)
            for step in change.pieces if alone else (change,):
                if step.object in left:
                    continue
                if not step.temporary:
                    self.complete = self.complete and (locks == 0 or locks + step.locks <= plan.locks * 3 // 5)
                    locks += step.locks
                if self.complete or step.temporary:
                    found.append(step)
        return found if locks else []

    def _step(self, session: Session, changes: Sequence[Change], *, last: bool) -> bool:
        """Run changes, each in a savepoint of its own: what the server refuses is left out, the others stay.

        What does not exist any more is refused only when it is the `last` time.

        Returns:
            False: somebody else's lock was waited for in vain; all is taken back, so that nobody waits for ours.

        """
        lost: StatementError | None = None
        waiting = deque(enumerate(changes, 1))
        while waiting:
            number, change = waiting.popleft()
            if lost is not None and (change.needs or change.temporary):
                if not change.temporary:
                    self._refuse(change, lost)
                continue
            self.manager.log("change", object=change.object, reason=change.reason, sql=change.sql, number=number)
            where = f"change {number} of {len(changes)} ({change.object})"
            try:
                session.run(f"SAVEPOINT step;\n{change.sql};\nRELEASE SAVEPOINT step")
                self.made.append(change)
            except StatementError as error:
                if error.state in _TRY_AGAIN:
                    raise
                if error.state == _LOCKED:
                    session.run("ROLLBACK")
                    table = f"format('%I.%I', n.nspname, c.relname) = {literal(change.name)}"
                    relations = "l.locktype = 'relation' AND n.nspname <> 'pg_catalog'"
                    self._wait_again(change, _holders(session, relations, table))
                    return False
                if error.state.startswith(("53", "57", "58")):  # no resources, out of time, the machine
                    problem = f"{where} was refused: {error}. Everything was taken back"
                    raise self._failed(f"{problem}: {self._so_far}.") from None
                session.run("ROLLBACK TO SAVEPOINT step")
                if change.temporary:
                    lost = error
                elif change.each:
                    waiting.extendleft((number, piece) for piece in reversed(change.each))
                elif last or error.state not in _GONE:
                    self._refuse(change, error)
            except ConnectionLostError as error:
                raise self._failed(
                    f"The connection was lost at {where}: {error}. The server takes back everything of an unfinished "
                    f"transaction: {self._so_far}. Apply again."
                ) from None
        return True

    @property
    def _left(self) -> set[str]:
        """The objects that are not tried any more."""
        return {*self.stuck, *(item.object for item in self.refused)}

    def _give_up(self, plan: Plan) -> None:
        """Say what did not stay as it was made."""
        left = self._left
        for piece in [piece for change in plan.changes for piece in change.pieces]:
            if not piece.temporary and piece.object not in left:
                reason = f"{piece.reason}, although the server took: {piece.sql}"
                self.refused.append(Blocked(piece.object, reason, "look who changes it or who may, then apply again"))
        left = self._left
        self.made = [change for change in self.made if change.object not in left]

    def _refuse(self, change: Change, error: StatementError) -> None:
        reason = f"{change.reason}. The server refused it: {error}"
        self.refused.append(Blocked(change.object, reason, f"whoever may, runs: {change.sql}"))

    def _failed(self, summary: str) -> ActionError:
        return ActionError(Report("apply", "failed", summary, Plan(tuple(self.done), ())))

    @property
    def _so_far(self) -> str:
        """What stays when the transaction that runs is taken back."""
        if not self.done:
            return "nothing was changed"
        return f"{_count(self.done)} made by {self.transactions} transactions before it, which stay; nothing else was changed"


def _holders(session: Session, lock: str, exactly: str = "true") -> str:
    """Name the sessions that hold a lock `exactly` so, or else all that hold such a lock."""
    rows = session.run(
        f"SELECT DISTINCT {exactly}, coalesce(a.usename, 'somebody'), l.pid FROM pg_locks l"
        " LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_class c ON c.oid = l.relation"
        " LEFT JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE l.granted AND l.pid <> pg_backend_pid() AND {lock}"
    )
    found = [row for row in rows if row[0]] or rows
    return ", ".join(f"{name} (pid {pid})" for _, name, pid in found[:5]) or "a session that is over now"


def _retrying(manager: Manager, action: str, work: Callable[..., _T]) -> _T:
    """Repeat what failed before anything was changed, or was rolled back by the server."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return work(manager)
        except ConnectionLostError as error:
            problem = f"The connection was lost while reading the catalog: {error}."
        except StatementError as error:
            problem = f"The server refused: {error}. Nothing was changed."
            if error.state not in _TRY_AGAIN:
                raise ActionError(Report(action, "failed", problem)) from None
        manager.log("trying again", level="warning", problem=problem, attempt=attempt)
        time.sleep(_PAUSE_SECONDS * attempt)
    raise ActionError(Report(action, "failed", f"{problem} Tried {_ATTEMPTS} times."))


# --- Check --------------------------------------------------------------------------------------


@_action
def check(manager: Manager, *, logins: bool = True) -> Report:
    """Compare, and prove as each role what it can and cannot do. Leaves nothing behind, runs nothing of others.

    Args:
        manager: what to check.
        logins: False proves with SET ROLE alone, where no IAM tokens can be had.

    Raises:
        ActionError: there is a difference, or a role can do too much or too little.

    """
    from role_manager import proofs

    found = _retrying(manager, "check", _read_plan)
    if not found.empty:
        # What somebody was just doing is no drift: it must be there a second time.
        again = _retrying(manager, "check", _read_plan)
        found = dataclasses.replace(
            again,
            changes=tuple(change for change in again.changes if change in found.changes),
            blocked=tuple(item for item in again.blocked if item in found.blocked),
        )
    # Where there is an event trigger of somebody's, logging in and making something would run it.
    safe = not any(item.object.startswith("event trigger ") for item in found.blocked)
    results = proofs.prove(manager, logins=logins and found.iam_logins and safe, future=safe, again=found.empty)
    failed = [proof for proof in results if proof.problems]
    summary = _sentence(found) if not found.empty else "The catalog is as declared."
    if failed:
        summary += " Proofs failed: " + "; ".join(
            f"{proof.role}: {', '.join(proof.problems[:3])}" for proof in failed[:10]
        )
    else:
        summary += f" {len(results)} roles were proven."
    result = "drift" if not found.empty else "failed" if failed else "passed"
    return Report("check", result, summary, found, results)


def _count(changes: Sequence[Change]) -> str:
    number = sum(not change.temporary for change in changes)
    return f"{number} change" + ("s were" if number != 1 else " was")


def _sentence(found: Plan) -> str:
    changes = [f"{change.object}: {change.reason}" for change in found.changes if not change.temporary]
    blocked = [f"{item.object}: {item.reason} ({item.remedy})" for item in found.blocked]
    parts = [
        f"{len(lines)} {words}: {'; '.join(lines[:5])}" + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
        for words, lines in (("changes to make", changes), ("cannot be made", blocked))
        if lines
    ]
    return ". ".join(parts) + "." if parts else "Nothing to do."
