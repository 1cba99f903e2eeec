"""A second PostgreSQL, for what must not be done to the one that the shared service uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.laptop.dev.database import create_roles, migrate, variables
from ops.laptop.postgres import LocalPostgres


@pytest.fixture(scope="session")
def server() -> Iterator[LocalPostgres]:
    with LocalPostgres() as running:
        create_roles(running)
        yield running


@pytest.fixture(scope="session")
def own_environment(environment: dict[str, str], server: LocalPostgres) -> dict[str, str]:
    """The environment of the service, with the second server, whose tables exist."""
    migrate(server, environment)
    return {**environment, **variables(server)}
