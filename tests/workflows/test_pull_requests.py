"""Pull requests: what runs for which change, and who gets a token and credentials."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.workflows.conftest import World, ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def of(here: World, sha: str) -> dict[str, object]:
    return {run.name: run for run in here.repository.runs if run.head_sha == sha}


def test_infra(world: Callable[..., World]) -> None:
    here = world()
    r = here.repository
    r.paused = True
    here.first_push()
    r.paused = False
    r.runs.clear(); r.groups.clear()
    print(here.make("up", "ENV=dev")[-1500:])
    import time
    t = time.time()
    pull = r.open_pull_request("net", {"infra/network/main.tf": lambda text: text + "\noutput \"more\" {\n  value = \"x\"\n}\n"})
    for run in r.runs: print(run)
    print(r.comments, time.time()-t)
    print(here.github.refused)
    r.merge(pull)
    for run in r.runs: print(run)
    print(here.github.refused)
    print(here.aws.ask("tasks"))
