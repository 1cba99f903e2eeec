"""Any legal names, and any mess that users of the database can make, lead to the declared state."""

from __future__ import annotations

import contextlib
from typing import Any

import pg8000.native
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    _as(st.just("rdsadmin"), "ALTER SCHEMA app OWNER TO ", _role),
    _as(st.just("rdsadmin"), "ALTER SCHEMA public OWNER TO ", _role),
)


# Who has something in the managed schema that nobody declared, and who is a member of what.
_EXCESS = """
SELECT grantee::regrole::text, privilege_type FROM (
  SELECT relacl AS acl, relowner AS owner FROM pg_class WHERE relnamespace = 'app'::regnamespace
  UNION ALL SELECT proacl, proowner FROM pg_proc WHERE pronamespace = 'app'::regnamespace
  UNION ALL SELECT nspacl, nspowner FROM pg_namespace WHERE nspname = 'app'
  UNION ALL SELECT defaclacl, defaclrole FROM pg_default_acl
    WHERE defaclnamespace = 'app'::regnamespace) x, aclexplode(acl)
WHERE grantee <> owner AND (is_grantable OR grantee = 0 OR grantee::regrole::text NOT IN
  ('app', 'readonly') OR privilege_type IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'CREATE'))
UNION ALL SELECT attname::text, privilege_type FROM pg_attribute
    JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl)
  WHERE relnamespace = 'app'::regnamespace AND grantee <> relowner
UNION ALL SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members
  WHERE member::regrole::text IN ('migrator', 'app', 'readonly')
    AND (roleid::regrole::text <> 'rds_iam' OR admin_option)"""


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
    planned = database.plan()
    assert not planned.plan.blocked, planned.plan.blocked
    applied = database.apply()
    assert applied.plan == planned.plan
    assert database.apply().result == "nothing to do"
    assert database.check().result == "passed"
    assert database.superuser(_EXCESS) == []  # asked in other words than the planner's
    for role, statement in (
        ("app", "TRUNCATE app.orders"),
        ("app", "CREATE TABLE app.more (id int)"),
        ("app", "CREATE TABLE public.more (id int)"),
        ("readonly", "INSERT INTO app.orders DEFAULT VALUES"),
        ("readonly", "SET ROLE app"),
    ):
        assert not database.can(role, statement), f"{role}: {statement}"
