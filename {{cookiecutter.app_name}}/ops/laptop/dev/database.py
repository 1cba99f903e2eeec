"""PostgreSQL with the roles that the role manager makes and the tables that the migrations make.

`python -m ops.laptop.dev.database` runs the server with its roles by itself: the database of compose.yaml.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops.laptop.dev import ROOT, extensions, inherited, settings
from ops.laptop.postgres import LocalPostgres
from ops.laptop.postgres.found import ServerNotFoundError, StartFailedError
from ops.laptop.secret_file import NotUsableError

LACKS = (
    "Here runs PostgreSQL {version} of {bin}, which has no more extensions. Your distribution's, such as Debian's package postgresql, "
    "has those of PostgreSQL itself and is preferred where they are needed; a database that is kept in ops/laptop/data has to go "
    "before it is of another version."
)


def create_roles(server: LocalPostgres) -> None:
    """Have the role manager create the roles of project.yaml. Raises NotUsableError with its words."""
    done = subprocess.run(
        [sys.executable, "-m", "ops.laptop.roles", "apply"],
        cwd=ROOT,
        env={**inherited(), "DATABASE_URL": server.dsn()},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        said = f"The role manager failed:\n{done.stdout}{done.stderr}"
        if "this server does not offer it" in said:
            said += f"\n{LACKS.format(version=server.version, bin=server.installation.bin)}"
        raise NotUsableError(said)


def variables(server: LocalPostgres, *, owner: bool = False) -> dict[str, str]:
    """Return what the task definition says about the database, for this server.

    `owner` is for migrations: the role that owns the schemas.
    """
    return {
        "DB_HOST": server.names[0],
        "DB_PORT": str(server.port),
        "DB_NAME": server.database,
        "DB_USER": user(owner=owner),
        "DB_SCHEMA": schema(),
        "DB_CA_BUNDLE": str(server.ca_file),
    }


def schema() -> str:
    """Return the schema of the tables: the first one of project.yaml."""
    return str(_declared()["schemas"][0])


def user(*, owner: bool = False) -> str:
    """Return the role to log in as, chosen as infra/service chooses it. Raises NotUsableError where there is none."""
    roles = _declared()["roles"]
    profile = "owner" if owner else "read-write"
    names = [name for name, role in roles.items() if role["profile"] == profile]
    if not names:
        raise NotUsableError(f"project.yaml: database_roles.roles: none has the profile {profile}.")
    return "app" if "app" in names else str(names[0])


def _declared() -> Any:
    return settings()["database_roles"]


def migrate(server: LocalPostgres, environment: dict[str, str]) -> None:
    """Apply the migrations as the role that owns the schema. Raises NotUsableError below their words."""
    migrator = {**inherited(), **environment, **variables(server, owner=True)}
    if subprocess.run([sys.executable, "-m", "app.migrate"], cwd=ROOT, env=migrator, check=False).returncode != 0:
        raise NotUsableError("The migrations failed: correct the one that is named above, in app/migrations.")


@contextlib.contextmanager
def provide(directory: Path | None, environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield where a database is that is ready for the service."""
    try:
        with LocalPostgres(data=directory / "postgres" if directory else None, extensions=extensions()) as server:
            create_roles(server)
            migrate(server, environment)
            yield variables(server)
    except (ServerNotFoundError, StartFailedError) as error:
        raise NotUsableError(str(error)) from error


def main() -> int:
    """Serve at the name and port of compose.yaml, with the state in /data, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ready = Path("/tmp/ready")  # noqa: S108 - compose.yaml's health check looks for it
    ready.unlink(missing_ok=True)
    names = (os.environ.get("NAME") or "database", "localhost")
    with LocalPostgres(
        data=Path(os.environ.get("DATA") or "/data"),
        host="0.0.0.0",  # noqa: S104 - other containers come to it
        port=5432,
        names=names,
        extensions=extensions(),
    ) as server:
        create_roles(server)
        ready.touch()
        signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
