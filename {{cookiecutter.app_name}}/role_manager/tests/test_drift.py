"""Drift of every kind: check fails and names it, apply repairs what may be repaired and leaves the rest, by name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.laptop.postgres import LocalPostgres
from role_manager.actions import ActionError
from role_manager.report import as_dict
from role_manager.tests.conftest import Database, ready, set_aws_environment


@dataclasses.dataclass(frozen=True)
class Wrong:
    """Who does what, and what check must name. `undo`: apply may not repair it; this is what a person does then."""

    who: str
    does: tuple[str, ...]
    named: tuple[str, ...]
    undo: tuple[str, ...] = ()
    since: int = 15


def _rows(who: str, *rows: tuple[str, str, str] | tuple[str, str, str, str]) -> dict[str, Wrong]:
    """Rows of name, statements, words and perhaps what undoes it, each separated by `; `."""
    return {
        row[0]: Wrong(who, *(tuple(part.split("; ")) for part in row[1:]))  # type: ignore[arg-type]
        for row in rows
    }


DRIFT: dict[str, Wrong] = {
    # --- Memberships
    **_rows(
        "master",
        ("member of rds_superuser", "GRANT rds_superuser TO app", "rds_superuser; app"),
        ("member of a predefined role", "GRANT pg_monitor TO readonly", "pg_monitor; readonly"),
        ("member of another managed role", "GRANT migrator TO app", "migrator; app"),
        ("reader is a member of the writer", "GRANT app TO readonly", "app; readonly"),
        ("another role is a member", "CREATE ROLE friend LOGIN; GRANT app TO friend", "friend; app"),
        ("a member that may add others", "CREATE ROLE boss; GRANT app TO boss WITH ADMIN OPTION", "boss; app"),
        ("member of a role nobody declared", "CREATE ROLE team; GRANT team TO readonly", "team; readonly"),
        ("rds_iam with the admin option", "GRANT rds_iam TO app WITH ADMIN OPTION", "rds_iam; app"),
        ("no longer in rds_iam", "REVOKE rds_iam FROM readonly", "rds_iam; readonly"),
        ("a reserved role is a member", "GRANT app TO rds_superuser", "rds_superuser; app"),
        # --- Attributes and settings
        ("attributes", "ALTER ROLE app CREATEROLE CREATEDB", "CREATEROLE; CREATEDB"),
        ("no inheritance", "ALTER ROLE app NOINHERIT", "NOINHERIT"),
        ("connection limit", "ALTER ROLE app CONNECTION LIMIT 3", "connection limit"),
        ("no login", "ALTER ROLE readonly NOLOGIN", "readonly; log in"),
        ("search_path", "ALTER ROLE app SET search_path = public", "search_path; public"),
        ("no timeout", "ALTER ROLE app SET statement_timeout = 0", "statement_timeout"),
        ("timeout here", "ALTER ROLE readonly IN DATABASE app SET statement_timeout = 1000", "statement_timeout; in this database"),
        ("read only", "ALTER ROLE app SET default_transaction_read_only = on", "default_transaction_read_only; read only"),
        ("read only here", "ALTER ROLE app IN DATABASE app SET default_transaction_read_only = on", "default_transaction_read_only"),
        ("read only for all", "ALTER DATABASE app SET default_transaction_read_only = on", "default_transaction_read_only; database app"),
        ("isolation", "ALTER ROLE app SET default_transaction_isolation = 'serializable'", "default_transaction_isolation"),
        ("row security off", "ALTER ROLE readonly SET row_security = off", "row_security"),
        ("a setting of its own", "ALTER ROLE app SET work_mem = '1MB'", "work_mem"),
        ("another role by itself", "ALTER ROLE app SET role = 'rds_iam'", "setting role; rds_iam"),
        ("lock timeout", "ALTER ROLE migrator SET lock_timeout = 1", "lock_timeout"),
        ("idle sessions end", "ALTER DATABASE app SET idle_session_timeout = '1s'", "idle_session_timeout"),
        # --- The database, other schemas
        ("create on the database", "GRANT CREATE ON DATABASE app TO app", "CREATE"),
        ("connect for everybody", "GRANT CONNECT ON DATABASE app TO PUBLIC", "CONNECT"),
        ("temporary tables", "GRANT TEMPORARY ON DATABASE app TO readonly", "TEMPORARY"),
        ("privileges elsewhere", "CREATE TABLE public.u (id int); GRANT INSERT ON public.u TO app, PUBLIC", "public.u; INSERT"),
        ("a definer function of the master", "CREATE FUNCTION public.m() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'", "public.m(); PUBLIC"),
        ("a function elsewhere", "CREATE FUNCTION public.g() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION public.g() TO app", "public.g()"),
    ),
    # --- Privileges
    **_rows(
        "migrator",
        ("create on the schema", "GRANT CREATE ON SCHEMA app TO app", "CREATE; app"),
        ("truncate", "GRANT TRUNCATE ON app.orders TO app", "TRUNCATE; app.orders"),
        ("references and triggers", "GRANT REFERENCES, TRIGGER ON app.orders TO readonly", "REFERENCES; TRIGGER"),
        ("grant options", "GRANT TRUNCATE ON app.orders TO app WITH GRANT OPTION; GRANT SELECT ON app.orders TO app WITH GRANT OPTION", "TRUNCATE; app.orders"),
        ("write for the reader", "GRANT INSERT ON app.notes TO readonly", "INSERT"),
        ("a column", "GRANT UPDATE (note) ON app.orders TO readonly", "note; UPDATE"),
        ("a column for everybody", "GRANT SELECT (note) ON app.orders TO PUBLIC", "note; PUBLIC"),
        ("write for everybody", "GRANT DELETE ON app.orders TO PUBLIC", "DELETE"),
        ("read for everybody", "GRANT SELECT ON app.orders TO PUBLIC", "PUBLIC"),
        ("lost privileges", "REVOKE ALL ON app.orders FROM app, readonly; REVOKE ALL ON SCHEMA app FROM readonly", "USAGE; SELECT"),
        ("lost sequence", "REVOKE ALL ON SEQUENCE app.numbers FROM app", "app.numbers"),
        ("lost function", "REVOKE ALL ON FUNCTION app.one() FROM app", "app.one()"),
        ("its own privileges", "REVOKE ALL ON app.orders, SEQUENCE app.numbers FROM migrator".replace(", SEQUENCE app.numbers", ""), "migrator; app.orders"),
        ("its own schema", "REVOKE ALL ON SCHEMA app FROM migrator", "migrator; USAGE"),
        ("setval", "GRANT UPDATE ON SEQUENCE app.numbers TO app", "app.numbers"),
        ("nextval for the reader", "GRANT USAGE ON SEQUENCE app.numbers TO readonly", "app.numbers; USAGE"),
        ("security definer", "CREATE FUNCTION app.sudo() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'", "app.sudo(); readonly"),
        ("functions for everybody", "GRANT EXECUTE ON FUNCTION app.one() TO PUBLIC", "app.one(); PUBLIC"),
        ("security definer in an aggregate", "CREATE FUNCTION app.step(int, int) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; REVOKE EXECUTE ON FUNCTION app.step FROM readonly; CREATE AGGREGATE app.steps(int) (sfunc = app.step, stype = int)", "app.steps(integer); readonly"),
        ("a type", "GRANT USAGE ON TYPE app.mood TO app WITH GRANT OPTION", "app.mood"),
        ("a row type", "GRANT USAGE ON TYPE app.orders TO app", "app.orders; type"),
        ("future tables", "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT TRUNCATE ON TABLES TO app", "TRUNCATE; default privileges"),
        ("no future tables", "ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM readonly", "SELECT; default privileges"),
        ("future functions for everybody", "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC", "EXECUTE; default privileges"),
        ("future tables anywhere", "ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO readonly", "INSERT; default privileges"),
        ("future schemas", "ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app", "default privileges; schemas"),
    ),
    **_rows(
        "superuser",
        ("a setting of a superuser", "ALTER ROLE app SET log_statement = 'all'", "setting log_statement", "ALTER ROLE app RESET log_statement"),
        ("create on public", "GRANT CREATE ON SCHEMA public TO PUBLIC", "public"),
        ("a role nobody declared", "CREATE ROLE intern; GRANT SELECT ON app.orders TO intern", "intern"),
        ("grant options of the master", "GRANT ALL ON app.orders TO master WITH GRANT OPTION; GRANT ALL ON SCHEMA app, public TO master WITH GRANT OPTION; GRANT TRUNCATE ON app.orders TO readonly; GRANT CREATE ON SCHEMA public TO readonly", "master; TRUNCATE; CREATE"),
        ("default privileges of others", "CREATE ROLE tenant; ALTER DEFAULT PRIVILEGES FOR ROLE master GRANT ALL ON TABLES TO app", "default privileges; app"),
        ("made by the master", "CREATE TABLE app.x (id serial); ALTER TABLE app.x OWNER TO master", "app.x; owned by master"),
        ("schema of another", "ALTER SCHEMA app OWNER TO app", "schema app"),
        ("owns the database", "ALTER DATABASE app OWNER TO app; GRANT CONNECT ON DATABASE app TO master", "database app"),
        ("create elsewhere", "CREATE SCHEMA other AUTHORIZATION master; GRANT CREATE ON SCHEMA other TO app", "other; CREATE"),
        # --- What is never taken on its own
        ("owns a table", "ALTER TABLE app.orders OWNER TO app", "table app.orders; owned by app", "ALTER TABLE app.orders OWNER TO migrator"),
        ("owns a function", "ALTER FUNCTION app.one() OWNER TO readonly", "function app.one(); owned by readonly; its body", "ALTER FUNCTION app.one() OWNER TO migrator"),
        ("owns a view", "ALTER VIEW app.notes OWNER TO app", "view app.notes; its query", "ALTER VIEW app.notes OWNER TO migrator"),
        ("owns a type", "ALTER TYPE app.mood OWNER TO app", "type app.mood", "ALTER TYPE app.mood OWNER TO migrator"),
        ("owns a collation", "CREATE COLLATION app.c (provider = libc, locale = 'C'); ALTER COLLATION app.c OWNER TO app", "collation app.c", "DROP COLLATION app.c"),
        ("owns a search configuration", "CREATE TEXT SEARCH CONFIGURATION app.f (COPY = pg_catalog.simple); ALTER TEXT SEARCH CONFIGURATION app.f OWNER TO app", "app.f", "DROP TEXT SEARCH CONFIGURATION app.f"),
        ("owns statistics", "CREATE STATISTICS app.s ON id, note FROM app.orders; ALTER STATISTICS app.s OWNER TO app", "app.s", "DROP STATISTICS app.s"),
        ("a stranger's table", "CREATE ROLE stranger; CREATE TABLE app.theirs (id int); ALTER TABLE app.theirs OWNER TO stranger", "app.theirs; stranger", "DROP TABLE app.theirs"),
        ("owns something elsewhere", "CREATE TABLE public.t (id int); ALTER TABLE public.t OWNER TO app", "public.t", "DROP TABLE public.t"),
        ("owns a definer function elsewhere", "CREATE FUNCTION public.f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION public.f() OWNER TO readonly", "public.f(); SECURITY DEFINER", "DROP FUNCTION public.f()"),
        ("owns a schema", "CREATE SCHEMA theirs AUTHORIZATION app", "schema theirs", "DROP SCHEMA theirs"),
        ("owns a publication", "CREATE PUBLICATION p FOR TABLE app.orders; ALTER DATABASE app OWNER TO migrator; ALTER PUBLICATION p OWNER TO migrator; ALTER DATABASE app OWNER TO master", "publication p; migrator", "DROP PUBLICATION p"),
        ("owns a large object", "SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO app", "large object 4711", "SELECT lo_unlink(4711)"),
        # --- What the master cannot reach
        ("create on another database", "GRANT CREATE ON DATABASE postgres TO app", "database postgres; CREATE", "REVOKE CREATE ON DATABASE postgres FROM app"),
        ("read only for all roles", "ALTER ROLE ALL SET default_transaction_read_only = on", "default_transaction_read_only; all roles", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; ALTER ROLE ALL RESET default_transaction_read_only"),
        ("create on another database for everybody", "GRANT CREATE ON DATABASE postgres TO PUBLIC", "database postgres; PUBLIC", "REVOKE CREATE ON DATABASE postgres FROM PUBLIC"),
        ("a parameter for everybody", "GRANT SET ON PARAMETER log_statement TO PUBLIC", "parameter log_statement; PUBLIC", "REVOKE SET ON PARAMETER log_statement FROM PUBLIC"),
        ("a superuser's table for everybody", "CREATE TABLE public.super (id int); GRANT INSERT ON public.super TO PUBLIC", "table public.super; PUBLIC: INSERT", "DROP TABLE public.super"),
        ("owns a foreign server", "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; GRANT USAGE ON FOREIGN DATA WRAPPER w TO app; ALTER SERVER s OWNER TO app; REVOKE USAGE ON FOREIGN DATA WRAPPER w FROM app", "server s; a superuser runs: ALTER SERVER s OWNER TO", "DROP FOREIGN DATA WRAPPER w CASCADE"),
        ("owns an extension", "DROP EXTENSION plpgsql; GRANT CREATE ON DATABASE app TO app; SET ROLE app; CREATE EXTENSION plpgsql; RESET ROLE; REVOKE CREATE ON DATABASE app FROM app", "extension plpgsql; drop it; database_roles.extensions", "DROP EXTENSION plpgsql; CREATE EXTENSION plpgsql"),
        # --- Code of others below the owner's objects
        *(
            (f"uses a stranger's {what}", f"CREATE ROLE outsider; CREATE SCHEMA outside AUTHORIZATION outsider; GRANT USAGE ON SCHEMA outside TO migrator; SET ROLE outsider; {makes}; GRANT SELECT ON ALL TABLES IN SCHEMA outside TO migrator; SET ROLE migrator; {uses}", named + "; outsider can replace", undo + "; DROP OWNED BY outsider; DROP ROLE outsider")
            for what, makes, uses, named, undo in (
                ("trigger function", "CREATE FUNCTION outside.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW;END'", "CREATE TRIGGER t BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION outside.f()", "trigger t on app.orders; function outside.f()", "DROP TRIGGER t ON app.orders"),
                ("function in a default", "CREATE FUNCTION outside.f() RETURNS text LANGUAGE sql AS $$SELECT text 'x'$$", "ALTER TABLE app.orders ALTER note SET DEFAULT outside.f()", "default value for app.orders.note; function outside.f()", "ALTER TABLE app.orders ALTER note DROP DEFAULT"),
                ("operator", "CREATE OPERATOR outside.=== (leftarg = text, rightarg = text, function = texteq)", "CREATE INDEX special ON app.orders ((note OPERATOR(outside.===) ''))", "index app.special; operator outside.===", "DROP INDEX app.special"),
                ("view", "CREATE VIEW outside.v AS SELECT 1 AS a", "CREATE VIEW app.through AS SELECT * FROM outside.v", "app.through; view outside.v", "DROP VIEW app.through"),
                ("domain", "CREATE DOMAIN outside.d AS int CHECK (VALUE > 0)", "CREATE TABLE app.checked (d outside.d)", "table column app.checked.d; type outside.d", "DROP TABLE app.checked"),
                ("aggregate", "CREATE FUNCTION outside.f(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE AGGREGATE app.summed(int) (sfunc = outside.f, stype = int)", "app.summed(integer); function outside.f", "DROP AGGREGATE app.summed(int)"),
                ("array of a domain", "CREATE DOMAIN outside.d AS int CHECK (VALUE > 0)", "CREATE TABLE app.checked (d outside.d[])", "table column app.checked.d; type outside.d[]", "DROP TABLE app.checked"),
                ("type that holds a domain", "CREATE DOMAIN outside.d AS int CHECK (VALUE > 0); CREATE TYPE outside.pair AS (d outside.d)", "CREATE TABLE app.checked (d outside.pair)", "table column app.checked.d; type outside.pair", "DROP TABLE app.checked"),
                ("policy", "CREATE TABLE outside.t (a int); GRANT SELECT ON outside.t TO PUBLIC; CREATE POLICY p ON outside.t", "CREATE VIEW app.through AS SELECT * FROM outside.t", "app.through; table outside.t", "DROP VIEW app.through"),
                ("function in a cast", "RESET ROLE; GRANT USAGE ON SCHEMA app TO outsider; SET ROLE outsider; CREATE FUNCTION outside.f(text) RETURNS app.mood LANGUAGE sql AS 'SELECT NULL::app.mood'", "CREATE CAST (text AS app.mood) WITH FUNCTION outside.f(text)", "cast (pg_catalog.text AS app.mood); function outside.f", "DROP CAST (text AS app.mood)"),
                # Its triggers run as whoever deletes a row of the owner's.
                ("foreign key", "SELECT", "CREATE TABLE app.keys (id int PRIMARY KEY); GRANT USAGE ON SCHEMA app TO outsider; GRANT REFERENCES ON app.keys TO outsider; SET ROLE outsider; CREATE TABLE outside.t (id int REFERENCES app.keys ON DELETE CASCADE)", "table app.keys; table outside.t (by its foreign key)", "DROP TABLE app.keys CASCADE"),
                ("child", "SELECT", "CREATE TABLE app.family (id int); RESET ROLE; CREATE TABLE outside.t () INHERITS (app.family); ALTER TABLE outside.t OWNER TO outsider", "table app.family; table outside.t (by inheritance)", "DROP TABLE app.family CASCADE"),
                ("parent", "SELECT", "CREATE TABLE app.part (id int); RESET ROLE; CREATE TABLE outside.t (id int) PARTITION BY LIST (id); ALTER TABLE outside.t ATTACH PARTITION app.part DEFAULT; ALTER TABLE outside.t OWNER TO outsider", "table app.part; table outside.t (by inheritance)", "DROP TABLE outside.t CASCADE"),
            )
        ),
        ("a superuser", "ALTER ROLE app SUPERUSER", "SUPERUSER", "ALTER ROLE app NOSUPERUSER"),
        ("a parameter", "GRANT SET ON PARAMETER log_statement TO app", "log_statement", "REVOKE SET ON PARAMETER log_statement FROM app"),
    ),
    # --- Since 16 a membership has options
    "a member with ADMIN and nothing else": Wrong(
        "master",
        ("CREATE ROLE holder LOGIN", "GRANT migrator TO holder WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"),
        ("holder", "make itself a member"),
        since=16,
    ),
    "a member with SET alone": Wrong(
        "master",
        ("CREATE ROLE setter LOGIN", "GRANT app TO setter WITH SET TRUE, INHERIT FALSE"),
        ("setter", "app"),
        since=16,
    ),
    "a member with nothing": Wrong(
        "master",
        ("CREATE ROLE nothing LOGIN", "GRANT app TO nothing WITH SET FALSE, INHERIT FALSE"),
        ("nothing", "app"),
        since=16,
    ),
    "transactions end": Wrong(
        "master", ("ALTER ROLE app SET transaction_timeout = '1s'",), ("transaction_timeout",), since=17
    ),
    "maintenance": Wrong("migrator", ("GRANT MAINTAIN ON app.orders TO app",), ("MAINTAIN",), since=17),
}  # fmt: skip


# The README's table of what is watched, and which of the rows above show it; event triggers are in test_attackers.py.
WATCHED = {
    "memberships of managed roles": r"member of|no longer in|reader is a member|rds_iam",
    "memberships in managed roles": r"another role is a|a member|a reserved role is",
    "attributes of managed roles": r"attributes|no inheritance|connection limit|no login|a superuser",
    "settings of managed roles": r"search_path|no timeout|timeout here|read only$|read only here|isolation|row security|lock timeout|a setting|another role by itself|transactions end",
    "settings of this database and of all roles": r"read only for all|idle sessions",
    "privileges in the managed schemas": r"create on the schema|truncate|references|grant options|write|a column|read for|lost|its own|setval|nextval|security definer|functions for|a type|a row type|a role nobody|maintenance",
    "privileges of what will be created": r"future|no future|default privileges",
    "privileges on this database": r"create on the database|connect for|temporary",
    "privileges of managed roles elsewhere": r"privileges elsewhere|a function elsewhere|create elsewhere|create on another|a parameter",
    "privileges of PUBLIC elsewhere": r"create on public|a definer function|create on another database for|a parameter for|a superuser's table",
    "owners in the managed schemas": r"made by the master|schema of another|owns a table|owns a function|owns a view|owns a type|owns a collation|owns a search|owns statistics|a stranger",
    "what managed roles own elsewhere": r"owns something|owns a definer|owns a schema|owns a publication|owns a large|owns a foreign|owns an ext",
    "what the owner role's objects use": r"uses a stranger's",
    "owner of the database": r"owns the database",
    "event triggers": r"",
}


def test_the_readme_promises_what_is_watched_and_no_more() -> None:
    text = (
        (Path(__file__).parents[1] / "README.md").read_text().partition("## What is watched")[2].partition("\n## ")[0]
    )
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]
    assert rows == list(WATCHED)
    for row, pattern in WATCHED.items():
        assert row == "event triggers" or [name for name in DRIFT if re.match(pattern, name)], row
    shown = {name for name in DRIFT for pattern in WATCHED.values() if pattern and re.match(pattern, name)}
    assert shown == set(DRIFT)


def test_the_table_is_long_enough() -> None:
    assert len(DRIFT) >= 60


@pytest.fixture(scope="module")
def steady(server: LocalPostgres) -> Iterator[Database]:
    """A database for the tests that leave it as it was declared."""
    found = Database(server)
    with pytest.MonkeyPatch.context() as patch:
        set_aws_environment(patch)
        yield ready(found)
    found.reset()


@pytest.mark.parametrize("name", DRIFT)
def test_drift_is_named_and_repaired(steady: Database, name: str) -> None:
    wrong, database = DRIFT[name], steady
    if database.server.version < wrong.since:
        pytest.skip(f"PostgreSQL {wrong.since} brought it")
    run = {"master": database.master, "superuser": database.superuser}.get(wrong.who)
    if run is not None:
        run(*wrong.does)
    else:
        database.as_role(wrong.who, *wrong.does)
    report = database.failed_check()
    assert report.result == "drift"
    everything = str(as_dict(report))
    for word in wrong.named:
        assert word in everything, f"{word} is not named in {everything}"
    if wrong.undo:
        with pytest.raises(ActionError) as caught:
            database.apply()
        assert caught.value.report.result == "blocked"
        assert wrong.named[0] in str(caught.value.report.plan.blocked)
        assert not database.plan().plan.changes
        database.superuser(*wrong.undo)
        database.apply()  # privileges that went with the owner
    else:
        assert not report.plan.blocked, report.plan.blocked
        assert database.apply().result == "applied"
    assert database.check().result == "passed"  # which reads what a plan reads
