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


def create_roles(server: LocalPostgres) -> None:
    """Have the role manager create the roles of project.yaml."""
    done = subprocess.run(
        [sys.executable, "-m", "role_manager", "apply"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": server.dsn()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"The role manager failed:\n{done.stdout}{done.stderr}")


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


def migrate(server: LocalPostgres, environment: dict[str, str]) -> None:
    """Apply the migrations as the role that owns the schema."""
    migrator = {**os.environ, **environment, **variables(server, "migrator")}
    subprocess.run([sys.executable, "-m", "app.migrate"], cwd=ROOT, env=migrator, check=True)


@contextlib.contextmanager
def provide(directory: Path | None, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield where a database is that is ready for the service."""
    with LocalPostgres(data=directory / "postgres" if directory else None) as server:
        create_roles(server)
        migrate(server, environment)
        yield variables(server)
