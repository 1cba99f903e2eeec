"""Drift of every kind: check fails and names it, apply repairs it, check passes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.laptop.postgres import LocalPostgres
from role_manager.report import as_dict
from role_manager.tests.conftest import Database, ready, set_aws_environment

# Each: who runs what, what check must name, and a statement with the role that must not run it after.
DRIFT: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "member of rds_superuser": (
        "master",
        ("GRANT rds_superuser TO app",),
        ("rds_superuser", "app"),
    ),
    "member of another managed role": ("master", ("GRANT migrator TO app",), ("migrator", "app")),
    "another role is a member": (
        "master",
        ("CREATE ROLE friend LOGIN", "GRANT app TO friend"),
        ("friend", "app"),
    ),
    "rds_iam with the admin option": (
        "master",
        ("GRANT rds_iam TO app WITH ADMIN OPTION",),
        ("rds_iam", "app"),
    ),
    "no longer in rds_iam": ("master", ("REVOKE rds_iam FROM readonly",), ("rds_iam", "readonly")),
    "create on the schema": ("migrator", ("GRANT CREATE ON SCHEMA app TO app",), ("CREATE", "app")),
    "create on public": ("superuser", ("GRANT CREATE ON SCHEMA public TO PUBLIC",), ("public",)),
    "create on the database": ("master", ("GRANT CREATE ON DATABASE app TO app",), ("CREATE",)),
    "connect for everybody": ("master", ("GRANT CONNECT ON DATABASE app TO PUBLIC",), ("CONNECT",)),
    "truncate": ("migrator", ("GRANT TRUNCATE ON app.orders TO app",), ("TRUNCATE", "app.orders")),
    "truncate with grant option, passed on": (
        "migrator",
        (
            "GRANT TRUNCATE ON app.orders TO app WITH GRANT OPTION",
            "GRANT SELECT ON app.orders TO app WITH GRANT OPTION",
        ),
        ("TRUNCATE", "app.orders"),
    ),
    "grant options of the master": (
        "superuser",
        (
            "GRANT ALL ON app.orders TO master WITH GRANT OPTION",
            "GRANT ALL ON SCHEMA app, public TO master WITH GRANT OPTION",
            "GRANT TRUNCATE ON app.orders TO readonly",
            "GRANT CREATE ON SCHEMA public TO readonly",
        ),
        ("master", "TRUNCATE", "CREATE"),
    ),
    "write for the reader": ("migrator", ("GRANT INSERT ON app.notes TO readonly",), ("INSERT",)),
    "a column": (
        "migrator",
        ("GRANT UPDATE (note) ON app.orders TO readonly",),
        ("note", "UPDATE"),
    ),
    "write for everybody": ("migrator", ("GRANT DELETE ON app.orders TO PUBLIC",), ("DELETE",)),
    "a role nobody declared": (
        "superuser",
        ("CREATE ROLE intern", "GRANT SELECT ON app.orders TO intern"),
        ("intern",),
    ),
    "lost privileges": (
        "migrator",
        ("REVOKE ALL ON app.orders FROM app, readonly", "REVOKE ALL ON SCHEMA app FROM readonly"),
        ("USAGE", "SELECT"),
    ),
    "setval": ("migrator", ("GRANT UPDATE ON SEQUENCE app.numbers TO app",), ("app.numbers",)),
    "security definer": (
        "migrator",
        ("CREATE FUNCTION app.sudo() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",),
        ("app.sudo()", "readonly"),
    ),
    "functions for everybody": (
        "migrator",
        ("GRANT EXECUTE ON FUNCTION app.one() TO PUBLIC",),
        ("app.one()", "PUBLIC"),
    ),
    "future tables": (
        "migrator",
        ("ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT TRUNCATE ON TABLES TO app",),
        ("TRUNCATE", "default privileges"),
    ),
    "no future tables": (
        "migrator",
        ("ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM readonly",),
        ("SELECT", "default privileges"),
    ),
    "future functions for everybody": (
        "migrator",
        ("ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",),
        ("EXECUTE", "default privileges"),
    ),
    "attributes": (
        "master",
        ("ALTER ROLE app CREATEROLE CREATEDB NOINHERIT CONNECTION LIMIT 3",),
        ("CREATEROLE", "connection limit"),
    ),
    "no login": ("master", ("ALTER ROLE readonly NOLOGIN",), ("readonly", "log in")),
    "settings": (
        "master",
        (
            "ALTER ROLE app SET search_path = public",
            "ALTER ROLE app SET statement_timeout = 0",
            "ALTER ROLE readonly IN DATABASE app SET statement_timeout = 1000",
        ),
        ("search_path", "statement_timeout", "in this database"),
    ),
    "wrong owner": (
        "superuser",
        (
            "ALTER TABLE app.orders OWNER TO app",
            "ALTER FUNCTION app.one() OWNER TO readonly",
            "ALTER TYPE app.mood OWNER TO app",
        ),
        ("app.orders", "owned by app", "app.one()"),
    ),
    "made by the master": (
        "superuser",
        ("CREATE TABLE app.x (id serial)", "ALTER TABLE app.x OWNER TO master"),
        ("app.x", "owned by master"),
    ),
    "schema of another": ("superuser", ("ALTER SCHEMA app OWNER TO app",), ("schema app",)),
    "owns the database": (
        "superuser",
        # The master's right to connect was the owner's.
        ("ALTER DATABASE app OWNER TO app", "GRANT CONNECT ON DATABASE app TO master"),
        ("database app",),
    ),
    "owns something elsewhere": (
        "superuser",
        ("CREATE TABLE public.t (id int)", "ALTER TABLE public.t OWNER TO app"),
        ("public.t",),
    ),
    "privileges elsewhere": (
        "master",
        ("CREATE TABLE public.u (id int)", "GRANT INSERT ON public.u TO app, PUBLIC"),
        ("public.u", "INSERT"),
    ),
    "other kinds of objects of others": (
        "superuser",
        (
            "CREATE COLLATION app.c (provider = libc, locale = 'C')",
            "CREATE TEXT SEARCH CONFIGURATION app.f (COPY = pg_catalog.simple)",
            "CREATE STATISTICS app.s ON id, note FROM app.orders",
            "ALTER COLLATION app.c OWNER TO app",
            "ALTER TEXT SEARCH CONFIGURATION app.f OWNER TO app",
            "ALTER STATISTICS app.s OWNER TO app",
        ),
        ("app.c", "app.f", "app.s"),
    ),
}


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
    who, statements, words = DRIFT[name]
    database = steady
    if who == "master":
        database.master(*statements)
    elif who == "superuser":
        database.superuser(*statements)
    else:
        database.as_role(who, *statements)
    report = database.failed_check()
    assert report.result == "drift"
    everything = str(as_dict(report))
    for word in words:
        assert word in everything, f"{word} is not named in {everything}"
    assert not report.plan.blocked, report.plan.blocked
    assert database.apply().result == "applied"
    assert database.check().result == "passed"  # and so a second apply has nothing to do
