"""PostgreSQL with the roles that the role manager makes and the tables that the migrations make."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from local.dev import ROOT
from local.postgres import LocalPostgres

ROLES = """
CREATE ROLE migrator LOGIN; GRANT rds_iam TO migrator; CREATE ROLE app LOGIN; GRANT rds_iam TO app;
CREATE SCHEMA app AUTHORIZATION migrator; GRANT USAGE ON SCHEMA app TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE migrator GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE migrator GRANT USAGE, SELECT ON SEQUENCES TO app
"""


def create_roles(server: LocalPostgres) -> None:
    """Create the roles of project.yaml."""
    with server.superuser(server.database) as connection:
        if connection.run("SELECT 1 FROM pg_roles WHERE rolname = 'migrator'"):
            return
        for statement in ROLES.split(";"):
            connection.run(statement)


def variables(server: LocalPostgres, user: str = "app") -> dict[str, str]:
    """Return what the task definition says about the database, for this server."""
    return {
        "DB_HOST": server.names[0],
        "DB_PORT": str(server.port),
        "DB_NAME": server.database,
        "DB_USER": user,
        "DB_SCHEMA": schema(),
        "DB_CA_BUNDLE": str(server.ca_file),
    }


def schema() -> str:
    """Return the schema of the tables: the first one of project.yaml."""
    roles = yaml.safe_load((ROOT / "project.yaml").read_text())["database_roles"]
    return str(roles["schemas"][0])


@contextlib.contextmanager
def provide(directory: Path | None, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield where a database is that is ready for the service."""
    with LocalPostgres(data=directory / "postgres" if directory else None) as server:
        create_roles(server)
        migrator = {**os.environ, **environment, **variables(server, "migrator")}
        subprocess.run([sys.executable, "-m", "app.migrate"], cwd=ROOT, env=migrator, check=True)
        yield variables(server)
