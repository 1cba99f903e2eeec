"""Those who log in and those who made things before: no privilege is gained, and nothing of theirs runs as somebody else.

Each thing that they make counts, in a sequence of whoever runs it: what a sequence gave stays, even when the transaction
is taken back. After all actions only the attacker's own sequence may have been used.
"""

from __future__ import annotations

import contextlib

import pg8000.native
import pytest

from role_manager.actions import ActionError
from role_manager.tests.conftest import DESIRED, Database, ready

_ROLES = ("master", "migrator", "app", "readonly", "intern", "holder", "rdsadmin")
_NOTE = "BEGIN PERFORM nextval('trap.' || current_user); "

# What PostgreSQL lets a role make in a schema: {s} is the schema. Each statement may be refused.
_THINGS = (
    # Functions that stand for the server's, for every way to search for them.
    *(
        f"CREATE FUNCTION {{s}}.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS $$"
        + _NOTE
        + "RETURN NULL; END$$"
        for name, arguments, result in (
            ("current_setting", "text", "text"),
            ("set_config", "text, text, boolean", "text"),
            ("format", "text, text", "text"),
            ("quote_ident", "text", "text"),
            ("pg_has_role", "oid, text", "boolean"),
            ("has_table_privilege", "oid, text", "boolean"),
            ("has_schema_privilege", "oid, text", "boolean"),
            ("pg_identify_object", "oid, oid, integer", "text"),
            ("aclexplode", "aclitem[]", "text"),
            ("jsonb_build_object", "text, text", "jsonb"),
            ("pg_advisory_xact_lock", "bigint", "text"),
            ("coalesce_", "text", "text"),
        )
    ),
    "CREATE FUNCTION {s}.run(text) RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS $$" + _NOTE + "EXECUTE $1; END$$",
    "CREATE PROCEDURE {s}.go(text) SECURITY DEFINER LANGUAGE plpgsql AS $$" + _NOTE + "EXECUTE $1; END$$",
    "CREATE FUNCTION {s}.note() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$" + _NOTE + "RETURN 1; END$$",
    "CREATE FUNCTION {s}.note(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$" + _NOTE + "RETURN $1; END$$",
    "CREATE FUNCTION {s}.note(int, int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$" + _NOTE + "RETURN $1; END$$",
    "CREATE FUNCTION {s}.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$" + _NOTE + "RETURN true; END$$",
    "CREATE FUNCTION {s}.same(oid, oid) RETURNS boolean LANGUAGE plpgsql AS $$" + _NOTE + "RETURN true; END$$",
    "CREATE FUNCTION {s}.fired() RETURNS trigger LANGUAGE plpgsql AS $$" + _NOTE + "RETURN NEW; END$$",
    "CREATE FUNCTION {s}.event() RETURNS event_trigger LANGUAGE plpgsql AS $$" + _NOTE + "END$$",
    "CREATE EVENT TRIGGER theirs ON ddl_command_start EXECUTE FUNCTION {s}.event()",
    # Operators, casts and types
    "CREATE OPERATOR {s}.= (leftarg = text, rightarg = text, function = {s}.same)",
    "CREATE OPERATOR {s}.<> (leftarg = oid, rightarg = oid, function = {s}.same)",
    "CREATE OPERATOR {s}.+ (leftarg = int, rightarg = int, function = {s}.note)",
    "CREATE TYPE {s}.pair AS (a int, b text)",
    "CREATE FUNCTION {s}.cast_it({s}.pair) RETURNS text LANGUAGE plpgsql AS $$" + _NOTE + "RETURN ''; END$$",
    "CREATE CAST ({s}.pair AS text) WITH FUNCTION {s}.cast_it({s}.pair) AS IMPLICIT",
    "CREATE DOMAIN {s}.checked AS int CHECK ({s}.note(VALUE) > 0)",
    "CREATE AGGREGATE {s}.total(int) (sfunc = {s}.note, stype = int, initcond = '0')",
    # Tables with everything that runs
    "CREATE TABLE {s}.lure (id int DEFAULT {s}.note(), g int GENERATED ALWAYS AS ({s}.note(1)) STORED, c int CHECK ({s}.note(c) > 0))",
    "CREATE INDEX ON {s}.lure ({s}.note(id)) WHERE {s}.note(id) > 0",
    "CREATE STATISTICS {s}.stats ON ({s}.note(id)), c FROM {s}.lure",
    "CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON {s}.lure FOR EACH ROW EXECUTE FUNCTION {s}.fired()",
    "CREATE RULE r AS ON UPDATE TO {s}.lure DO ALSO SELECT {s}.note()",
    "ALTER TABLE {s}.lure ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON {s}.lure USING ({s}.note() > 0)",
    "CREATE VIEW {s}.pane AS SELECT {s}.note() AS n",
    "CREATE RULE w AS ON INSERT TO {s}.pane DO INSTEAD SELECT {s}.note()",
    "CREATE MATERIALIZED VIEW {s}.kept AS SELECT {s}.note() AS n",
    # Names and comments that would be statements where they are not quoted
    "CREATE TABLE {s}.\"x'; SELECT nextval('trap.master'); --\" (id int)",
    'CREATE TABLE {s}."y""; SELECT nextval(\'trap.master\'); --" ("z""\') " int)',
    "CREATE FUNCTION {s}.\"f'; SELECT nextval('trap.master'); --\"() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "COMMENT ON TABLE {s}.lure IS '''; SELECT nextval(''trap.master''); --'",
    "GRANT ALL ON ALL TABLES IN SCHEMA {s} TO PUBLIC",
    "GRANT EXECUTE ON ALL ROUTINES IN SCHEMA {s} TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC",
    "SELECT lo_create(4242)",
)
# What the attacker changes of itself, and tries to gain.
_OWN = (
    "ALTER ROLE {r} SET search_path = public, app, pg_catalog",
    "ALTER ROLE {r} SET session_preload_libraries = 'x'",
    "ALTER ROLE {r} SET role = 'migrator'",
    "SET ROLE migrator",
    "GRANT migrator TO {r}",
    "GRANT migrator TO {r} WITH INHERIT TRUE, SET TRUE",
    "GRANT app TO {r} WITH SET TRUE",
    "GRANT rds_superuser TO {r}",
    "ALTER ROLE {r} CREATEROLE",
    "ALTER ROLE master SET search_path = public",
    "SELECT pg_catalog.set_config('search_path', 'public', false)",
)


def _make(database: Database, role: str, statements: tuple[str, ...]) -> list[str]:
    """What of it the server took."""
    made = []
    with database.server.superuser() as connection:
        connection.run("SET SESSION AUTHORIZATION " + role)
        for statement in statements:
            with contextlib.suppress(pg8000.native.DatabaseError):
                connection.run(statement)
                made.append(statement)
    return made


def _used(database: Database) -> set[str]:
    return {
        str(name)
        for (name,) in database.superuser(
            "SELECT sequencename::text FROM pg_sequences WHERE schemaname = 'trap' AND last_value IS NOT NULL"
        )
    }


def _gained(database: Database, role: str) -> list[list[object]]:
    """What a role may be and do that it must not, as the server says."""
    return database.superuser(
        f"SELECT rolname::text, m FROM pg_roles, unnest('{{MEMBER,MEMBER WITH ADMIN OPTION}}'::text[]) m WHERE pg_has_role('{role}', oid, m)"
        f" AND rolname IN ('migrator', 'app', 'readonly', 'master', 'rds_superuser', 'rdsadmin') AND rolname <> '{role}'"
        f" UNION ALL SELECT relname::text, p FROM pg_class, unnest('{{INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER}}'::text[]) p"
        f" WHERE relnamespace = 'app'::regnamespace AND relkind = 'r' AND relowner = 'migrator'::regrole AND '{role}' <> 'migrator'"
        f" AND has_table_privilege('{role}', pg_class.oid, p) AND ('{role}' <> 'app' OR p IN ('TRUNCATE', 'TRIGGER'))"
        f" UNION ALL SELECT nspname::text, 'CREATE' FROM pg_namespace WHERE nspname IN ('app', 'public')"
        f" AND has_schema_privilege('{role}', oid, 'CREATE')"
        f" UNION ALL SELECT rolname::text, 'attribute' FROM pg_roles WHERE rolname = '{role}' AND (rolsuper OR rolcreaterole OR rolcreatedb)"
    )


@pytest.fixture
def trapped(database: Database) -> Database:
    """A database with the roles, tables, a schema where everybody could create, and the sequences."""
    ready(database)
    database.master("CREATE ROLE intern LOGIN", "CREATE ROLE holder LOGIN")
    database.superuser(
        "CREATE SCHEMA trap",
        "GRANT USAGE ON SCHEMA trap TO PUBLIC",
        *(f"CREATE SEQUENCE trap.{role}" for role in _ROLES),
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA trap TO PUBLIC",
        "GRANT CREATE, USAGE ON SCHEMA public, app TO PUBLIC",
        "GRANT CREATE ON DATABASE app TO intern",
    )
    return database


def _everything(database: Database) -> None:
    """Every action, twice, whatever it says."""
    for _ in range(2):
        database.plan()
        for action in (database.apply, database.check):
            with contextlib.suppress(ActionError):
                action()


@pytest.mark.parametrize("role", ["readonly", "app", "intern", "holder"])
def test_nothing_of_an_attacker_runs_as_another(trapped: Database, role: str) -> None:
    database = trapped
    if role == "holder":
        if database.server.version < 16:
            pytest.skip("PostgreSQL 16 brought ADMIN that is no more than that")
        database.master("GRANT migrator TO holder WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
    made = _make(database, role, tuple(thing.format(s=schema) for schema in ("public", "app") for thing in _THINGS))
    assert len(made) > len(_THINGS), "most of it is made"
    assert not any("EVENT TRIGGER" in statement for statement in made)
    before = _used(database)
    assert before <= {role, "master"}  # what it ran itself, while it made it
    database.superuser(*(f"ALTER SEQUENCE trap.{name} RESTART" for name in _ROLES))
    runs = "SELECT oid::regprocedure::text, proowner::regrole::text FROM pg_proc WHERE pronamespace IN ('public'::regnamespace, 'app'::regnamespace)"
    owners = dict(map(tuple, database.superuser(runs)))
    _everything(database)
    assert _used(database) == set()
    assert dict(map(tuple, database.superuser(runs))) == owners
    assert _gained(database, role) == []
    # Its own functions still run as itself and give it nothing; the settings and memberships it tries now neither.
    attacks = (
        "SELECT public.run('GRANT rds_superuser TO readonly')",
        "SELECT app.run('GRANT rds_superuser TO readonly')",
        "CALL public.go('ALTER ROLE readonly SUPERUSER')",
        *(text.format(r=role) for text in _OWN),
    )
    _make(database, role, attacks)
    assert _used(database) <= {role}
    database.superuser(*(f"ALTER SEQUENCE trap.{name} RESTART" for name in _ROLES))
    _everything(database)
    assert _used(database) == set()
    assert _gained(database, role) == []
    named = str(database.plan().plan.blocked)
    for thing in (
        ("function app.run(text)", "view app.pane", "table app.lure") if role != "holder" else ("app.run(text)",)
    ):
        assert thing in named


def test_what_was_looked_at_is_taken_by_name_and_nothing_else_is(trapped: Database) -> None:
    database = trapped
    _make(database, "intern", tuple(thing.format(s="app") for thing in _THINGS))
    with contextlib.suppress(ActionError):
        database.apply(DESIRED | {"adopt": ["function app.note()"]})
    owners = dict(
        map(
            tuple,
            database.superuser(
                "SELECT oid::regprocedure::text, proowner::regrole::text FROM pg_proc WHERE pronamespace = 'app'::regnamespace"
            ),
        )
    )
    assert owners["app.note()"] == "migrator"
    assert owners["app.note(integer)"] == "intern"
    assert owners["app.run(text)"] == "intern"


def test_what_a_privilege_left_behind_is_named(trapped: Database) -> None:
    """A trigger outlives the privilege to make it; its function runs as whoever writes, and its owner can replace it."""
    database = trapped
    database.as_role("migrator", "GRANT TRIGGER ON app.orders TO intern")
    made = _make(
        database,
        "intern",
        (
            "CREATE SCHEMA theirs",
            "GRANT USAGE ON SCHEMA theirs TO PUBLIC",
            "CREATE FUNCTION theirs.fired() RETURNS trigger LANGUAGE plpgsql AS $$" + _NOTE + "RETURN NEW; END$$",
            "CREATE TRIGGER left_behind BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION theirs.fired()",
        ),
    )
    assert len(made) == 4
    with pytest.raises(ActionError, match=r"left_behind on app\.orders.*theirs\.fired\(\), which intern can replace"):
        database.apply()
    assert "left_behind" in str(database.failed_check().plan.blocked)
    assert _gained(database, "intern") == []
    database.as_role("migrator", "DROP TRIGGER left_behind ON app.orders")
    assert "left_behind" not in str(database.plan().plan)


def test_nobody_hides_in_an_extension(trapped: Database) -> None:
    """Whoever may create in the database can install a trusted extension, and then put anything into it."""
    database = trapped
    database.superuser("DROP EXTENSION plpgsql CASCADE")
    hidden = "CREATE FUNCTION app.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT current_user'"
    adds = "ALTER EXTENSION plpgsql ADD FUNCTION app.lower(varchar)"
    assert len(_make(database, "intern", ("CREATE EXTENSION plpgsql", hidden, adds))) == 3
    with pytest.raises(ActionError, match=r"function app\.lower\(character varying\): owned by intern"):
        database.apply()
    assert "app.lower" in str(database.failed_check().plan.blocked)


def test_a_reader_calls_no_definer_through_an_aggregate(trapped: Database) -> None:
    """PostgreSQL asks whether the aggregate's owner may call its functions, not whoever calls the aggregate."""
    database = trapped
    step = "CREATE FUNCTION app.write(int, int) RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$"
    total = "CREATE AGGREGATE app.total(int) (sfunc = app.write, stype = int, initcond = '0')"
    database.as_role("migrator", step + _NOTE + "RETURN 1; END$$", total)
    _everything(database)
    assert _make(database, "app", ("SELECT app.total(1)",))
    assert _used(database) == {"migrator"}
    assert not _make(database, "readonly", ("SELECT app.write(1, 1)", "SELECT app.total(1)"))
    assert "app.total" not in str(database.plan().plan)


@pytest.mark.parametrize("setting", ["seed = 0.5", "transaction_read_only = on"])
def test_what_cannot_be_reset_stops_nothing(database: Database, setting: str) -> None:
    """Each role may set it for itself, and since 16 nobody takes it back. It changes nothing in a session."""
    ready(database)
    for role in ("app", "readonly"):
        database.as_role(role, f"ALTER ROLE {role} SET {setting}")
    database.apply()
    assert database.check().result == "passed"
    assert database.can("app", "INSERT INTO app.orders (note) VALUES ('x')")


def test_a_changed_event_trigger_stops_everything(trapped: Database) -> None:
    """Whatever the master changes would run it: it is named, and nothing is done."""
    database = trapped
    database.superuser(
        "CREATE FUNCTION app.event() RETURNS event_trigger LANGUAGE plpgsql AS $$" + _NOTE + "END$$",
        "CREATE EVENT TRIGGER watched ON ddl_command_end EXECUTE FUNCTION app.event()",
        "ALTER FUNCTION app.event() OWNER TO app",
    )
    try:
        database.superuser(*(f"ALTER SEQUENCE trap.{name} RESTART" for name in _ROLES))
        with pytest.raises(ActionError, match="event trigger watched"):
            database.apply()
        assert "event trigger watched" in str(database.failed_check().plan.blocked)
        assert _used(database) <= {"rdsadmin"}
    finally:
        database.superuser("DROP EVENT TRIGGER watched")
