"""The three actions: plan, apply and check. Each returns a report and raises when it must fail."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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


def plan(manager: Manager) -> Report:
    """Say what apply would do. Changes nothing."""
    started = time.monotonic()
    found = _retrying(manager, "plan", _read_plan)
    result = "nothing to do" if found.empty else "blocked" if found.blocked else "changes"
    return _finished(manager, started, Report("plan", result, _sentence(found), found))


def _finished(manager: Manager, started: float, report: Report) -> Report:
    report.round_trips = manager.meter.pop("round trips", 0)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _read_plan(manager: Manager) -> Plan:
    with manager.session() as session:
        rows = session.run(f"BEGIN READ ONLY;\n{_OWN_SETTINGS};\n{catalog.query(manager.desired)};\nROLLBACK")
        return _plan(session, manager.desired, rows, "BEGIN", "ROLLBACK")


def _plan(session: Session, desired: DesiredState, rows: list[list[Any]], begin: str, end: str) -> Plan:
    """Make the plan; where only the server can tell whether it grants a role, ask it, and take the answer back."""
    found = catalog.parse([row for row in rows if len(row) == 2])
    refused: set[str] = set()
    tried: set[str] = set()
    while True:
        made = make_plan(desired, dataclasses.replace(found, refused=frozenset(refused)))
        if not made.uncertain - tried:
            return made
        for role in sorted(made.uncertain - tried):
            try:
                session.run(f"{begin};\nGRANT {identifier(role)} TO {identifier(found.me.name)};\n{end}")
            except StatementError:
                refused.add(role)
                session.run(end)
        tried |= made.uncertain


# --- Apply --------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Progress:
    """What an apply did in transactions that are over, and what it waits for."""

    made: list[Change] = dataclasses.field(default_factory=list)
    transactions: int = 0
    waits: Counter[str] = dataclasses.field(default_factory=Counter)
    waited: float = 0.0
    stuck: dict[str, Blocked] = dataclasses.field(default_factory=dict)
    split: set[str] = dataclasses.field(default_factory=set)

    def failed(self, summary: str) -> ActionError:
        """What ends the apply here."""
        return ActionError(Report("apply", "failed", summary, Plan(tuple(self.made), ())))

    @property
    def so_far(self) -> str:
        """What stays when the transaction that runs is taken back."""
        if not self.made:
            return "nothing was changed"
        return f"{_count(self.made)} made by {self.transactions} transactions before it, which stay; nothing else was changed"


class _LockedError(Exception):
    """Somebody else's lock was waited for in vain; the transaction is taken back, so that nobody waits for ours."""

    def __init__(self, change: Change, holders: str) -> None:
        super().__init__(holders)
        self.change = change
        self.holders = holders


def apply(manager: Manager) -> Report:
    """Make the changes of the plan, each object by itself; in one transaction, unless they need more locks than it has.

    Raises:
        ActionError: `blocked`: something is left, everything else was changed. `failed`: what the summary says; if the
            connection broke during COMMIT, it is not known.

    """
    started = time.monotonic()
    progress = _Progress()
    try:
        blocked = None
        while blocked is None:
            try:
                blocked = _retrying(manager, "apply", lambda m: _apply_once(m, progress))
            except _LockedError as error:
                _wait_again(manager, progress, error)
    except ActionError as error:
        raise ActionError(_finished(manager, started, error.report)) from None
    done = Plan(tuple(progress.made), tuple(blocked))
    result = "blocked" if blocked else "applied" if progress.made else "nothing to do"
    summary = (
        f"{_count(progress.made)} made." if progress.made else "Nothing was changed." if blocked else "Nothing to do."
    )
    if blocked:
        summary += f" {_sentence(dataclasses.replace(done, changes=()))}"
    report = _finished(manager, started, Report("apply", result, summary, done))
    if blocked:
        raise ActionError(report)
    return report


def _wait_again(manager: Manager, progress: _Progress, error: _LockedError) -> None:
    """Let others have their turn; give up the object when its turn does not come."""
    change = error.change
    progress.waits[change.object] += 1
    progress.waited += manager.timeouts.lock
    problem = f"{error.holders} holds a lock on it, which was waited for {manager.timeouts.lock:g} s at a time"
    manager.log("waiting for a lock", level="warning", object=change.object, problem=problem)
    if change.each:
        progress.split.add(change.object)
    elif progress.waits[change.object] >= _LOCK_TRIES or progress.waited >= _LOCK_SECONDS:
        reason = f"{change.reason}. The lock timeout ended the wait: {problem}"
        progress.stuck[change.object] = Blocked(change.object, reason, "end that transaction, then apply again")
    time.sleep(_PAUSE_SECONDS)


def _apply_once(manager: Manager, progress: _Progress) -> list[Blocked] | None:
    """One transaction; returns what is left, or None when there is more to do."""
    query = catalog.query(manager.desired)
    with manager.session() as session:
        lock = int(manager.timeouts.lock * 1000)
        begin = (
            f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;\n{_OWN_SETTINGS};\n"
            # Another apply may take a while, the rest may not.
            f"SET LOCAL lock_timeout = '{int(manager.timeouts.lock_of_apply * 1000)}ms';\n"
            f"SELECT pg_advisory_xact_lock({_LOCK_KEY});\nSET LOCAL lock_timeout = '{lock}ms';\n"
        )
        try:
            rows = session.run(begin + query)
        except StatementError as error:
            if error.state == _LOCKED:
                raise _lock_of_apply_held(session, progress) from None
            raise
        found = _plan(session, manager.desired, rows, "SAVEPOINT try", "ROLLBACK TO SAVEPOINT try")
        limit = max(int(_server(rows)["locks"]) * 3 // 5, 1)
        changes, complete = _portion(_without(found.changes, progress), limit)
        step = _Steps(manager, session, progress)
        step.run(changes, last=False)
        blocked = list(found.blocked)
        if changes:
            again = _plan(session, manager.desired, session.run(query), "SAVEPOINT try", "ROLLBACK TO SAVEPOINT try")
            blocked = list(again.blocked)
            rest = step.open(again.changes)
            if complete and rest:
                # Something came or went meanwhile: once more, and what is then left is somebody's who works beside us.
                pieces = [piece for change in again.changes for piece in change.each or (change,)]
                step.run([piece for piece in pieces if piece.temporary or piece in rest], last=True)
                last = _plan(session, manager.desired, session.run(query), "SAVEPOINT try", "ROLLBACK TO SAVEPOINT try")
                blocked = list(last.blocked)
                step.give_up(last.changes)
        _commit(session, changes, progress)
    progress.transactions += 1
    progress.made += step.made
    if not complete and step.made and progress.transactions < _TRANSACTIONS:
        return None
    return list(dict.fromkeys([*blocked, *step.refused, *progress.stuck.values()]))


def _server(rows: list[list[Any]]) -> dict[str, Any]:
    return next(row[1] for row in rows if len(row) == 2 and row[0] == "server")


def _without(changes: Sequence[Change], progress: _Progress) -> Iterator[Change]:
    """The changes without what is stuck; objects that were waited for come one by one."""
    for change in changes:
        one_by_one = change.object in progress.split or any(piece.object in progress.stuck for piece in change.each)
        for piece in change.each if one_by_one else (change,):
            if piece.object not in progress.stuck:
                yield piece


def _portion(changes: Iterable[Change], limit: int) -> tuple[list[Change], bool]:
    """Cut off what one transaction can lock, in order; each beginning is safe to stop after."""
    chosen: list[Change] = []
    locks = 0
    full = False
    for change in changes:
        if not change.temporary:
            full = full or (locks > 0 and locks + change.locks > limit)
            if full:
                continue
            locks += change.locks
        chosen.append(change)
    return chosen, not full


@dataclasses.dataclass
class _Steps:
    """Runs changes, each in a savepoint of its own: what the server refuses is left out, the others stay."""

    manager: Manager
    session: Session
    progress: _Progress
    made: list[Change] = dataclasses.field(default_factory=list)
    refused: list[Blocked] = dataclasses.field(default_factory=list)

    def run(self, changes: Sequence[Change], *, last: bool) -> None:
        """Run them. What does not exist any more is refused only when it is the `last` time."""
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
                self.session.run(f"SAVEPOINT step;\n{change.sql};\nRELEASE SAVEPOINT step")
                self.made.append(change)
            except StatementError as error:
                if error.state in _TRY_AGAIN:
                    raise
                if error.state == _LOCKED:
                    self.session.run("ROLLBACK")
                    table = f"format('%I.%I', n.nspname, c.relname) = {literal(change.relation)}"
                    holders, _ = _holders(self.session, "l.locktype = 'relation' AND n.nspname <> 'pg_catalog'", table)
                    raise _LockedError(change, holders) from None
                if error.state.startswith(("53", "57", "58")):  # no resources, out of time, the machine
                    problem = f"{where} was refused: {error}. Everything was taken back"
                    raise self.progress.failed(f"{problem}: {self.progress.so_far}.") from None
                self.session.run("ROLLBACK TO SAVEPOINT step")
                if change.temporary:
                    lost = error
                elif change.each:
                    waiting.extendleft((number, piece) for piece in reversed(change.each))
                elif last or error.state not in _GONE:
                    self._refuse(change, error)
            except ConnectionLostError as error:
                raise self.progress.failed(
                    f"The connection was lost at {where}: {error}. The server takes back everything of an unfinished "
                    f"transaction: {self.progress.so_far}. Apply again."
                ) from None

    def open(self, changes: Sequence[Change]) -> list[Change]:
        """What a later plan still wants, without what was refused."""
        known = {item.object for item in self.refused} | set(self.progress.stuck)
        pieces = [piece for change in changes for piece in change.each or (change,)]
        return [piece for piece in pieces if not piece.temporary and piece.object not in known]

    def give_up(self, changes: Sequence[Change]) -> None:
        """Say what did not stay as it was made."""
        for change in self.open(changes):
            reason = f"{change.reason}, although the server took: {change.sql}"
            self.refused.append(Blocked(change.object, reason, "look who changes it or who may, then apply again"))
        left = {item.object for item in self.refused}
        self.made = [change for change in self.made if change.object not in left]

    def _refuse(self, change: Change, error: StatementError) -> None:
        reason = f"{change.reason}. The server refused it: {error}"
        self.refused.append(Blocked(change.object, reason, f"whoever may, runs: {change.sql}"))


def _holders(session: Session, lock: str, exactly: str = "true") -> tuple[str, list[int]]:
    """Name the sessions that hold a lock `exactly` so, or else all that hold such a lock; with their processes."""
    rows = session.run(
        f"SELECT DISTINCT {exactly}, coalesce(a.usename, 'somebody'), l.pid FROM pg_locks l"
        " LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_class c ON c.oid = l.relation"
        " LEFT JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE l.granted AND l.pid <> pg_backend_pid() AND {lock}"
    )
    found = ([row for row in rows if row[0]] or rows)[:5]
    listed = ", ".join(f"{name} (pid {pid})" for _, name, pid in found) or "a session that is over now"
    return listed, [pid for _, _, pid in found]


def _lock_of_apply_held(session: Session, progress: _Progress) -> ActionError:
    session.run("ROLLBACK")
    high, low = (_LOCK_KEY >> 32) & 0xFFFFFFFF, _LOCK_KEY & 0xFFFFFFFF
    holders, processes = _holders(session, f"l.locktype = 'advisory' AND l.classid = {high} AND l.objid = {low}")
    ends = "; ".join(f"SELECT pg_terminate_backend({process})" for process in processes)
    summary = (
        f"The lock timeout ended the wait for the lock of another apply, held by {holders}; {progress.so_far}. "
        f"When no apply runs, end that session: {ends or 'apply again'}"
    )
    return progress.failed(summary)


def _commit(session: Session, changes: Sequence[Change], progress: _Progress) -> None:
    try:
        session.run("COMMIT")
    except ConnectionLostError as error:
        if not changes:
            return  # there was nothing to commit
        summary = (
            f"The connection was lost at COMMIT: {error}. Either all {len(changes)} changes of the transaction "
            f"were made or none; {progress.so_far}. Plan tells which; apply again is safe."
        )
        raise progress.failed(summary) from None


def _retrying(manager: Manager, action: str, work: Callable[..., _T]) -> _T:
    """Repeat what failed before anything was changed, or was rolled back by the server."""
    attempt = 0
    while True:
        try:
            return work(manager)
        except ConnectionLostError as error:
            problem = f"The connection was lost while reading the catalog: {error}."
        except StatementError as error:
            problem = f"The server refused: {error}. Nothing was changed."
            if error.state not in _TRY_AGAIN:
                raise ActionError(Report(action, "failed", problem)) from None
        attempt += 1
        manager.log("trying again", level="warning", problem=problem, attempt=attempt)
        if attempt == _ATTEMPTS:
            raise ActionError(Report(action, "failed", f"{problem} Tried {_ATTEMPTS} times."))
        time.sleep(_PAUSE_SECONDS * attempt)


# --- Check --------------------------------------------------------------------------------------


def check(manager: Manager, *, logins: bool = True) -> Report:
    """Compare, and prove as each role what it can and cannot do. Leaves nothing behind, runs nothing of others.

    Args:
        manager: what to check.
        logins: False proves with SET ROLE alone, where no IAM tokens can be had.

    Raises:
        ActionError: there is a difference, or a role can do too much or too little.

    """
    from role_manager import proofs

    started = time.monotonic()
    try:
        found = _retrying(manager, "check", _read_plan)
        if not found.empty:
            # What somebody was just doing is no drift: it must be there a second time.
            again = _retrying(manager, "check", _read_plan)
            found = dataclasses.replace(
                again,
                changes=tuple(change for change in again.changes if change in found.changes),
                blocked=tuple(item for item in again.blocked if item in found.blocked),
            )
    except ActionError as error:
        raise ActionError(_finished(manager, started, error.report)) from None
    # Logging in and making something would run it.
    safe = not any(item.object.startswith("event trigger ") for item in found.blocked)
    results = proofs.prove(manager, logins=logins and found.iam_logins and safe, future=safe)
    failed = [proof for proof in results if proof.problems]
    summary = _sentence(found) if not found.empty else "The catalog is as declared."
    if failed:
        summary += " Proofs failed: " + "; ".join(
            f"{proof.role}: {', '.join(proof.problems[:3])}" for proof in failed[:10]
        )
    else:
        summary += f" {len(results)} roles were proven."
    result = "drift" if not found.empty else "failed" if failed else "passed"
    report = _finished(manager, started, Report("check", result, summary, found, results))
    if result != "passed":
        raise ActionError(report)
    return report


def _count(changes: Sequence[Change]) -> str:
    number = sum(not change.temporary for change in changes)
    return f"{number} change" + ("s were" if number != 1 else " was")


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
