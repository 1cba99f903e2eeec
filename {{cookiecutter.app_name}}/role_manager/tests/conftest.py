"""Real PostgreSQL servers, one of each version per test process, emptied after each test.

Of the versions in POSTGRES_VERSIONS: a list such as `15 16 17 18` (when it is unset), or `newest` on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from ops.laptop.postgres import SUPERUSER, LocalPostgres, ServerNotFoundError, find_installation, installations
from role_manager.actions import ActionError, Manager, Report, apply, check, plan
from role_manager.connection import AuthenticationFailedError, Server, Timeouts, connect
from role_manager.desired import parse

# A person's AWS_PROFILE, PGSERVICE and the like are about other accounts and servers than the tests' own.
for variable in [name for name in os.environ if name.startswith(("AWS_", "PG"))]:
    del os.environ[variable]

ASKED = os.environ.get("POSTGRES_VERSIONS", "15 16 17 18")
HERE = sorted(found.version for found in installations())
VERSIONS = HERE[-1:] if ASKED == "newest" else [int(version) for version in ASKED.split()]
# A server that is not here is one skipped test (test_roles.py), and not one for each test of it.
TESTED = [version for version in VERSIONS if version in HERE] or [18]

# Each example of the properties takes about a second on a server; every night `thorough` looks further.
settings.register_profile("quick", max_examples=3)
settings.register_profile("thorough", max_examples=100)
settings.load_profile("quick")

DESIRED: dict[str, Any] = {
    "schemas": ["app"],
    "roles": {
        "migrator": {"profile": "owner", "connection_limit": 5},
        "app": {
            "profile": "read-write",
            "connection_limit": 20,
            "statement_timeout_seconds": 30,
        },
        "readonly": {"profile": "read-only", "statement_timeout_seconds": 300},
    },
}
_KEPT = {SUPERUSER, "rds_superuser", "rds_iam", "master"}


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Database:
    """A database to manage, and short words for what tests do with it."""

    def __init__(self, server: LocalPostgres) -> None:
        self.server = server
        self.log: list[dict[str, Any]] = []

    def manager(self, desired: dict[str, Any] | None = None, **timeouts: float) -> Manager:
        return Manager(
            Server("localhost", self.server.port, self.server.database, self.server.ca_file),
            lambda: (self.server.master, self.server.master_password),
            parse(desired or DESIRED),
            lambda message, **fields: self.log.append({"message": message, **fields}),
            Timeouts(**timeouts),
        )

    def plan(self, desired: dict[str, Any] | None = None) -> Report:
        return plan(self.manager(desired))

    def apply(self, desired: dict[str, Any] | None = None, **timeouts: float) -> Report:
        return apply(self.manager(desired, **timeouts))

    def check(self, desired: dict[str, Any] | None = None) -> Report:
        return check(self.manager(desired))

    def failed_check(self, desired: dict[str, Any] | None = None) -> Report:
        with pytest.raises(ActionError) as caught:
            self.check(desired)
        return caught.value.report

    def superuser(self, *statements: str) -> list[list[Any]]:
        rows: list[list[Any]] = []
        with self.server.superuser() as connection:
            for statement in statements:
                rows = connection.run(statement) or []
        return rows

    def master(self, *statements: str) -> list[list[Any]]:
        return self._run(self.server.master, self.server.master_password, statements)

    def as_role(self, role: str, *statements: str) -> list[list[Any]]:
        return self._run(role, self.server.iam_token(role), statements)

    def _run(self, user: str, password: str, statements: tuple[str, ...]) -> list[list[Any]]:
        rows: list[list[Any]] = []
        server = self.manager().server
        with connect(server, user, lambda: password, attempts=1) as session:
            for statement in statements:
                rows = session.run(statement)
        return rows

    def can(self, role: str, statement: str) -> bool:
        """Whether a role can log in and run a statement."""
        try:
            self.as_role(role, statement)
        except AuthenticationFailedError:
            return False
        except Exception as error:
            if getattr(error, "state", "") == "42501":
                return False
            raise
        return True

    def reset(self) -> None:
        self.server.front.forget()
        self.log.clear()
        name = self.server.database
        self.server.drop_database(name)
        with self.server.superuser("postgres") as connection:
            roles = connection.run("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'")
            gone = [role for (role,) in roles if role not in _KEPT]
            for role in gone:
                connection.run(f"DROP OWNED BY {quote(role)} CASCADE")
            for role, member, grantor in connection.run(
                "SELECT roleid::regrole::text, member::regrole::text, grantor::regrole::text"
                " FROM pg_auth_members WHERE NOT (member::regrole::text = ANY (:kept)"
                " OR roleid < 12000) OR (roleid::regrole::text = 'rds_superuser'"
                " AND member::regrole::text <> 'master')",
                kept=list(_KEPT),
            ):
                by = f" GRANTED BY {grantor}" if self.server.version >= 16 else ""
                connection.run(f"REVOKE {role} FROM {member}{by} CASCADE")
            if gone:
                connection.run(f"DROP ROLE {', '.join(map(quote, gone))}")
        self.server.create_database(name)


TABLES = (
    "CREATE TABLE app.orders (id int GENERATED ALWAYS AS IDENTITY, note text)",
    "CREATE VIEW app.notes AS SELECT note FROM app.orders",
    "CREATE SEQUENCE app.numbers",
    "CREATE FUNCTION app.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE app.mood AS ENUM ('good')",
)


def ready(database: Database) -> Database:
    """Apply, and let the owner make some objects, as migrations do."""
    database.apply()
    database.as_role("migrator", *TABLES)
    return database


def require(version: int) -> None:
    """Skip where the machine has no such server; 17 comes with no package that `make setup` installs."""
    try:
        find_installation(version)
    except ServerNotFoundError as error:
        if os.environ.get("REQUIRE_POSTGRES") and version != 17:
            raise
        pytest.skip(str(error))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test the servers of all versions, or where it asks for the newest, that one: it is started once."""
    if "server" in metafunc.fixturenames:
        versions = TESTED[-1:] if "newest" in metafunc.fixturenames else TESTED
        metafunc.parametrize("server", versions, ids=lambda version: f"pg{version}", indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[LocalPostgres]:
    require(request.param)
    with LocalPostgres(request.param) as found:
        yield found


@pytest.fixture(scope="session")
def newest(server: LocalPostgres) -> LocalPostgres:
    return server


@pytest.fixture
def database(server: LocalPostgres) -> Iterator[Database]:
    found = Database(server)
    yield found
    found.reset()


@pytest.fixture
def newest_database(newest: LocalPostgres) -> Iterator[Database]:
    found = Database(newest)
    yield found
    found.reset()


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    set_aws_environment(monkeypatch)


def set_aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that sign tokens; they are good for nothing else."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
