"""Proves what each role can and cannot do, as that role, in transactions that never commit.

A role that logs in does so here, with an IAM token and with the settings that the application's sessions get. A role
without login, and every role where the server has no rds_iam, is taken on with SET ROLE instead. Nothing stays behind,
whatever fails: no transaction is committed, and the server rolls back what a lost connection leaves.

Nothing that others wrote runs: no table is read or written, no expression evaluated. The server's own functions say what
the role may do (proofs.sql). What the owner's future objects will be is seen on some that it makes and takes back.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from role_manager import catalog
from role_manager.catalog import PRIVILEGES, PUBLIC
from role_manager.connection import AuthenticationFailedError, ServerError, Session, StatementError, connect, tokens
from role_manager.desired import OWNER, Role
from role_manager.sql import identifier, literal

if TYPE_CHECKING:
    from role_manager.actions import Manager

_AT_A_TIME = 8
_FUTURE = {
    "table": ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"),
    "sequence": ("USAGE", "SELECT", "UPDATE"),
    "function": ("EXECUTE",),
}


@dataclasses.dataclass
class Proof:
    """What was proven about a role.

    Attributes:
        role: its name.
        method: `login` (with a token) or `set role`.
        proven: what was found as it must be.
        problems: what was not.

    """

    role: str
    method: str
    proven: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def prove(manager: Manager, *, logins: bool, future: bool, again: bool) -> list[Proof]:
    """Prove every managed role, a few at a time.

    Args:
        manager: server, master and desired state.
        logins: False tries no login.
        future: False makes no objects as the owner.
        again: True proves what fails once more, since others may be at work.

    """
    token = tokens(manager.server) if logins else None

    def prove_one(role: Role) -> Proof:
        proof = _prove(manager, role, token, future=future)
        return _prove(manager, role, token, future=future) if proof.problems and again else proof

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(prove_one, manager.desired.roles.values()))


def _prove(manager: Manager, role: Role, token: Callable[[str], str] | None, *, future: bool) -> Proof:
    proof = Proof(role.name, "login" if token and role.login == "iam" else "set role")
    login = partial(token, role.name) if token else str
    timeouts, meter = manager.timeouts, manager.meter
    try:
        if proof.method == "login":
            with connect(manager.server, role.name, login, timeouts=timeouts, meter=meter) as session:
                proof.proven.append("log in with an IAM token")
                _judge(session, manager, role, proof, future=future)
        else:
            if token is not None:
                _expect_no_login(manager, role, login, proof)
            with manager.session() as session:
                _become(session, role)
                _judge(session, manager, role, proof, future=future)
    except ServerError as error:
        proof.problems.append(f"could not be proven: {error}")
    return proof


def _expect_no_login(manager: Manager, role: Role, token: Callable[[], str], proof: Proof) -> None:
    try:
        with connect(manager.server, role.name, token, attempts=1):
            proof.problems.append("can log in")
    except AuthenticationFailedError:
        proof.proven.append("cannot log in")


def _become(session: Session, role: Role) -> None:
    """Take on a role; a master that is no superuser makes itself a member, for this transaction only."""
    become = f"SET LOCAL ROLE {identifier(role.name)}"
    try:
        session.run(f"BEGIN READ WRITE; SAVEPOINT s; {become}")
    except StatementError:
        session.run(f"ROLLBACK TO SAVEPOINT s; GRANT {identifier(role.name)} TO CURRENT_USER; {become}")


def _judge(session: Session, manager: Manager, role: Role, proof: Proof, *, future: bool) -> None:
    # SHOW is no function: whatever the search_path is, nobody else's code answers. Then it is the server's alone.
    begin = "BEGIN;\n" if proof.method == "login" else ""
    rows = session.run(
        f"{begin}SHOW search_path;\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL lock_timeout = '2s';\nSET LOCAL enable_nestloop = off;\nSET LOCAL jit = off;\nSET LOCAL quote_all_identifiers = off;\n"
        + catalog.query(manager.desired, "proofs.sql")
    )
    found = next(item for verdict, item in (row for row in rows if len(row) == 2) if verdict == "session")
    if proof.method == "login":
        _judge_session(found, str(rows[0][0]), role, proof)
    problems = [row for row in rows if len(row) == 2 and row[0] != "session"]
    for verdict, item in sorted(problems, key=str):
        names = ", ".join(item["names"]) + (f" and {item['count'] - 5} more" if item["count"] > 5 else "")
        verb = "cannot" if verdict == "lacks" else "can"
        proof.problems.append(f"{verb} {item['privilege']} on {item['what']}: {names}")
    proven = {
        "lacks": f"can do what a role of profile {role.profile} must, on {found['relations']} tables and sequences",
        "has": "cannot do more: create, truncate, act as another role, make members, write elsewhere, in this database or another",
    }
    proof.proven += [words for verdict, words in proven.items() if verdict not in {row[0] for row in problems}]
    if role.profile == OWNER and future:
        _judge_future(session, manager, proof)
    session.run("ROLLBACK")


def _judge_session(found: dict[str, Any], search_path: str, role: Role, proof: Proof) -> None:
    limits = ", ".join(f"{name} = {value}" for name, value in (found["settings"] or {}).items())
    wrong = {
        f"its search_path is {search_path}": search_path != found["search_path"],
        f"its statement timeout is {found['statement_timeout']} ms": (
            found["statement_timeout"] != role.statement_timeout_seconds * 1000
        ),
        "its sessions become another role": not found["user"],
        "its transactions are read only": found["read_only"],
        f"its sessions have {limits}": limits,
    }
    problems = [words for words, there in wrong.items() if there]
    proof.problems += problems
    if not problems:
        proof.proven.append(
            "its sessions are its own, can write, and have its search_path, its timeout and no other limit"
        )


def _judge_future(session: Session, manager: Manager, proof: Proof) -> None:
    """Make a table, a sequence and a function in every schema as the owner, and ask what the others could do."""
    desired = manager.desired
    base = "role_manager_check_" + secrets.token_hex(4)
    made = ";\n".join(
        f"CREATE TABLE {schema}.{base} (id int);\nCREATE SEQUENCE {schema}.{base}_s;\n"
        f"CREATE FUNCTION {schema}.{base}() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        for schema in map(identifier, desired.schemas)
    )
    wanted = ", ".join(
        f"({literal(name or 'public')}, '{kind}', '{privilege}', {privilege in profile.get(kind, ())})"
        for name, profile in [
            (PUBLIC, {}),
            *((role.name, PRIVILEGES[role.profile]) for role in desired.roles.values() if role.profile != OWNER),
        ]
        for kind, privileges in _FUTURE.items()
        for privilege in privileges
    )
    try:
        rows = session.run(
            f"SAVEPOINT future;\n{made};\nSELECT n.nspname, role, privilege, kind FROM (VALUES {wanted}) w (role, kind, privilege, wanted),"
            f" (SELECT oid, relnamespace AS schema, CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS made FROM pg_class"
            f" WHERE relname IN ('{base}', '{base}_s') UNION ALL SELECT oid, pronamespace, 'function' FROM pg_proc WHERE proname = '{base}') o"
            " JOIN pg_namespace n ON n.oid = o.schema WHERE made = kind AND wanted <> CASE kind"
            " WHEN 'table' THEN has_table_privilege(role, o.oid, privilege)"
            " WHEN 'sequence' THEN has_sequence_privilege(role, o.oid, privilege)"
            " ELSE has_function_privilege(role, o.oid, privilege) END;\nROLLBACK TO SAVEPOINT future"
        )
    except StatementError as error:
        session.run("ROLLBACK TO SAVEPOINT future")
        proof.problems.append(f"cannot work in its schemas: {error}")
        return
    if rows:
        listed = ", ".join(" ".join(map(str, row)) for row in rows[:5])
        proof.problems.append(f"what it creates gets wrong privileges: {listed}")
    else:
        proof.proven.append(f"what it creates in {', '.join(desired.schemas[:5])} gets the declared privileges")
