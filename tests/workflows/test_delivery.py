"""From a merge to production, and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.workflows.conftest import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

Delivered = Callable[..., World]
OUTPUT = '\noutput "more" {\n  value = "x"\n}\n'


def test_a_merge_goes_to_dev_and_staging_and_waits_for_prod(delivered: Delivered) -> None:
    import time
    here = delivered()
    repository = here.repository
    pull = repository.open_pull_request("net", {"infra/network/main.tf": lambda text: text + OUTPUT})
    for run in repository.runs: print(run)
    t=time.time()
    runs = repository.merge(pull)
    print(time.time()-t)
    for run in runs: print(run)
    print(here.github.refused)
    repository.approve("prod")
    for run in runs: print(run)
    for run in repository.runs: print(run.name, run.conclusion, run.attempt)
    print([x["body"][:2000] for x in repository.comments.values()])
    print(here.aws.ask("tasks"))
    for j in runs[0].jobs(): print(j.name, j.outcome.summary[:1500])
