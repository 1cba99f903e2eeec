"""Any legal names, and any mess that users of the database can make, lead to the declared state."""

from __future__ import annotations

import contextlib
from typing import Any

import pg8000.native
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from role_manager.actions import ActionError
from role_manager.tests.conftest import Database, quote

# `--hypothesis-profile=thorough` takes many more examples (see conftest.py).
_ON_SERVERS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# Every name PostgreSQL takes, and often one that a careless program trips over.
_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_NASTY = [
    "select", "User", "a b", 'quo"te', "o'clock", "back\\slash", "per%cent", ":colon", "semi;colon",
    "-- comment", "$$", "/*", "new\nline", "ümläut", "🐘", "null", "current_user", "all", "{brace}",
    'x"; DROP ROLE app; --', "'; DROP SCHEMA app CASCADE; --", "a,b", "=X/a", "+group", "$1", "%I",
]  # fmt: skip
_names = st.sampled_from(_NASTY) | st.text(_CHARACTERS, min_size=1, max_size=20).filter(
    lambda name: (
        len(name.encode()) <= 63
        and not name.startswith(("pg_", "rds_"))
        and name not in {"public", "none", "$user", "information_schema", "master", "rdsadmin"}
    )
)


@_ON_SERVERS
@given(names=st.lists(_names, min_size=7, max_size=7, unique=True))
def test_any_legal_names(database: Database, names: list[str]) -> None:
    database.reset()
    migrator, app, readonly, schema, other, retired, table = names
    desired: dict[str, Any] = {
        "schemas": [schema, other],
        "roles": {
            migrator: {"profile": "owner"},
            app: {"profile": "read-write"},
            readonly: {"profile": "read-only"},
        },
        "retired": [retired],
    }
    database.master(f"CREATE ROLE {quote(retired)}")
    database.apply(desired)
    database.as_role(
        migrator,
        f"CREATE TABLE {quote(schema)}.{quote(table)} ({quote(table)} serial)",
        f"CREATE FUNCTION {quote(schema)}.{quote(table)}(x text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"REVOKE ALL ON TABLE {quote(schema)}.{quote(table)} FROM {quote(app)}",
        f"GRANT UPDATE ({quote(table)}) ON {quote(schema)}.{quote(table)} TO {quote(readonly)}",
        f"GRANT EXECUTE ON FUNCTION {quote(schema)}.{quote(table)}(text) TO PUBLIC",
    )
    assert database.apply(desired).result == "applied"
    assert database.apply(desired).result == "nothing to do"
    assert database.check(desired).result == "passed"
    known = {name for (name,) in database.superuser("SELECT rolname FROM pg_roles")}
    assert {migrator, app, readonly} <= known
    assert retired not in known


_ROLES = ["migrator", "app", "readonly", "intern"]
_role = st.sampled_from([*_ROLES, "migrator"])  # the owner can do most harm
_grantee = st.sampled_from([*_ROLES, "PUBLIC", "master"])
_options = st.sampled_from(["", " WITH GRANT OPTION"])
_privileges = st.sampled_from(["SELECT", "INSERT", "UPDATE, DELETE", "TRUNCATE", "REFERENCES, TRIGGER", "ALL"])
_table = st.sampled_from(["app.orders", "app.notes", "app.made", "public.elsewhere"])


def _as(actor: Any, *texts: Any) -> Any:
    """A statement by an actor, from parts that are strategies or text."""
    parts = [st.just(text) if isinstance(text, str) else text for text in texts]
    return st.tuples(actor, st.tuples(*parts).map("".join))


_mess = st.one_of(
    _as(_role, "GRANT ", _privileges, " ON ", _table, " TO ", _grantee, _options),
    _as(_role, "GRANT UPDATE (id), SELECT (id) ON ", _table, " TO ", _grantee, _options),
    _as(_role, "REVOKE ", _privileges, " ON ", _table, " FROM ", _grantee, " CASCADE"),
    _as(_role, "GRANT ALL ON SCHEMA app TO ", _grantee, _options),
    _as(_role, "REVOKE ALL ON SCHEMA app FROM ", _grantee, " CASCADE"),
    _as(_role, "GRANT ALL ON ALL SEQUENCES IN SCHEMA app TO ", _grantee, _options),
    _as(_role, "GRANT ALL ON ALL ROUTINES IN SCHEMA app TO ", _grantee, _options),
    _as(_role, "GRANT ALL ON TYPE app.mood TO ", _grantee, _options),
    _as(st.just("master"), "GRANT ALL ON DATABASE app TO ", _role, _options),
    _as(st.just("master"), "GRANT CONNECT, TEMPORARY ON DATABASE app TO PUBLIC"),
    _as(st.just("master"), "GRANT CREATE ON SCHEMA public TO ", _grantee),
    _as(st.just("master"), "REVOKE ALL ON DATABASE app FROM ", _role, " CASCADE"),
    _as(st.just("master"), "GRANT ", _role, " TO ", _role),
    _as(st.just("master"), "GRANT ", _role, " TO ", _role, " WITH ADMIN OPTION"),
    _as(st.just("master"), "GRANT rds_superuser TO ", _role, " WITH ADMIN OPTION"),
    _as(st.just("master"), "GRANT pg_monitor TO ", _role),
    _as(st.just("master"), "REVOKE rds_iam FROM ", _role),
    _as(_role, "GRANT ", _role, " TO ", _role),
    _as(st.just("master"), "ALTER ROLE ", _role, " CREATEDB CREATEROLE NOINHERIT"),
    _as(st.just("master"), "ALTER ROLE ", _role, " NOLOGIN CONNECTION LIMIT 0"),
    _as(st.just("master"), "ALTER ROLE ", _role, " SET search_path = 'public', \"$user\""),
    _as(st.just("master"), "ALTER ROLE ", _role, " IN DATABASE app SET statement_timeout = 5"),
    _as(_role, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO ", _grantee, _options),
    _as(_role, "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO ", _grantee),
    _as(_role, "ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE ALL ON TABLES FROM ", _grantee),
    _as(_role, "ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM ", _grantee),
    _as(_role, "ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO ", _grantee),
    _as(_role, "CREATE TABLE app.made (id serial)"),
    _as(_role, "CREATE VIEW app.made AS SELECT 1 AS id"),
    _as(_role, "CREATE TABLE public.elsewhere (id int)"),
    _as(_role, "CREATE FUNCTION app.sudo() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'"),
    _as(_role, "CREATE SCHEMA theirs"),
    _as(_role, "SELECT lo_create(4711)"),
    _as(_role, "GRANT UPDATE ON LARGE OBJECT 4711 TO ", _grantee),
    _as(st.just("rdsadmin"), "ALTER TABLE ", _table, " OWNER TO ", _role),
    _as(st.just("rdsadmin"), "ALTER FUNCTION app.one() OWNER TO ", _role),
    # To a stranger, whose schema is blocked: what the owner role cannot reach in it any more the server refuses at apply.
    _as(st.just("rdsadmin"), "ALTER SCHEMA app OWNER TO ", st.sampled_from(["migrator", "app", "readonly"])),
    _as(st.just("rdsadmin"), "ALTER SCHEMA public OWNER TO ", _role),
)


# The oracle asks the server, not its catalogs' lists: what can each role do, what is it a member of, and who owns what
# runs. Rows are what must not be. Objects whose owner is not the owner role are left alone, so they are not asked about.
_ORACLE = """
WITH roles AS (SELECT oid, rolname FROM pg_roles WHERE rolname IN ('app', 'readonly', 'intern')),
relations AS (SELECT oid, relname, relkind FROM pg_class WHERE relnamespace = 'app'::regnamespace
  AND relkind IN ('r', 'v', 'S') AND relowner = 'migrator'::regrole),
wanted (role, privilege, kind) AS (VALUES ('app', 'SELECT', 'r'), ('app', 'INSERT', 'r'), ('app', 'UPDATE', 'r'),
  ('app', 'DELETE', 'r'), ('readonly', 'SELECT', 'r'), ('app', 'USAGE', 'S'), ('app', 'SELECT', 'S'), ('readonly', 'SELECT', 'S'))
SELECT rolname, p, relname::text FROM roles, relations, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p
WHERE relkind <> 'S' AND has_table_privilege(roles.oid, relations.oid, p) <> ((rolname, p, 'r') IN (SELECT * FROM wanted))
UNION ALL SELECT rolname, p, relname::text FROM roles, relations, unnest('{INSERT,UPDATE,REFERENCES}'::text[]) p
WHERE relkind <> 'S' AND has_any_column_privilege(roles.oid, relations.oid, p) AND (rolname, p, 'r') NOT IN (SELECT * FROM wanted)
UNION ALL SELECT rolname, p, relname::text FROM roles, relations, unnest('{USAGE,SELECT,UPDATE}'::text[]) p
WHERE relkind = 'S' AND has_sequence_privilege(roles.oid, relations.oid, p) <> ((rolname, p, 'S') IN (SELECT * FROM wanted))
UNION ALL SELECT rolname, 'EXECUTE', proname FROM roles, pg_proc WHERE pronamespace = 'app'::regnamespace
  AND proowner = 'migrator'::regrole AND has_function_privilege(roles.oid, pg_proc.oid, 'EXECUTE')
    <> (rolname = 'app' OR rolname = 'readonly' AND NOT prosecdef)
UNION ALL SELECT rolname, p, 'schema' FROM roles, unnest('{USAGE,CREATE}'::text[]) p
WHERE has_schema_privilege(roles.oid, 'app', p) <> (p = 'USAGE' AND rolname <> 'intern')
UNION ALL SELECT rolname, p, 'public' FROM roles, unnest('{CREATE}'::text[]) p
WHERE rolname <> 'intern' AND has_schema_privilege(roles.oid, 'public', p) AND pg_get_userbyid((
  SELECT nspowner FROM pg_namespace WHERE nspname = 'public')) <> rolname
UNION ALL SELECT rolname, p, 'database' FROM roles, unnest('{CONNECT,CREATE,TEMPORARY}'::text[]) p
WHERE has_database_privilege(roles.oid, 'app', p) <> (p = 'CONNECT' AND rolname <> 'intern')
UNION ALL SELECT r.rolname, m, o.rolname FROM pg_roles r, pg_roles o, unnest('{MEMBER,MEMBER WITH ADMIN OPTION}'::text[]) m
WHERE r.rolname IN ('migrator', 'app', 'readonly', 'intern') AND o.oid <> r.oid AND pg_has_role(r.oid, o.oid, m)
  AND (o.rolname <> 'rds_iam' OR m <> 'MEMBER') AND NOT (r.rolname = 'intern' AND o.rolname NOT IN ('migrator', 'app', 'readonly'))"""
# What runs as its owner, and whose it is.
_RUNS = """
SELECT c::text, o FROM (SELECT oid::regclass::text AS c, relowner::regrole::text AS o FROM pg_class
    WHERE relnamespace IN ('app'::regnamespace, 'public'::regnamespace) AND relkind IN ('r', 'v')
  UNION ALL SELECT oid::regprocedure::text, proowner::regrole::text FROM pg_proc
    WHERE pronamespace IN ('app'::regnamespace, 'public'::regnamespace)) x"""


@_ON_SERVERS
@given(st.lists(_mess, min_size=15, max_size=60))
def test_any_mess_converges_in_one_apply(database: Database, mess: list[tuple[str, str]]) -> None:
    database.reset()
    database.apply()
    database.master("CREATE ROLE intern LOGIN")
    database.as_role(
        "migrator",
        "CREATE TABLE app.orders (id int GENERATED ALWAYS AS IDENTITY)",
        "CREATE VIEW app.notes AS SELECT id FROM app.orders",
        "CREATE FUNCTION app.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE app.mood AS ENUM ('good')",
    )
    with database.server.superuser() as connection:
        for actor, statement in mess:
            connection.run(f"SET ROLE {actor}")
            # Not everybody may do everything.
            with contextlib.suppress(pg8000.native.DatabaseError):
                connection.run(statement)
            connection.run("RESET ROLE")
    owners = dict(map(tuple, database.superuser(_RUNS)))
    planned = database.plan()
    blocked = planned.plan.blocked
    assert all("owned by" in item.reason for item in blocked), blocked
    try:
        applied = database.apply()
    except ActionError as error:
        applied = error.report
    assert applied.plan.changes == planned.plan.changes
    assert set(applied.plan.blocked) == set(blocked)
    assert not database.plan().plan.changes
    if blocked:
        assert database.failed_check().result == "drift"
    else:
        assert database.check().result == "passed"
    assert database.superuser(_ORACLE) == []
    for name, owner in database.superuser(_RUNS):
        # Only what was the master's may have been lowered to the owner role.
        assert owner == owners[name] or (owners[name], owner) == ("master", "migrator"), name
