"""What the database is like after apply, and that drift of every kind is named and repaired."""

from __future__ import annotations

import json

import pytest

from role_manager.actions import ActionError
from role_manager.connection import StatementError
from role_manager.report import as_dict
from role_manager.tests.conftest import DESIRED, VERSIONS, Database, ready, require


@pytest.mark.parametrize("version", VERSIONS)
def test_there_is_a_server_of_each_version(version: int) -> None:
    require(version)


def test_roles_can_do_their_job_and_no_more(database: Database) -> None:
    ready(database)
    for role, statement, allowed in (
        ("app", "SELECT * FROM app.orders", True),
        ("app", "INSERT INTO app.orders (note) VALUES ('x')", True),
        ("app", "UPDATE app.orders SET note = 'y'", True),
        ("app", "DELETE FROM app.orders", True),
        ("app", "SELECT nextval('app.numbers'), app.one()", True),
        ("app", "TRUNCATE app.orders", False),
        ("app", "ALTER TABLE app.orders ADD COLUMN x int", False),
        ("app", "DROP TABLE app.orders", False),
        ("app", "CREATE TABLE app.mine (id int)", False),
        ("app", "CREATE TABLE public.mine (id int)", False),
        ("app", "CREATE TEMPORARY TABLE mine (id int)", False),
        ("app", "CREATE SCHEMA mine", False),
        ("app", "SET ROLE migrator", False),
        ("readonly", "SELECT *, app.one() FROM app.orders", True),
        ("readonly", "SELECT last_value FROM app.numbers", True),
        ("readonly", "INSERT INTO app.orders (note) VALUES ('x')", False),
        ("readonly", "UPDATE app.orders SET note = 'y'", False),
        ("readonly", "DELETE FROM app.orders", False),
        ("readonly", "SELECT nextval('app.numbers')", False),
        ("readonly", "CREATE TABLE app.mine (id int)", False),
        ("migrator", "ALTER TABLE app.orders ADD COLUMN x int", True),
        ("migrator", "CREATE SCHEMA mine", False),
        ("migrator", "CREATE ROLE mine", False),
    ):
        assert database.can(role, statement) is allowed, f"{role}: {statement}"


def test_check_passes_and_says_what_it_proved(database: Database) -> None:
    report = ready(database).check()
    assert report.result == "passed"
    assert {proof.role: proof.method for proof in report.proofs} == dict.fromkeys(
        ("migrator", "app", "readonly"), "login"
    )
    app = next(proof for proof in report.proofs if proof.role == "app")
    for words in ("log in with an IAM token", "truncate", "act as another role", "can do what", "can write"):
        assert any(words in text for text in app.proven), words


def test_settings_arrive_at_the_session(database: Database) -> None:
    database.apply(DESIRED | {"schemas": ["app", "other Schema"]})
    rows = database.as_role("app", "SELECT current_schemas(false)::text, current_setting('statement_timeout')")
    assert rows == [['{app,"other Schema"}', "30s"]]


@pytest.mark.parametrize("tables", [0, 300])
def test_nothing_to_do_takes_two_round_trips(database: Database, tables: int) -> None:
    database.apply()
    database.as_role(
        "migrator",
        *(f"CREATE TABLE app.t{number} (id serial)" for number in range(tables)),
        "SELECT 1",
    )
    front = database.server.front
    front.sessions.clear()
    report = database.apply()
    assert report.result == "nothing to do"
    assert [session.round_trips for session in front.sessions] == [2]
    assert report.round_trips == 2


def test_the_plan_is_what_apply_runs(database: Database) -> None:
    planned = database.plan().plan.changes
    assert planned
    database.server.front.sessions.clear()
    applied = database.apply().plan.changes
    assert applied == planned
    sent = list(database.server.front.sessions[-1].sql)
    assert sent[0].startswith("BEGIN")
    steps = [f"SAVEPOINT step;\n{change.sql};\nRELEASE SAVEPOINT step" for change in planned]
    assert sent[1 : len(planned) + 1] == steps
    assert sent[-1] == "COMMIT"
    assert database.plan().result == "nothing to do"


def test_a_plan_changes_nothing(database: Database) -> None:
    database.plan()
    assert database.superuser("SELECT FROM pg_roles WHERE rolname = 'app'") == []
    assert all("READ ONLY" in session.sql[0] for session in database.server.front.sessions if session.sql)


def test_the_master_keeps_its_password_login(database: Database) -> None:
    """On RDS a member of a member of rds_iam must log in with a token."""
    ready(database)
    usable = "USAGE" if database.server.version < 16 else "SET"
    assert database.superuser(
        f"SELECT pg_has_role('master', 'rds_iam', '{usable}'), pg_has_role('master', 'migrator', 'USAGE')"
    ) == [[False, False]]


def test_grants_passed_on_end_with_their_source(database: Database) -> None:
    ready(database)
    database.as_role("migrator", "GRANT TRUNCATE, SELECT ON app.orders TO app WITH GRANT OPTION")
    database.as_role("app", "GRANT TRUNCATE, SELECT ON app.orders TO readonly")
    database.apply()
    assert database.check().result == "passed"
    assert not database.can("readonly", "TRUNCATE app.orders")
    assert database.can("readonly", "SELECT FROM app.orders")


def test_roles_without_login_cannot_log_in(database: Database) -> None:
    desired = DESIRED | {"roles": DESIRED["roles"] | {"batch": {"profile": "read-write", "login": "none"}}}
    database.apply(desired)
    report = database.check(desired)
    batch = next(proof for proof in report.proofs if proof.role == "batch")
    assert batch.method == "set role"
    assert "cannot log in" in batch.proven
    database.master("ALTER ROLE batch LOGIN", "GRANT rds_iam TO batch")
    batch = next(p for p in database.failed_check(desired).proofs if p.role == "batch")
    assert "can log in" in batch.problems
    database.apply(desired)
    assert database.check(desired).result == "passed"


# --- Retirement ---------------------------------------------------------------------------------

RETIRED = DESIRED | {"retired": ["old", "never existed"]}


def test_a_retired_role_goes_and_what_was_adopted_stays(database: Database) -> None:
    ready(database)
    database.master("CREATE ROLE old LOGIN", "GRANT rds_iam TO old")
    database.as_role("migrator", "GRANT USAGE, CREATE ON SCHEMA app TO old", "GRANT SELECT ON app.orders TO old")
    database.superuser(
        "GRANT CONNECT ON DATABASE app TO old",
        "SET ROLE old",
        "CREATE TABLE app.theirs (id serial)",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO app",
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    )
    with pytest.raises(ActionError, match=r"table app\.theirs"):
        database.apply(RETIRED)
    adopting = RETIRED | {"adopt": ["table app.theirs"]}
    assert database.apply(adopting).result == "applied"
    assert database.apply(adopting).result == "nothing to do"
    assert database.superuser("SELECT FROM pg_roles WHERE rolname = 'old'") == []
    assert database.superuser("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'theirs'") == [["migrator"]]


def test_the_owner_before_hands_over(database: Database) -> None:
    """Who owns the schema and is retired made what is in it: as the owner that it was."""
    ready(database)
    roles = {"owner2": DESIRED["roles"]["migrator"], **{k: v for k, v in DESIRED["roles"].items() if k != "migrator"}}
    desired = DESIRED | {"roles": roles, "retired": ["migrator"]}
    assert database.apply(desired).result == "applied"
    assert database.check(desired).result == "passed"
    assert database.can("owner2", "ALTER TABLE app.orders ADD COLUMN y int")
    assert database.superuser("SELECT FROM pg_roles WHERE rolname = 'migrator'") == []


def test_a_retired_role_that_owns_something_else_is_refused_with_a_list(
    database: Database,
) -> None:
    ready(database)
    database.superuser(
        "CREATE ROLE old",
        "CREATE TABLE public.precious (id int)",
        "ALTER TABLE public.precious OWNER TO old",
        "CREATE POLICY p ON app.orders TO old",
    )
    with pytest.raises(ActionError) as caught:
        database.apply(RETIRED)
    report = caught.value.report
    assert report.result == "blocked"
    words = str(report.plan.blocked)
    assert "precious" in words
    assert "policy" in words
    assert database.superuser("SELECT count(*)::int FROM public.precious") == [[0]]
    assert database.superuser("SELECT count(*)::int FROM pg_roles WHERE rolname = 'old'") == [[1]]


def test_a_retired_role_with_objects_in_another_database_is_refused(database: Database) -> None:
    ready(database)
    database.superuser("CREATE ROLE old")
    with database.server.superuser("postgres") as connection:
        connection.run("CREATE TABLE public.far (id int)")
        connection.run("ALTER TABLE public.far OWNER TO old")
    try:
        with pytest.raises(ActionError) as caught:
            database.apply(RETIRED)
        assert "postgres" in str(caught.value.report.plan.blocked)
    finally:
        with database.server.superuser("postgres") as connection:
            connection.run("DROP TABLE public.far")


def test_what_would_keep_a_retired_role_is_said_by_the_plan(database: Database) -> None:
    """Not only when DROP ROLE fails: default privileges in another database, temporary tables of open sessions."""
    ready(database)
    database.superuser("CREATE ROLE old", "GRANT old TO master WITH ADMIN OPTION")
    assert database.plan(RETIRED).result == "changes"
    with database.server.superuser("postgres") as connection:
        connection.run("ALTER DEFAULT PRIVILEGES FOR ROLE old GRANT SELECT ON TABLES TO PUBLIC")
        blocked = database.plan(RETIRED).plan.blocked
        assert "database postgres" in str(blocked)
        connection.run("DROP OWNED BY old")
    with database.server.superuser() as connection:
        connection.run("GRANT TEMPORARY ON DATABASE app TO old")
        connection.run("SET ROLE old")
        connection.run("CREATE TEMPORARY TABLE mine (id int)")
        blocked = database.plan(RETIRED).plan.blocked
        assert "mine" in str(blocked)
        with pytest.raises(ActionError) as caught:
            database.apply(RETIRED)
        assert caught.value.report.result == "blocked"
    assert database.apply(RETIRED).result == "applied"
    assert database.superuser("SELECT FROM pg_roles WHERE rolname = 'old'") == []


# --- Whose grant it is --------------------------------------------------------------------------


def test_roles_that_grant_to_each_other_lose_it(database: Database) -> None:
    ready(database)
    database.master("CREATE ROLE one", "CREATE ROLE two")
    # The owner's grants end, and the circle holds itself.
    database.superuser(
        "SET ROLE migrator",
        "GRANT CREATE ON SCHEMA app TO one, two WITH GRANT OPTION",
        "SET ROLE one",
        "GRANT CREATE ON SCHEMA app TO two WITH GRANT OPTION",
        "SET ROLE two",
        "GRANT CREATE ON SCHEMA app TO one WITH GRANT OPTION",
    )
    acl = "SELECT nspacl::text FROM pg_namespace WHERE nspname = 'app'"
    assert "one=C*/two" in str(database.superuser(acl))
    assert database.apply().result == "applied"
    assert "two" not in str(database.superuser(acl))
    assert database.check().result == "passed"


def test_another_role_with_a_grant_option_is_not_taken_for_the_owner(database: Database) -> None:
    ready(database)
    database.master("CREATE ROLE keeper")
    database.superuser(
        "CREATE TABLE public.kept (id int)",
        "ALTER TABLE public.kept OWNER TO keeper",
        "SET ROLE keeper",
        "GRANT SELECT (id) ON public.kept TO migrator WITH GRANT OPTION",
        "RESET ROLE",
        "CREATE TABLE app.more (id int)",
        "ALTER TABLE app.more OWNER TO master",  # to change that takes migrator's role
    )
    assert database.apply().result == "applied"
    assert database.check().result == "passed"


def test_an_option_to_grant_on_public_is_ended(database: Database) -> None:
    ready(database)
    database.master("GRANT CREATE ON SCHEMA public TO app WITH GRANT OPTION")
    assert database.apply().result == "applied"
    assert database.check().result == "passed"


# --- What the master cannot do ------------------------------------------------------------------


def test_what_cannot_be_repaired_is_said_and_the_rest_is_done(database: Database) -> None:
    if database.server.version < 16:
        pytest.skip("before 16 CREATEROLE was enough")
    database.superuser("CREATE ROLE app LOGIN CREATEDB")  # the master has no ADMIN OPTION on it
    report = database.plan()
    assert report.result == "blocked"
    assert report.plan.changes
    with pytest.raises(ActionError) as caught:
        database.apply()
    blocked = caught.value.report.plan.blocked
    assert caught.value.report.result == "blocked"
    assert {item.object for item in blocked} >= {"role app"}
    assert database.can("readonly", "SELECT current_schema")
    remedy = next(i.remedy for i in blocked if "ADMIN OPTION" in i.remedy)
    database.superuser(remedy.partition("runs: ")[2])
    assert database.apply().result == "applied"
    assert database.check().result == "passed"


def test_attributes_beyond_the_master_are_said(database: Database) -> None:
    ready(database)
    database.superuser("ALTER ROLE app SUPERUSER")
    report = database.failed_check()
    assert "SUPERUSER" in str(report.plan.blocked)
    assert any("SUPERUSER" in p for proof in report.proofs for p in proof.problems)


def test_what_only_its_grantor_can_revoke_is_said(database: Database) -> None:
    """Since 16, who granted a membership must revoke it; before, any CREATEROLE could."""
    ready(database)
    database.superuser("GRANT rds_superuser TO app", "GRANT pg_monitor TO readonly")
    assert "rds_superuser" in str(as_dict(database.failed_check()))
    if database.server.version < 16:
        assert database.apply().result == "applied"
        return
    with pytest.raises(ActionError) as caught:
        database.apply()
    assert "only rdsadmin, who granted it, can revoke it" in caught.value.report.summary
    database.superuser("REVOKE pg_monitor FROM readonly")
    with pytest.raises(ActionError, match=r"granted by rdsadmin.*although the server took"):
        database.apply()
    database.superuser("REVOKE rds_superuser FROM app")
    assert database.check().result == "passed"


def test_the_master_may_not_manage_itself(database: Database) -> None:
    desired = DESIRED | {"roles": {"master": {"profile": "owner"}}}
    with pytest.raises(ActionError, match="master user cannot be"):
        database.apply(desired)


def test_extensions_are_installed_and_usable(database: Database) -> None:
    # hstore is trusted, and installed in the first schema; plpgsql has a schema of its own.
    query = "SELECT FROM pg_available_extensions WHERE name = 'hstore'"
    name = "hstore" if database.superuser(query) else "plpgsql"
    database.superuser("DROP EXTENSION plpgsql")
    desired = DESIRED | {"extensions": [name, "plpgsql"][: 2 if name == "hstore" else 1]}
    assert database.apply(desired).result == "applied"
    assert database.apply(desired).result == "nothing to do"
    assert database.check(desired).result == "passed"
    if name == "hstore":
        database.as_role("migrator", "CREATE TABLE with_it (x hstore)")
        database.as_role("app", "SELECT x -> 'a' FROM with_it")


def test_an_unknown_extension_is_said_before_anything_is_done(database: Database) -> None:
    with pytest.raises(ActionError) as caught:
        database.apply(DESIRED | {"extensions": ["no_such_thing"]})
    assert "no_such_thing" in str(caught.value.report.plan.blocked)


def test_a_report_fits_with_many_tables(newest_database: Database) -> None:
    ready(newest_database)
    newest_database.as_role(
        "migrator",
        "DO $$BEGIN FOR i IN 1..3000 LOOP EXECUTE 'CREATE TABLE app.t' || i || ' (id int)'; END LOOP; END$$",
        "REVOKE SELECT ON ALL TABLES IN SCHEMA app FROM app, readonly",
    )
    report = newest_database.plan()
    assert len(json.dumps(as_dict(report))) < 1_000_000
    assert len(report.plan.changes) < 30
    assert newest_database.apply().result == "applied"


def test_reserved_roles_are_left_alone(database: Database) -> None:
    ready(database)
    database.superuser("GRANT SELECT ON app.orders TO rds_superuser")
    assert database.apply().result == "nothing to do"


def test_statements_of_others_cannot_reach_the_manager(database: Database) -> None:
    """A function or operator in a schema of the search_path must not run as the master."""
    ready(database)
    database.superuser(
        "CREATE TABLE public.stolen (who text)",
        "CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO public.stolen VALUES (current_user); RETURN '1'; END$$",
        "ALTER ROLE master SET search_path = public, pg_catalog",
    )
    try:
        database.plan()
        with pytest.raises(ActionError):
            database.check(DESIRED | {"schemas": ["missing"]})
        assert database.superuser("SELECT * FROM public.stolen") == []
    finally:
        database.superuser("ALTER ROLE master RESET search_path")


def test_errors_carry_the_state(database: Database) -> None:
    with pytest.raises(StatementError) as caught:
        database.master("SELECT 1/0")
    assert caught.value.state == "22012"
