"""The roles as a first release meets them: it has their names, a token and the driver, and names no schema."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator

import pg8000.native
import pytest

from role_manager.tests.conftest import DESIRED, Database


@pytest.fixture(params=["app", "Orders & more"])
def schema(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def session(database: Database, role: str) -> Iterator[pg8000.native.Connection]:
    server = database.server
    trusted = ssl.create_default_context(cafile=server.ca_file)
    with pg8000.native.Connection(
        role,
        host="localhost",
        port=server.port,
        database=server.database,
        password=server.iam_token(role),
        ssl_context=trusted,
    ) as found:
        yield found


def test_the_owner_makes_a_table_that_the_others_find(database: Database, schema: str) -> None:
    database.apply(DESIRED | {"schemas": [schema]})
    with (
        session(database, "migrator") as migrator,
        session(database, "app") as app,
        session(database, "readonly") as reader,
    ):
        for connection in (migrator, app, reader):
            assert connection.run("SELECT current_schemas(false)") == [[[schema]]]
        migrator.run("CREATE TABLE releases (number serial PRIMARY KEY, made timestamptz DEFAULT now())")
        assert app.run("INSERT INTO releases DEFAULT VALUES RETURNING number") == [[1]]
        for connection in (app, reader):
            assert connection.run("SELECT number FROM releases") == [[1]]
        with pytest.raises(pg8000.native.DatabaseError, match="42501"):
            reader.run("INSERT INTO releases DEFAULT VALUES")
        migrator.run("ALTER TABLE releases ADD COLUMN note text DEFAULT 'a second release'")
        assert app.run("SELECT note FROM releases") == [["a second release"]]
        migrator.run("DROP TABLE releases")
    assert database.check(DESIRED | {"schemas": [schema]}).result == "passed"
