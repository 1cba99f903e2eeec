"""From a merge to production, and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.workflows.conftest import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Delivered = Callable[..., World]


def test_a_merge_goes_to_dev_and_staging_and_waits_for_prod(delivered: Delivered) -> None:
    here = delivered()
    repository = here.repository
    pull = repository.open_pull_request("change", {"app/more.py": '"""More."""\n'})
    for run in repository.runs: print(run)
    runs = repository.merge(pull)
    for run in runs: print(run)
    print(here.github.refused)
    repository.approve("prod")
    for run in runs: print(run)
    print([x["body"][:2000] for x in repository.comments.values()])
