"""Proves what each role can and cannot do, as that role, in transactions that never commit.

A role that logs in does so here, with an IAM token. A role without login, and every role where the
server has no rds_iam, is taken on with SET ROLE instead. Nothing stays behind, whatever fails: no
transaction is ever committed, and the server rolls back what a lost connection leaves.

What is tried does no harm even where it should have been refused: reading and writing is tried with
EXPLAIN, which checks privileges and runs nothing (no trigger either), and what would take a lock on a
table is only tried where the server already says that the role may not.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from role_manager.connection import (
    AuthenticationFailedError,
    ConnectionFailedError,
    ConnectionLostError,
    Session,
    StatementError,
    Tokens,
    connect,
)
from role_manager.desired import OWNER, READ_WRITE, DesiredState, Role
from role_manager.plan import IAM_GROUP
from role_manager.privileges import PRIVILEGES
from role_manager.sql import identifier, literal, text_array

if TYPE_CHECKING:
    from role_manager.actions import Manager

_AT_A_TIME = 8
_REFUSED = "42501"  # insufficient_privilege
_LISTED = 5


@dataclasses.dataclass
class Proof:
    """What was proven about a role.

    Attributes:
        role: its name.
        method: `login` (with a token) or `set role`.
        proven: what was tried and went as it must.
        problems: what did not.

    """

    role: str
    method: str
    proven: list[str] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)


def prove(manager: Manager, *, logins: bool) -> list[Proof]:
    """Prove every managed role, a few at a time.

    Args:
        manager: server, master and desired state.
        logins: False tries no login.

    """
    tokens = Tokens(manager.server) if logins else None

    def prove_one(role: Role) -> Proof:
        if tokens is not None and role.login == "iam":
            return _with_login(manager, role, tokens)
        proof = Proof(role.name, "set role")
        if tokens is not None:
            _expect_no_login(manager, role, tokens, proof)
        return _with_set_role(manager, role, proof)

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(prove_one, manager.desired.roles.values()))


def _with_login(manager: Manager, role: Role, tokens: Tokens) -> Proof:
    proof = Proof(role.name, "login")
    try:
        with connect(manager.server, role.name, lambda: tokens.token(role.name), timeouts=manager.timeouts) as session:
            proof.proven.append("log in with an IAM token")
            # What the session got by logging in, before anything is set.
            _prove_settings(session, manager.desired, role, proof)
            session.run("BEGIN READ WRITE")
            _prove_privileges(session, manager.desired, role, proof)
            session.run("ROLLBACK")
    except (ConnectionFailedError, ConnectionLostError, StatementError) as error:
        proof.problems.append(f"could not be proven: {error}")
    return proof


def _expect_no_login(manager: Manager, role: Role, tokens: Tokens, proof: Proof) -> None:
    try:
        with connect(manager.server, role.name, lambda: tokens.token(role.name), attempts=1):
            proof.problems.append("can log in")
    except AuthenticationFailedError:
        proof.proven.append("cannot log in")
    except (ConnectionFailedError, ConnectionLostError) as error:
        proof.problems.append(f"whether it can log in could not be tried: {error}")


def _with_set_role(manager: Manager, role: Role, proof: Proof) -> Proof:
    try:
        with manager.session() as session:
            session.run("BEGIN READ WRITE")
            try:
                session.run(f"SAVEPOINT s; SET LOCAL ROLE {identifier(role.name)}")
            except StatementError:
                # A master that is no superuser makes itself a member, for this transaction only.
                session.run(
                    f"ROLLBACK TO SAVEPOINT s; GRANT {identifier(role.name)} TO CURRENT_USER; "
                    f"SET LOCAL ROLE {identifier(role.name)}"
                )
            _prove_privileges(session, manager.desired, role, proof)
            session.run("ROLLBACK")
    except (ConnectionFailedError, ConnectionLostError, StatementError) as error:
        proof.problems.append(f"could not be proven: {error}")
    return proof


def _prove_settings(session: Session, desired: DesiredState, role: Role, proof: Proof) -> None:
    row = session.run(
        "SELECT to_json(current_schemas(false)), setting::bigint FROM pg_catalog.pg_settings"
        " WHERE name = 'statement_timeout'"
    )[0]
    if row[0] == list(desired.schemas):
        proof.proven.append("has its search_path")
    else:
        proof.problems.append(f"its search_path leads to {', '.join(row[0]) or 'no schema'}")
    if row[1] == role.statement_timeout_seconds * 1000:
        proof.proven.append("has its statement timeout")
    else:
        proof.problems.append(f"its statement timeout is {row[1]} ms")


def _prove_privileges(session: Session, desired: DesiredState, role: Role, proof: Proof) -> None:
    # The master's own settings may apply here; names below are qualified in any case.
    session.run("SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = '2s'")
    facts = session.run(_effective(desired, role))[0][0]
    _judge_facts(facts, desired, role, proof)
    for schema in desired.schemas:
        for attempt in _attempts(role, schema, facts["samples"].get(schema), desired, proof.method):
            attempt.run(session, proof)
    if role.profile == OWNER:
        _prove_future_objects(session, desired, proof)


# --- Everything at once: what the server says the role may do -----------------------------------


def _effective(desired: DesiredState, role: Role) -> str:
    """One query, as the role: its effective privileges, by whatever way it got them."""
    wanted = sorted(PRIVILEGES[role.profile].get("table", ()))
    unwanted = sorted({"INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"} - set(wanted))
    schemas = text_array(list(desired.schemas))

    def relations(condition: str) -> str:
        return (
            "(SELECT json_build_object('count', count(*), 'names',"
            f" (array_agg(name))[1:{_LISTED}]) FROM relations WHERE {condition})"
        )

    lacking = " OR ".join(f"NOT has_table_privilege(oid, '{p}')" for p in wanted) or "false"
    exceeding = " OR ".join(f"has_table_privilege(oid, '{p}')" for p in unwanted)
    return f"""
WITH relations AS (
  SELECT c.oid, n.nspname AS schema, format('%I.%I', n.nspname, c.relname) AS name, c.relkind,
         n.nspname = ANY ({schemas}) AS managed
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT (n.nspname LIKE 'pg\\_%' OR n.nspname = 'information_schema')
    AND c.oid NOT IN (SELECT objid FROM pg_depend
                      WHERE classid = 'pg_class'::regclass AND deptype = 'e')
)
SELECT json_build_object(
  'user', current_user,
  'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  'attributes', (SELECT array_remove(ARRAY[
      CASE WHEN rolcreaterole THEN 'create roles' END, CASE WHEN rolcreatedb THEN 'create databases'
      END, CASE WHEN rolreplication THEN 'replicate' END, CASE WHEN rolbypassrls THEN
      'bypass row security' END], NULL) FROM pg_roles WHERE rolname = current_user),
  'can_be', (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles
             WHERE pg_has_role(oid, 'MEMBER') AND rolname NOT IN (current_user, '{IAM_GROUP}')),
  'database', has_database_privilege(current_database(), 'CONNECT'),
  'create_in_database', has_database_privilege(current_database(), 'CREATE'),
  'usable', (SELECT coalesce(json_agg(nspname), '[]') FROM pg_namespace
             WHERE nspname = ANY ({schemas}) AND has_schema_privilege(oid, 'USAGE')),
  'creatable', (SELECT coalesce(json_agg(nspname), '[]') FROM pg_namespace
                WHERE nspname NOT LIKE 'pg\\_temp\\_%' AND has_schema_privilege(oid, 'CREATE')),
  'lacking', {relations(f"managed AND ({lacking})")},
  'exceeding', {relations(f"({exceeding})" + ("" if role.profile != OWNER else " AND NOT managed"))},
  'samples', (SELECT coalesce(json_object_agg(schema, json_build_object('name', name, 'column',
      (SELECT format('%I', attname) FROM pg_attribute
       WHERE attrelid = x.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
         AND attidentity = '' ORDER BY attnum LIMIT 1))), '{{}}')
    FROM (SELECT DISTINCT ON (schema) * FROM relations
          WHERE managed AND relkind IN ('r', 'p') ORDER BY schema, name) x))"""


def _judge_facts(facts: dict[str, Any], desired: DesiredState, role: Role, proof: Proof) -> None:
    def judge(problem: bool, bad: str, good: str) -> None:
        (proof.problems if problem else proof.proven).append(bad if problem else good)

    judge(bool(facts["superuser"]), "is a superuser", "is no superuser")
    judge(
        bool(facts["attributes"]),
        f"can {', '.join(facts['attributes'])}",
        "has no special attribute",
    )
    can_be = facts["can_be"] or []
    judge(bool(can_be), f"can act as {', '.join(can_be[:_LISTED])}", "can act as no other role")
    judge(not facts["database"], "cannot connect to the database", "can connect to the database")
    judge(facts["create_in_database"], "can create schemas", "cannot create schemas")
    unusable = sorted(set(desired.schemas) - set(facts["usable"]))
    judge(bool(unusable), f"cannot use schema {', '.join(unusable)}", "can use the managed schemas")
    creatable = sorted(set(facts["creatable"]) - (set(desired.schemas) if role.profile == OWNER else set()))
    judge(
        bool(creatable),
        f"can create in schema {', '.join(creatable)}",
        "cannot create elsewhere" if role.profile == OWNER else "cannot create in any schema",
    )
    lacking, exceeding = facts["lacking"], facts["exceeding"]
    judge(
        lacking["count"] > 0,
        f"lacks privileges on {_some(lacking)}",
        "has its privileges on every table",
    )
    judge(
        exceeding["count"] > 0,
        f"has privileges beyond its profile on {_some(exceeding)}",
        "has no privileges beyond its profile on any table",
    )


def _some(found: dict[str, Any]) -> str:
    names = found["names"] or []
    more = found["count"] - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


# --- One by one: what really happens when it tries ----------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Attempt:
    what: str
    sql: str
    allowed: bool

    def run(self, session: Session, proof: Proof) -> None:
        try:
            session.run(f"SAVEPOINT attempt; {self.sql}; ROLLBACK TO SAVEPOINT attempt")
        except StatementError as error:
            session.run("ROLLBACK TO SAVEPOINT attempt")
            if error.state == _REFUSED and not self.allowed:
                proof.proven.append(f"cannot {self.what}")
            else:
                verb = "cannot" if self.allowed else "was not refused to"
                proof.problems.append(f"{verb} {self.what}: {error}")
        else:
            (proof.proven if self.allowed else proof.problems).append(f"can {self.what}")


def _attempts(
    role: Role, schema: str, sample: dict[str, Any] | None, desired: DesiredState, method: str
) -> Iterator[_Attempt]:
    quoted = identifier(schema)
    probe = f"{quoted}.{identifier('role_manager_check_' + secrets.token_hex(4))}"
    owner = role.profile == OWNER
    yield _Attempt(f"create a table in {schema}", f"CREATE TABLE {probe} (id int)", owner)
    if schema == desired.schemas[0]:
        name = identifier("role_manager_check_" + secrets.token_hex(4))
        yield _Attempt("create a role", f"CREATE ROLE {name}", False)
        if not owner:
            yield _Attempt("create a temporary table", "CREATE TEMPORARY TABLE t (id int)", False)
        if not owner and method == "login":  # SET ROLE asks who logged in
            become = f"SET LOCAL ROLE {identifier(desired.owner.name)}"
            yield _Attempt(f"act as {desired.owner.name}", become, False)
    if sample is None or owner:
        return
    table, column = sample["name"], sample["column"]
    writes = role.profile == READ_WRITE
    yield _Attempt(f"read {table}", f"EXPLAIN SELECT * FROM {table}", True)
    yield _Attempt(f"insert into {table}", f"EXPLAIN INSERT INTO {table} DEFAULT VALUES", writes)
    if column:
        sql = f"EXPLAIN UPDATE {table} SET {column} = {column}"
        yield _Attempt(f"update {table}", sql, writes)
    yield _Attempt(f"delete from {table}", f"EXPLAIN DELETE FROM {table}", writes)
    # Refused before any lock is taken. Where it would not be refused, it is not tried.
    is_owner = f"(SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = {literal(table)}::regclass)"
    for what, sql, may in (
        ("truncate", f"TRUNCATE {table}", f"has_table_privilege({literal(table)}, 'TRUNCATE')"),
        ("alter", f"ALTER TABLE {table} ADD COLUMN role_manager_check int", is_owner),
        ("drop", f"DROP TABLE {table}", is_owner),
    ):
        body = f"BEGIN IF {may} THEN RAISE 'the server says it may'; END IF; END"
        yield _Attempt(f"{what} {table}", f"DO {literal(body)}; {sql}", False)


def _prove_future_objects(session: Session, desired: DesiredState, proof: Proof) -> None:
    """Make a table, a sequence and a function as the owner, and ask what the others could do."""
    every = {
        "table": ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"),
        "sequence": ("USAGE", "SELECT", "UPDATE"),
        "routine": ("EXECUTE",),
    }
    wanted = [
        f"({literal(role.name)}, '{kind}', '{p}', {p in PRIVILEGES[role.profile].get(kind, ())})"
        for role in desired.roles.values()
        if role.profile != OWNER
        for kind, privileges in every.items()
        for p in privileges
    ]
    if not wanted:
        return
    for schema in desired.schemas:
        base = "role_manager_check_" + secrets.token_hex(4)
        table = f"{identifier(schema)}.{identifier(base)}"
        sequence = f"{identifier(schema)}.{identifier(base + '_s')}"
        routine = f"{table}()"
        try:
            rows = session.run(
                f"SAVEPOINT attempt; CREATE TABLE {table} (id int); CREATE SEQUENCE {sequence};"
                f" CREATE FUNCTION {routine} RETURNS int LANGUAGE sql AS 'SELECT 1';"
                f" SELECT role, kind, privilege FROM (VALUES {', '.join(wanted)})"
                " w (role, kind, privilege, wanted) WHERE wanted <> CASE kind"
                f" WHEN 'table' THEN has_table_privilege(role, {literal(table)}, privilege)"
                f" WHEN 'sequence' THEN has_sequence_privilege(role, {literal(sequence)}, privilege)"
                f" ELSE has_function_privilege(role, {literal(routine)}, privilege) END;"
                " ROLLBACK TO SAVEPOINT attempt"
            )
        except StatementError as error:
            session.run("ROLLBACK TO SAVEPOINT attempt")
            proof.problems.append(f"cannot work in schema {schema}: {error}")
            continue
        if rows:
            listed = ", ".join(" ".join(row) for row in rows[:_LISTED])
            proof.problems.append(f"what it creates in {schema} has wrong privileges: {listed}")
        else:
            proof.proven.append(f"what it creates in {schema} gets the declared privileges")
