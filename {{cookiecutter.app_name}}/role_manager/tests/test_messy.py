"""Databases that are no clean slate: the first apply on whatever was there, on its own or with what is adopted."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from role_manager.actions import ActionError
from role_manager.report import as_dict
from role_manager.tests.conftest import DESIRED, Database


@dataclasses.dataclass(frozen=True)
class Start:
    """What is there, by whom; `left`: words for what apply must leave; `adopt`: with it nothing is left."""

    who: str
    there: tuple[str, ...]
    left: tuple[str, ...] = ()
    adopt: tuple[str, ...] = ()
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    since: int = 15


_INTERN = (
    "CREATE ROLE intern",
    "CREATE SCHEMA app AUTHORIZATION master",
    "GRANT ALL ON SCHEMA app TO intern",
    "SET ROLE intern",
)
_TABLES = (
    "CREATE SCHEMA app",
    "CREATE TABLE app.orders (id serial, note text)",
    "CREATE VIEW app.notes AS SELECT note FROM app.orders",
)


def _of_intern(*statements: str, left: str, adopt: tuple[str, ...]) -> Start:
    """Something that `intern`, whom nobody declared, made in the managed schema."""
    return Start("superuser", (*_INTERN, *statements), (left, "intern"), adopt)


STARTS: dict[str, Start] = {
    # --- Things of the master
    "nothing": Start("master", ()),
    "tables of the master": Start("master", _TABLES),
    "an empty schema": Start("master", ("CREATE SCHEMA app",)),
    "partitions": Start("master", ("CREATE SCHEMA app", "CREATE TABLE app.p (id int) PARTITION BY RANGE (id)", "CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES FROM (0) TO (10)")),
    "inheritance": Start("master", ("CREATE SCHEMA app", "CREATE TABLE app.a (id int)", "CREATE TABLE app.b () INHERITS (app.a)")),
    "a range type": Start("master", ("CREATE SCHEMA app", "CREATE TYPE app.timerange AS RANGE (subtype = time)")),
    "a domain and an enumeration": Start("master", ("CREATE SCHEMA app", "CREATE DOMAIN app.positive AS int CHECK (VALUE > 0)", "CREATE TYPE app.mood AS ENUM ('a')")),
    "a composite type": Start("master", ("CREATE SCHEMA app", "CREATE TYPE app.pair AS (a int, b text)", "CREATE TABLE app.t (p app.pair[])")),
    "a materialized view": Start("master", ("CREATE SCHEMA app", "CREATE MATERIALIZED VIEW app.m AS SELECT 1 AS a", "CREATE UNIQUE INDEX ON app.m (a)")),
    "a procedure and an aggregate": Start("master", ("CREATE SCHEMA app", "CREATE PROCEDURE app.p() LANGUAGE sql AS ''", "CREATE AGGREGATE app.total(int) (sfunc = int4pl, stype = int)")),
    "an operator with its class": Start("master", ("CREATE SCHEMA app", "CREATE OPERATOR app.### (leftarg = int, rightarg = int, function = int4pl)")),
    "a trigger": Start("master", (*_TABLES, "CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "CREATE TRIGGER t BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.f()")),
    "a policy": Start("master", (*_TABLES, "ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON app.orders USING (true)")),
    "statistics and collations": Start("master", (*_TABLES, "CREATE STATISTICS app.s ON id, note FROM app.orders", "CREATE COLLATION app.c FROM \"C\"")),
    "text search": Start("master", ("CREATE SCHEMA app", "CREATE TEXT SEARCH CONFIGURATION app.c (COPY = pg_catalog.simple)", "CREATE TEXT SEARCH DICTIONARY app.d (TEMPLATE = pg_catalog.simple)")),
    "an extension in the schema": Start("superuser", ("CREATE SCHEMA app AUTHORIZATION master", "CREATE EXTENSION IF NOT EXISTS hstore SCHEMA app")),
    "names with quotes": Start("master", ("CREATE SCHEMA app", 'CREATE TABLE app."a""b \'c\' -- d" ("e f" int)', 'CREATE FUNCTION app."g(h"(text, "char") RETURNS int LANGUAGE sql AS \'SELECT 1\'')),
    "overloaded functions": Start("master", ("CREATE SCHEMA app", *(f"CREATE FUNCTION app.f({t}) RETURNS int LANGUAGE sql AS 'SELECT 1'" for t in ("int", "text", "int[]", "VARIADIC numeric[]", "OUT a int")))),
    "everything for PUBLIC": Start("master", (*_TABLES, "GRANT ALL ON ALL TABLES IN SCHEMA app TO PUBLIC", "GRANT ALL ON SCHEMA app TO PUBLIC", "GRANT ALL ON DATABASE app TO PUBLIC")),
    "public is open": Start("superuser", ("GRANT ALL ON SCHEMA public TO PUBLIC",)),
    "a definer function in public": Start("master", ("CREATE FUNCTION public.m() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",)),
    "default privileges of the master": Start("master", ("CREATE SCHEMA app", "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON TABLES TO PUBLIC", "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC")),
    "large objects": Start("master", ("SELECT lo_create(4711)", "GRANT ALL ON LARGE OBJECT 4711 TO PUBLIC")),
    # --- Roles that are there
    "roles that can do nothing": Start("master", ("CREATE ROLE migrator", "CREATE ROLE app", "CREATE ROLE readonly")),
    "roles with attributes": Start("master", ("CREATE ROLE app LOGIN CREATEDB CREATEROLE NOINHERIT CONNECTION LIMIT 1",)),
    "roles that are members of each other": Start("master", ("CREATE ROLE app", "CREATE ROLE readonly", "CREATE ROLE migrator", "GRANT app TO readonly", "GRANT migrator TO app")),
    "a member of the master": Start("master", ("CREATE ROLE app", "GRANT pg_monitor TO app", "CREATE ROLE migrator", "GRANT migrator TO master")),
    "roles with settings": Start("master", ("CREATE ROLE app", "ALTER ROLE app SET search_path = 'x'", "ALTER ROLE app SET work_mem = '1MB'", "ALTER ROLE app IN DATABASE app SET search_path = 'y'")),
    "roles with passwords": Start("master", ("CREATE ROLE app LOGIN PASSWORD 'secret'",)),
    "settings of the database": Start("master", ("ALTER DATABASE app SET default_transaction_isolation = 'serializable'", "ALTER DATABASE app SET timezone = 'UTC'")),
    "strangers with privileges": Start("master", (*_TABLES, "CREATE ROLE intern", "GRANT ALL ON app.orders TO intern WITH GRANT OPTION", "GRANT USAGE ON SCHEMA app TO intern", "GRANT UPDATE (note) ON app.orders TO intern")),
    "chains of grants": Start("superuser", ("CREATE ROLE one", "CREATE ROLE two", "GRANT one, two TO master WITH ADMIN OPTION", "CREATE SCHEMA app AUTHORIZATION master", "SET ROLE master", "CREATE TABLE app.t (id int)", "GRANT SELECT ON app.t TO one WITH GRANT OPTION", "RESET ROLE", "GRANT USAGE ON SCHEMA app TO one, two", "SET ROLE one", "GRANT SELECT ON app.t TO two WITH GRANT OPTION", "RESET ROLE")),
    "a retired role": Start("master", ("CREATE ROLE old LOGIN", "CREATE SCHEMA app", "CREATE TABLE app.t (id int)", "GRANT ALL ON app.t TO old", "GRANT CONNECT ON DATABASE app TO old"), changes={"retired": ["old"]}),
    "a retired role with a row type": Start("master", ("CREATE ROLE old", "CREATE SCHEMA app", "CREATE TABLE app.t (id int)", "GRANT USAGE ON TYPE app.t TO old"), changes={"retired": ["old"]}),
    "a retired role with memberships": Start("master", ("CREATE ROLE old", "GRANT pg_monitor TO old", "CREATE ROLE app", "GRANT old TO app"), changes={"retired": ["old"]}),
    "a retired owner": Start("superuser", ("CREATE ROLE old", "GRANT old TO master WITH ADMIN OPTION", "CREATE SCHEMA app AUTHORIZATION old", "SET ROLE old", *_TABLES[1:]), changes={"retired": ["old"]}),
    "a retired role with a policy": Start("superuser", ("CREATE ROLE old", "GRANT old TO master WITH ADMIN OPTION", "CREATE SCHEMA app AUTHORIZATION master", "SET ROLE master", "CREATE TABLE app.t (id int)", "CREATE POLICY p ON app.t TO old"), ("role old", "policy"), changes={"retired": ["old"]}),
    "a retired role with a table elsewhere": Start("superuser", ("CREATE ROLE old", "GRANT old TO master WITH ADMIN OPTION", "CREATE TABLE public.t (id int)", "ALTER TABLE public.t OWNER TO old"), ("role old", "public.t"), ("table public.t",), {"retired": ["old"]}),
    # --- What somebody else made
    "a stranger's table": _of_intern("CREATE TABLE app.t (id serial)", left="table app.t", adopt=("table app.t",)),
    "a stranger's view": _of_intern("CREATE VIEW app.v AS SELECT 1", left="view app.v", adopt=("view app.v",)),
    "a stranger's function": _of_intern("CREATE FUNCTION app.f(text) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'", left="SECURITY DEFINER", adopt=("function app.f(text)",)),
    "a stranger's procedure": _of_intern("CREATE PROCEDURE app.p(int) LANGUAGE sql AS ''", left="procedure app.p(integer)", adopt=("procedure app.p(integer)",)),
    "a stranger's aggregate": _of_intern("CREATE AGGREGATE app.total(int) (sfunc = int4pl, stype = int)", left="app.total(integer)", adopt=("aggregate app.total(integer)",)),
    "a stranger's type": _of_intern("CREATE TYPE app.mood AS ENUM ('a')", left="type app.mood", adopt=("type app.mood",)),
    "a stranger's range": _of_intern("CREATE TYPE app.r AS RANGE (subtype = time)", left="type app.r", adopt=("type app.r",)),
    "a stranger's domain": _of_intern("CREATE DOMAIN app.d AS int CHECK (VALUE > 0)", left="its checks", adopt=("domain app.d",)),
    "a stranger's operator": _of_intern("CREATE OPERATOR app.### (leftarg = int, rightarg = int, function = int4pl)", left="operator app.###", adopt=("operator app.###(integer,integer)",)),
    "a stranger's sequence": _of_intern("CREATE SEQUENCE app.s", left="sequence app.s", adopt=("sequence app.s",)),
    "a stranger's collation": _of_intern("CREATE COLLATION app.c FROM \"C\"", left="collation app.c", adopt=("collation app.c",)),
    "a stranger's table with a trigger": _of_intern("CREATE TABLE app.t (id int)", "CREATE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "CREATE TRIGGER t BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.f()", left="its triggers", adopt=("role intern",)),
    "a stranger's table with expressions": _of_intern("CREATE TABLE app.t (id int DEFAULT 1, g int GENERATED ALWAYS AS (1 + 1) STORED)", "CREATE INDEX ON app.t ((id + 1))", left="the expressions of its indexes", adopt=("role intern",)),
    "a stranger's schema": Start("superuser", ("CREATE ROLE intern", "CREATE SCHEMA app AUTHORIZATION intern"), ("schema app", "intern"), ("schema app",)),
    "a table of the application": Start("superuser", ("CREATE ROLE app", "GRANT app TO master WITH ADMIN OPTION", "CREATE SCHEMA app AUTHORIZATION master", "CREATE TABLE app.t (id int)", "ALTER TABLE app.t OWNER TO app"), ("table app.t",), ("table app.t",)),
    "a function of the reader in public": Start("superuser", ("CREATE ROLE readonly", "GRANT readonly TO master WITH ADMIN OPTION", "GRANT CREATE ON SCHEMA public TO PUBLIC", "SET ROLE readonly", "CREATE FUNCTION public.f() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'"), ("public.f()", "readonly"), ("function public.f()",)),
    "a table of the superuser": Start("superuser", ("CREATE SCHEMA app AUTHORIZATION master", "CREATE TABLE app.t (id int)"), ("table app.t", "rdsadmin")),
    "a grant by the master on the platform's table": Start("superuser", ("CREATE ROLE app", "GRANT app TO master WITH ADMIN OPTION", "CREATE SCHEMA platform", "CREATE TABLE platform.t (id int)", "GRANT USAGE ON SCHEMA platform TO master", "GRANT SELECT ON platform.t TO master WITH GRANT OPTION", "SET ROLE master", "GRANT SELECT ON platform.t TO app")),
}  # fmt: skip


def test_there_are_enough() -> None:
    assert len(STARTS) >= 45


@pytest.mark.parametrize("name", STARTS)
def test_a_first_apply_does_what_it_may(database: Database, name: str) -> None:
    start = STARTS[name]
    if "hstore" in str(start.there) and not database.superuser(
        "SELECT FROM pg_available_extensions WHERE name = 'hstore'"
    ):
        pytest.skip("this server has no hstore")
    (database.master if start.who == "master" else database.superuser)(*start.there)
    if "intern" in str(start.there):
        database.superuser("GRANT intern TO master WITH ADMIN OPTION")  # as on RDS, where the master made it
    desired = DESIRED | start.changes
    if start.left:
        with pytest.raises(ActionError) as caught:
            database.apply(desired)
        report = caught.value.report
        assert report.result == "blocked", report.summary
        for word in start.left:
            assert word in str(as_dict(report)["blocked"])
        # The rest was done, nothing else is to be done, and check names what is left.
        assert not database.plan(desired).plan.changes
        assert start.left[0] in str(as_dict(database.failed_check(desired)))
        assert database.can("readonly", "SELECT current_schema")
        if not start.adopt:
            return
        desired |= {"adopt": list(start.adopt)}
    assert database.apply(desired).result == "applied"
    assert database.check(desired).result == "passed"  # so another apply has nothing to do
