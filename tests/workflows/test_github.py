"""GitHub's rules about runs, on workflows of a few lines: what starts, what waits, what is cancelled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.workflows.github import InvalidWorkflow, Refused, passes, rows
from tests.workflows.server import GitHub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Small = Callable[..., GitHub]
ECHO = "runs-on: ubuntu-24.04\n    steps: [{run: 'true'}]"


def test_paths_and_branches_are_matched_as_github_does() -> None:
    assert passes(["infra/network/main.tf"], ["infra/**"])
    assert not passes(["infra/network/main.tf"], ["infra/*"])
    assert not passes(["docs/a.md"], ["**", "!docs/**"])
    assert passes(["docs/a.md", "app/x.py"], ["**", "!docs/**"])
    assert passes(["releases/10"], ["releases/**"])


def test_a_matrix_has_rows_and_an_empty_one_is_refused() -> None:
    assert rows({"a": [1, 2], "b": [3]}) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
    assert rows({"a": [1, 2], "exclude": [{"a": 1}], "include": [{"a": 2, "c": 4}, {"a": 9}]}) == [
        {"a": 2, "c": 4},
        {"a": 9},
    ]
    with pytest.raises(InvalidWorkflow, match="does not contain any values"):
        rows({"include": []})


def test_needs_conditions_outputs_and_a_failure(small: Small) -> None:
    github = small(
        {
            "ci.yml": f"""
name: CI
on: push
jobs:
  one:
    runs-on: ubuntu-24.04
    outputs: {{list: "${{{{ steps.x.outputs.list }}}}"}}
    steps: [{{id: x, run: "echo 'list=[\\"a\\",\\"b\\"]' >> $GITHUB_OUTPUT"}}]
  each:
    needs: one
    strategy:
      matrix: {{name: "${{{{ fromJSON(needs.one.outputs.list) }}}}"}}
    runs-on: ubuntu-24.04
    steps: [{{run: 'test "${{{{ matrix.name }}}}" = a'}}]
  after:
    needs: each
    {ECHO}
  told:
    needs: [one, each]
    if: ${{{{ !cancelled() && needs.each.result == 'failure' }}}}
    {ECHO}
  last:
    needs: told
    {ECHO}
"""
        }
    )
    [run] = github.repository.push({"x": "1"})
    results = run.results()
    assert results["one"] == "success"
    assert results["each (b)"] == "failure"
    assert results["after"] == "skipped"
    assert results["told"] == "success"
    assert results["last"] == "skipped", "success() looks at every job before it"
    assert run.conclusion == "failure"
    assert "exit status 1" in str(run), "the failing step's last lines are shown"


def test_an_approval_and_the_branch_of_an_environment(small: Small) -> None:
    text = f"name: CD\non: push\njobs:\n  deploy:\n    environment: prod\n    {ECHO}\n"
    github = small({"cd.yml": text})
    administrator = github.tokens["person-ada"]
    assert administrator.job is None
    from tests.workflows.github import Environment

    github.repository.environments["prod"] = Environment(
        "prod", 1, ["ada"], True, ["main"], {"custom_branch_policies": True}
    )
    [run] = github.repository.push({"x": "1"}, actor="eve")
    assert run.job("deploy").status == "waiting"
    with pytest.raises(Refused, match="no reviewer"):
        github.repository.approve("prod", actor="eve")
    [again] = github.repository.approve("prod", actor="ada")
    assert again.conclusion == "success"
    [own] = github.repository.push({"x": "2"}, actor="ada")
    with pytest.raises(Refused, match="Self-review"):
        github.repository.approve("prod", actor="ada")
    github.repository.reject("prod")
    assert own.conclusion == "failure"
    [branch] = github.repository.push({"x": "3"}, branch="else")
    assert "not allowed to deploy to prod" in str(branch)


def test_an_environment_that_nobody_made_protects_nothing(small: Small) -> None:
    github = small({"cd.yml": f"name: CD\non: push\njobs:\n  deploy:\n    environment: prod\n    {ECHO}\n"})
    [run] = github.repository.push({"x": "1"})
    assert run.conclusion == "success"
    assert github.repository.environments["prod"].reviewers == []


@pytest.mark.parametrize("holds", [True, False])
def test_of_those_that_wait_for_a_group_only_the_newest_is_kept(small: Small, holds: bool) -> None:
    text = f"name: CD\non: push\nconcurrency: {{group: cd}}\njobs:\n  deploy:\n    environment: prod\n    {ECHO}\n"
    github = small({"cd.yml": text}, approval_holds_group=holds)
    from tests.workflows.github import Environment

    github.repository.environments["prod"] = Environment("prod", 1, ["ada"])
    runs = [github.repository.push({"x": str(number)})[0] for number in range(3)]
    assert [run.status for run in runs] == ["in_progress", "completed", "pending"]
    assert runs[1].conclusion == "cancelled"
    github.repository.approve("prod")
    assert runs[0].conclusion == "success"
    assert runs[2].job("deploy").status == "waiting"


def test_cancel_in_progress_and_a_queue_of_all(small: Small) -> None:
    def text(more: str) -> str:
        head = f"name: CD\non: push\nconcurrency: {{group: cd, {more}}}\n"
        return f"{head}jobs:\n  deploy:\n    environment: prod\n    {ECHO}\n"

    from tests.workflows.github import Environment

    github = small({"cd.yml": text("cancel-in-progress: true")})
    github.repository.environments["prod"] = Environment("prod", 1, ["ada"])
    runs = [github.repository.push({"x": str(number)})[0] for number in range(2)]
    assert [run.conclusion for run in runs] == ["cancelled", ""]
    github.repository.cancel(runs[1])
    github.repository.commit("main", {".github/workflows/cd.yml": text("queue: max")})
    queued = [github.repository.push({"x": f"{number} more"})[0] for number in range(3)]
    assert [run.status for run in queued] == ["in_progress", "pending", "pending"]


def test_a_running_job_is_stopped_and_what_always_runs_does(small: Small) -> None:
    import threading
    import time

    text = f"""
name: CD
on: push
jobs:
  long: {{runs-on: ubuntu-24.04, steps: [{{run: 'sleep 60'}}]}}
  always:
    needs: long
    if: always()
    {ECHO}
  next:
    needs: long
    {ECHO}
"""
    github = small({"cd.yml": text})

    def stop() -> None:
        while not github.repository.running:
            time.sleep(0.05)
        time.sleep(0.5)
        github.repository.cancel(github.repository.runs[0], settle=False)

    thread = threading.Thread(target=stop)
    thread.start()
    [run] = github.repository.push({"x": "1"})
    thread.join()
    assert run.results() == {"long": "cancelled", "always": "success", "next": "cancelled"}
    assert run.conclusion == "cancelled"


CALLED = """
name: Called
on:
  workflow_call:
    inputs: {to: {type: string, required: true}}
    outputs: {said: {value: "${{ jobs.inner.outputs.said }}"}}
permissions: {}
jobs:
  inner:
    name: Inner
    permissions: {issues: write}
    runs-on: ubuntu-24.04
    outputs: {said: "${{ steps.x.outputs.said }}"}
    steps: [{id: x, run: 'echo "said=to ${{ inputs.to }}" >> $GITHUB_OUTPUT'}]
"""


def calling(permissions: str) -> str:
    return f"""
name: Calls
on: push
permissions: {{}}
jobs:
  call:
    name: Call
    permissions: {permissions}
    uses: ./.github/workflows/called.yml
    with: {{to: dev}}
  after:
    needs: call
    runs-on: ubuntu-24.04
    steps: [{{run: 'test "${{{{ needs.call.outputs.said }}}}" = "to dev"'}}]
"""


def test_a_called_workflow_gets_inputs_gives_outputs_and_no_more_permissions(small: Small) -> None:
    github = small({"called.yml": CALLED, "calls.yml": calling("{issues: write}")})
    [run] = github.repository.push({"x": "1"})
    assert run.results() == {"Call / Inner": "success", "after": "success"}, str(run)
    github.repository.commit("main", {".github/workflows/calls.yml": calling("{issues: read}")})
    [refused] = github.repository.push({"x": "2"})
    assert refused.conclusion == "startup_failure"
    assert "is requesting 'issues: write', but is only allowed 'issues: read'" in refused.message


def test_run_again(small: Small) -> None:
    text = f"""
name: CD
on: push
jobs:
  one:
    {ECHO}
  two: {{needs: one, runs-on: ubuntu-24.04, steps: [{{run: 'test "$GITHUB_RUN_ATTEMPT" = 2'}}]}}
"""
    github = small({"cd.yml": text})
    [run] = github.repository.push({"x": "1"})
    assert run.conclusion == "failure"
    first = run.job("one")
    github.repository.rerun(run, failed=True)
    assert run.conclusion == "success", str(run)
    assert run.job("one") is first, "what succeeded is not run again"
    github.repository.rerun(run)
    assert run.job("one") is not first
    assert run.conclusion == "failure", "the third attempt"


def test_a_pull_request_with_conflicts_starts_nothing_and_a_rule_keeps_it_from_main(small: Small) -> None:
    text = f"name: CI\non: pull_request\njobs:\n  required:\n    name: Required\n    {ECHO}\n"
    github = small({"ci.yml": text})
    repository = github.repository
    rule = {"type": "required_status_checks", "parameters": {"required_status_checks": [{"context": "Required"}]}}
    repository.rulesets[1] = {"name": "main", "rules": [rule]}
    pull = repository.open_pull_request("one", {"README.md": "one\n"})
    repository.push({"README.md": "two\n"})
    count = len(repository.runs)
    repository.label(pull, "bug")
    assert len(repository.runs) == count
    with pytest.raises(Refused, match="conflicts"):
        repository.merge(pull)
    other = repository.open_pull_request("two", {"other": "x\n"}, settle=False)
    with pytest.raises(Refused, match="Required"):
        repository.merge(other)
    repository.settle([])
    repository.merge(other)
    assert repository.file("main", "other") == "x"


def test_a_branch_that_is_behind_is_updated_before_it_is_merged_and_not_with_conflicts(small: Small) -> None:
    repository = small(
        {"ci.yml": f"name: CI\non: pull_request\njobs:\n  one:\n    name: Required\n    {ECHO}\n"}
    ).repository
    checks = {"required_status_checks": [{"context": "Required"}], "strict_required_status_checks_policy": True}
    repository.rulesets[1] = {"name": "main", "rules": [{"type": "required_status_checks", "parameters": checks}]}
    behind = repository.open_pull_request("one", {"one": "1\n"})
    conflicting = repository.open_pull_request("two", {"README.md": "two\n"})
    repository.push({"README.md": "main\n"})
    with pytest.raises(Refused, match="out of date"):
        repository.merge(behind)
    with pytest.raises(Refused, match="conflicts"):
        repository.update_branch(conflicting)
    old = behind.head
    [run] = repository.update_branch(behind)
    assert run.head_sha == behind.head != old
    repository.merge(behind)
    assert repository.file("main", "one") == "1"


def test_an_error_of_an_expression_fails_the_job_by_name(small: Small) -> None:
    text = f"name: CI\non: push\njobs:\n  one:\n    if: needs.other.outputs.x ==\n    {ECHO}\n"
    github = small({"ci.yml": text})
    [run] = github.repository.push({"x": "1"})
    assert run.conclusion == "failure"
    assert "unexpected" in run.message


def test_a_workflow_that_waits_for_another_one(small: Small) -> None:
    first = f"name: CI\non: push\njobs:\n  one:\n    {ECHO}\n"
    second = """
name: CD
on: {workflow_run: {workflows: [CI], types: [completed], branches: [main]}}
jobs:
  one:
    if: github.event.workflow_run.conclusion == 'success'
    runs-on: ubuntu-24.04
    steps: [{run: 'test "${{ github.event.workflow_run.head_branch }}" = main'}]
"""
    github = small({"ci.yml": first, "cd.yml": second})
    github.repository.push({"x": "1"})
    assert [(run.name, run.event, run.conclusion) for run in github.repository.runs] == [
        ("CI", "push", "success"),
        ("CD", "workflow_run", "success"),
    ]
    github.repository.push({"x": "2"}, branch="other")
    assert len(github.repository.runs) == 3
