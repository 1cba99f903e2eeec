"""One environment for the session, with everything that the components of this service need."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from app.tests.service import Service, running
from ops.laptop.dev import laptop

# A person's AWS_PROFILE, PGSERVICE and the like are about other accounts and servers than the tests' own.
for variable in [name for name in os.environ if name.startswith(("AWS_", "PG"))]:
    del os.environ[variable]


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    with laptop() as variables:
        yield variables


@pytest.fixture(scope="session")
def shared_service(environment: dict[str, str]) -> Iterator[Service]:
    with running({**environment, "REQUEST_BYTES": "100000"}) as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Iterator[Service]:
    """A service that runs all the session; a test must leave it alive and without a 500."""
    before = len(shared_service.logged(level="error"))
    yield shared_service
    assert shared_service.ask("GET", "/health").status == 200
    assert shared_service.logged(level="error")[before:] == []
