"""GitHub's side of a repository: pull requests, the workflows that an event starts, their jobs, and who waits for whom.

A test does what people do (`push`, `open_pull_request`, `merge`, `label`, `approve`, `dispatch`, `tick`); every
workflow that GitHub would start is started, and its jobs go to the runner when GitHub would give them to one. Sources:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
"""

from __future__ import annotations

import copy
import itertools
import re
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tests.workflows import expressions
from tests.workflows.expressions import ExpressionError

MAIN = "main"
ADMINISTRATOR = "ada"
DEPENDABOT = "dependabot[bot]"
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#permissions
SCOPES = (
    "actions artifact-metadata attestations checks contents deployments discussions id-token issues models packages"
    " pages pull-requests security-events statuses"
).split()
LEVELS = {"none": 0, "read": 1, "write": 2}
LABELS = {"ubuntu-latest", "ubuntu-24.04", "ubuntu-22.04", "ubuntu-24.04-arm", "ubuntu-22.04-arm", "ubuntu-slim"}
JOBS_AT_ONCE = 2
Permissions = dict[str, str]
# https://docs.github.com/en/actions/tutorials/authenticate-with-github_token: there is no permission `workflows`.
# The stand-in for checkout says with whose token a clone pushes.
NO_WORKFLOWS_BY_JOBS = """#!/bin/sh
[ "$PUSHED_WITH" = job ] || exit 0
while read -r old new ref; do
  for path in $(git diff --name-only refs/heads/main "$new" -- .github/workflows); do
    echo "refusing to allow a GitHub App to create or update workflow $path without workflows permission" >&2
    exit 1
  done
done
"""
Files = Mapping[str, str | Callable[[str], str] | None]


class Refused(Exception):
    """GitHub does not do what was asked; the text is GitHub's."""


class InvalidWorkflow(Exception):
    """A workflow file for which GitHub starts no job."""


@dataclass
class PullRequest:
    """A pull request."""

    number: int
    title: str
    branch: str
    author: str
    head_repository: str
    head: str = ""
    base: str = ""  # tip of main when the head was pushed
    labels: set[str] = field(default_factory=set)
    state: str = "open"
    merged_at: str | None = None
    merge_commit: str | None = None


@dataclass
class Environment:
    """A GitHub environment with its protection."""

    name: str
    id: int
    reviewers: list[str] = field(default_factory=list)
    prevent_self_review: bool = False
    branches: list[str] | None = None  # None: every branch may deploy
    policy: dict[str, bool] | None = None


@dataclass
class Outcome:
    """What a runner says of a job."""

    conclusion: str
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, str, str]] = field(default_factory=list)  # name, conclusion, output
    summary: str = ""

    def failure(self, lines: int = 25) -> str:
        """The last lines of the steps that failed."""
        failed = [(name, text) for name, conclusion, text in self.steps if conclusion == "failure"]
        return "\n".join(f"--- {name}\n" + "\n".join(text.splitlines()[-lines:]) for name, text in failed)


@dataclass(eq=False)
class Job:
    """One job as a runner gets it: its matrix values, inputs and needs are known."""

    run: Run
    scope: Scope
    node: Node
    name: str
    definition: dict[str, Any]
    contexts: dict[str, Any]
    permissions: Permissions
    id: int
    environment: str = ""
    url: Any = ""
    group: str = ""
    status: str = "queued"  # queued, pending (concurrency), waiting (approval), in_progress, completed
    outcome: Outcome = field(default_factory=lambda: Outcome(""))
    message: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    approved: bool = False

    @property
    def conclusion(self) -> str:
        """success, failure, cancelled or skipped; empty before the end."""
        return self.outcome.conclusion


@dataclass(eq=False)
class Node:
    """A job of a workflow file: one job, one for each row of its matrix, or a called workflow."""

    scope: Scope
    id: str
    definition: dict[str, Any]
    jobs: list[Job] = field(default_factory=list)
    called: Scope | None = None
    result: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    started: bool = False

    @property
    def needs(self) -> list[str]:
        """The nodes that end before this one begins."""
        value = self.definition.get("needs", [])
        return [value] if isinstance(value, str) else list(value)


@dataclass(eq=False)
class Scope:
    """A workflow file in a run: the one that was started, or one that a job calls."""

    run: Run
    path: str
    workflow: dict[str, Any]
    inputs: dict[str, Any]
    granted: Permissions | None  # None: whatever the repository grants
    caller: Node | None = None
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What stands before the names of its jobs."""
        if self.caller is None:
            return ""
        name = str(self.caller.definition.get("name", self.caller.id))
        return f"{self.caller.scope.prefix}{name} / "


@dataclass(eq=False)
class Run:
    """A run of a workflow."""

    id: int
    number: int
    path: str
    event: str
    payload: dict[str, Any]
    ref: str
    sha: str
    head_sha: str
    head_branch: str
    actor: str
    inputs: dict[str, Any]
    fork: bool
    name: str = ""
    title: str = ""
    attempt: int = 1
    status: str = "queued"
    conclusion: str = ""
    message: str = ""
    cancelled: bool = False
    group: str = ""
    scope: Scope | None = None
    created: str = ""
    artifacts: dict[str, Path] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)  # conclusions of earlier attempts

    def nodes(self) -> Iterator[Node]:
        """Every node, those of called workflows after their caller."""
        scopes = [self.scope] if self.scope else []
        while scopes:
            for node in scopes.pop(0).nodes.values():
                yield node
                if node.called:
                    scopes.append(node.called)

    def jobs(self) -> list[Job]:
        """Every job that was made."""
        return [job for node in self.nodes() for job in node.jobs]

    def job(self, name: str) -> Job:
        """The job with this name, as GitHub shows it (`dev / Deploy`)."""
        found = [job for job in self.jobs() if job.name == name]
        assert found, f"{self.name} has no job {name!r}: {[job.name for job in self.jobs()]}\n{self}"
        return found[0]

    def results(self) -> dict[str, str]:
        """How each job ended, by its name; what was skipped has no more than its node's."""
        found = {job.name: job.conclusion or job.status for job in self.jobs()}
        for node in self.nodes():
            if not node.jobs and node.called is None and node.result:
                found[node.scope.prefix + str(node.definition.get("name", node.id))] = node.result
        return found

    def __str__(self) -> str:
        lines = [
            f"{self.name} ({self.event} {self.ref} {self.sha[:8]}): {self.conclusion or self.status} {self.message}"
        ]
        lines += [f"  {name}: {result}" for name, result in self.results().items()]
        for job in self.jobs():
            if job.conclusion == "failure":
                lines += [f"== {job.name} {job.message}", job.outcome.failure()]
        return "\n".join(lines)


@dataclass
class Group:
    """A concurrency group: who is in it and who waits."""

    holder: Run | Job | None = None
    waiting: list[Run | Job] = field(default_factory=list)


def levels(permissions: Any, default: Permissions) -> Permissions:
    """A `permissions:` value as scope -> level; what is not named is `none`."""
    if permissions is None:
        return dict(default)
    if permissions in ("read-all", "write-all"):
        return {scope: str(permissions).removesuffix("-all") for scope in SCOPES if scope != "id-token"} | {
            "id-token": "write" if permissions == "write-all" else "none"
        }
    unknown = set(permissions) - set(SCOPES)
    if unknown:
        raise InvalidWorkflow(f"Unexpected value {sorted(unknown)} of permissions")
    return {scope: str(permissions.get(scope, "none")) for scope in SCOPES}


def as_filter(pattern: str) -> re.Pattern[str]:
    """A pattern of `paths:` or `branches:`: `*` stops at a slash, `**` does not."""
    text = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.compile(text.replace(r"\?", ".?") + r"\Z")


def passes(names: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether one of the names is matched by a list of patterns, in which `!` takes back what came before."""
    for name in names:
        matched = False
        for pattern in wanted:
            if as_filter(pattern.removeprefix("!")).match(name):
                matched = not pattern.startswith("!")
        if matched:
            return True
    return False


def triggers(workflow: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """The events of a workflow file with their filters."""
    on = workflow.get("on", workflow.get(True))  # YAML 1.1 reads the key `on` as true
    if isinstance(on, str):
        return {on: {}}
    if isinstance(on, list):
        return {name: {} for name in on}
    return {name: ({"crons": filters} if name == "schedule" else filters or {}) for name, filters in (on or {}).items()}


class Repository:
    """A repository on GitHub: `OWNER/NAME` with a bare git repository and one work tree for its people."""

    def __init__(
        self,
        folder: Path,
        name: str,
        execute: Callable[[Job], Outcome],
        *,
        private: bool = True,
        code_security: bool = True,
        attestations: bool = True,
        has_reviewers: bool = True,
        approval_holds_group: bool = True,
    ) -> None:
        """Make an empty repository.

        `code_security`: GitHub Code Security is bought for a private repository. `attestations`, `has_reviewers`: its
        owner's plan has attestations, and required reviewers of environments. `approval_holds_group`: a job that waits
        for its approval is in its concurrency group already; GitHub's documents do not say, so scenarios that depend
        on it are run both ways.
        """
        self.full_name = name
        self.private = private
        self.code_security = code_security or not private
        self.attestations = attestations or not private
        self.has_reviewers = has_reviewers or not private
        self.approval_holds_group = approval_holds_group
        self.execute = execute
        self.folder = folder
        self.bare = folder / "origin.git"
        self.tree = folder / "tree"
        self.pulls: dict[int, PullRequest] = {}
        self.descriptions: dict[int, str] = {}
        self.actions_may_open_pull_requests = True
        self.issues: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.labels: set[str] = {"bug", "documentation", "duplicate", "enhancement"}
        self.environments: dict[str, Environment] = {}
        self.variables: dict[str, str] = {}
        self.environment_variables: dict[str, dict[str, str]] = {}
        self.secrets: dict[str, str] = {}
        self.rulesets: dict[int, dict[str, Any]] = {}
        self.deployments: list[dict[str, Any]] = []
        self.attested: list[dict[str, Any]] = []
        self.analyses: list[dict[str, Any]] = []
        self.caches: dict[str, Path] = {}
        self.runs: list[Run] = []
        self.groups: dict[str, Group] = {}
        self.default_permissions: Permissions = levels({"contents": "read", "packages": "read"}, {})
        self.ids = itertools.count(1000)
        self.numbers = itertools.count(1)
        self.lock = threading.RLock()
        self.running: dict[Future[Outcome], Job] = {}
        self.pool = ThreadPoolExecutor(JOBS_AT_ONCE)
        self.paused = False
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch", MAIN, self.bare], check=True)
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")
        self.git("config", "uploadpack.allowFilter", "true")
        hook = self.bare / "hooks" / "pre-receive"
        hook.write_text(NO_WORKFLOWS_BY_JOBS, encoding="utf-8")
        hook.chmod(0o755)

    def copy(self, folder: Path, execute: Callable[[Job], Outcome]) -> Repository:
        """The repository as it is, in another folder and with another runner; nothing may be under way."""
        assert not self._active()
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-R", str(self.folder), str(folder)], check=True)
        other = Repository(folder, self.full_name, execute)
        subprocess.run(["git", "remote", "set-url", "origin", str(other.bare)], cwd=other.tree, check=True)
        for name, value in vars(self).items():
            if name in ("pulls", "issues", "comments", "labels", "environments", "variables", "rulesets", "attested"):
                setattr(other, name, copy.deepcopy(value))
            elif name in ("private", "code_security", "attestations", "has_reviewers", "approval_holds_group"):
                setattr(other, name, value)
        other.numbers = itertools.count(1 + max([0, *self.pulls, *self.issues]))
        return other

    # ------------------------------------------------------------------ git

    def git(self, *arguments: str, tree: bool = False, author: str = ADMINISTRATOR, given: str | None = None) -> str:
        """What a git command prints, in the bare repository or in the people's work tree."""
        who = [f"user.name={author}", f"user.email={author}@users.noreply.github.com", "commit.gpgsign=false"]
        options = [word for setting in who for word in ("-c", setting)]
        process = subprocess.run(
            ["git", *options, *arguments],
            cwd=self.tree if tree else self.bare,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if process.returncode != 0:
            raise Refused(f"git {' '.join(arguments)}: {process.stderr}")
        return process.stdout.strip()

    def tip(self, branch: str = MAIN) -> str:
        """The newest commit of a branch."""
        return self.git("rev-parse", f"refs/heads/{branch}")

    def file(self, sha: str, path: str) -> str:
        """A file as it is in a commit."""
        return self.git("show", f"{sha}:{path}")

    def changed(self, before: str, after: str) -> list[str]:
        """Paths that differ between two commits."""
        return [path for path in self.git("diff", "--name-only", "--no-renames", before, after).split("\n") if path]

    def merge_base(self, one: str, other: str) -> str:
        """Where two commits parted."""
        return self.git("merge-base", one, other)

    def test_merge(self, pull: PullRequest) -> str | None:
        """`refs/pull/N/merge` made anew; None when there are conflicts."""
        try:
            tree = self.git("merge-tree", "--write-tree", f"refs/heads/{MAIN}", pull.head)
        except Refused:
            return None
        words = ["commit-tree", tree, "-p", self.tip(), "-p", pull.head, "-m", f"Merge {pull.head} into {self.tip()}"]
        merged = self.git(*words)
        self.git("update-ref", f"refs/pull/{pull.number}/merge", merged)
        return merged

    def commit(self, branch: str, files: Files, message: str = "Change", author: str = ADMINISTRATOR) -> str:
        """Commit in the work tree on a branch (made from main where it is new) and push it; the commit. No event."""
        if not self.tree.exists():
            subprocess.run(["git", "clone", "--quiet", self.bare, self.tree], check=True, capture_output=True)
        self.git("fetch", "--quiet", "origin", tree=True)
        there = self.git("for-each-ref", f"refs/heads/{branch}") != ""
        start = branch if there else MAIN
        if self.git("for-each-ref", f"refs/heads/{start}"):
            self.git("checkout", "--quiet", "-B", branch, f"refs/remotes/origin/{start}", tree=True)
        else:
            self.git("checkout", "--quiet", "-B", branch, tree=True)
        for name, content in files.items():
            path = self.tree / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else content(path.read_text(encoding="utf-8"))
            assert not path.exists() or path.read_text(encoding="utf-8") != text, f"{name} is not changed"
            path.write_text(text, encoding="utf-8")
        self.git("add", "--all", tree=True)
        self.git("commit", "--quiet", "--message", message, tree=True, author=author)
        self.git("push", "--quiet", "origin", f"{branch}:{branch}", tree=True)
        return self.tip(branch)

    # ------------------------------------------------------------------ what people do

    def push(
        self, files: Files | None = None, *, branch: str = MAIN, message: str = "Change", actor: str = ADMINISTRATOR
    ) -> list[Run]:
        """Commit and push to a branch; the runs that this started, settled."""
        before = self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}") or "0" * 40
        if files is not None:
            self.commit(branch, files, message, actor)
        with self.lock:
            runs = self._pushed(branch, before, actor)
            for pull in self.pulls.values():
                if pull.branch == branch and pull.state == "open":
                    pull.head, pull.base = self.tip(branch), self.tip()
                    self.git("update-ref", f"refs/pull/{pull.number}/head", pull.head)
                    runs += self._pull_event(pull, "synchronize", actor)
        return self.settle(runs)

    def import_tree(self, source: Path, *, started: bool = True) -> list[Run]:
        """The first push: a folder's content as main. Not `started`: it was long ago, what it started has ended."""
        if not self.tree.exists():
            subprocess.run(["git", "clone", "--quiet", self.bare, self.tree], check=True, capture_output=True)
        subprocess.run(["cp", "-R", f"{source}/.", str(self.tree)], check=True)
        if started:
            return self.push({}, message="Start")
        self.commit(MAIN, {}, "Start")
        return []

    def _pushed(self, branch: str, before: str, actor: str) -> list[Run]:
        after = self.tip(branch)
        payload = {
            "ref": f"refs/heads/{branch}",
            "before": before,
            "after": after,
            "created": not int(before, 16),
            "deleted": False,
            "forced": False,
            "commits": [{"id": after, "message": self.git("log", "-1", "--format=%B", after)}],
            "head_commit": {"id": after, "message": self.git("log", "-1", "--format=%B", after)},
        }
        changed = self.changed(before, after) if int(before, 16) else None
        return self._start("push", payload, f"refs/heads/{branch}", after, actor, branch=branch, changed=changed)

    def open_pull_request(
        self,
        branch: str,
        files: Files,
        *,
        title: str = "Change",
        author: str = "eve",
        fork: bool = False,
        labels: Iterable[str] = (),
        settle: bool = True,
    ) -> PullRequest:
        """Push a branch (of a fork) and open a pull request to main."""
        head = self.commit(branch, files, title, author)
        with self.lock:
            repository = f"{author}/{self.full_name.split('/')[1]}" if fork else self.full_name
            pull = PullRequest(next(self.numbers), title, branch, author, repository, head, self.tip(), set(labels))
            self.pulls[pull.number] = pull
            self.git("update-ref", f"refs/pull/{pull.number}/head", head)
            started = [] if fork else self._pushed(branch, "0" * 40, author)
            if fork:
                self.git("update-ref", "-d", f"refs/heads/{branch}")
            started += self._pull_event(pull, "opened", author)
        if settle:
            self.settle(started)
        return pull

    def _pull_event(self, pull: PullRequest, action: str, actor: str, **more: Any) -> list[Run]:
        merge = pull.merge_commit if pull.merged_at else self.test_merge(pull)
        if merge is None:
            return []  # GitHub runs nothing for a pull request with conflicts
        ref = f"refs/heads/{MAIN}" if pull.merged_at else f"refs/pull/{pull.number}/merge"
        payload = {"action": action, "number": pull.number, "pull_request": self.pull_data(pull), **more}
        changed = self.changed(self.merge_base(pull.base, pull.head), pull.head)
        return self._start(
            "pull_request",
            payload,
            ref,
            merge,
            actor,
            branch=MAIN,
            changed=changed,
            action=action,
            fork=pull.head_repository != self.full_name,
        )

    def label(self, pull: PullRequest, name: str, *, actor: str = ADMINISTRATOR) -> list[Run]:
        """Put a label on a pull request. A label that the repository does not have can't be chosen."""
        if name not in self.labels:
            raise Refused(f"the repository has no label {name!r}")
        with self.lock:
            pull.labels.add(name)
            runs = self._pull_event(pull, "labeled", actor, label={"name": name})
        return self.settle(runs)

    def unlabel(self, pull: PullRequest, name: str, *, actor: str = ADMINISTRATOR) -> list[Run]:
        """Take a label off a pull request."""
        with self.lock:
            pull.labels.remove(name)
            runs = self._pull_event(pull, "unlabeled", actor, label={"name": name})
        return self.settle(runs)

    def update_branch(self, pull: PullRequest, *, actor: str = ADMINISTRATOR) -> list[Run]:
        """Merge main into a pull request's branch, as GitHub's button does. Raises Refused where they conflict."""
        with self.lock:
            merge, before = self.test_merge(pull), pull.head
            if merge is None:
                raise Refused("This branch has conflicts that must be resolved")
            tree = self.git("rev-parse", f"{merge}^{{tree}}")
            message = f"Merge branch '{MAIN}' into {pull.branch}"
            pull.head = self.git("commit-tree", tree, "-p", before, "-p", self.tip(), "-m", message, author=actor)
            pull.base = self.tip()
            for ref in (f"refs/heads/{pull.branch}", f"refs/pull/{pull.number}/head"):
                self.git("update-ref", ref, pull.head)
            runs = self._pushed(pull.branch, before, actor) + self._pull_event(pull, "synchronize", actor)
        return self.settle(runs)

    def close(self, pull: PullRequest, *, actor: str = ADMINISTRATOR) -> list[Run]:
        """Close a pull request without a merge."""
        with self.lock:
            pull.state = "closed"
            runs = self._pull_event(pull, "closed", actor)
        return self.settle(runs)

    def merge(self, pull: PullRequest, *, actor: str = ADMINISTRATOR, settle: bool = True) -> list[Run]:
        """Squash a pull request into main. Raises Refused where a rule of main is not satisfied."""
        with self.lock:
            for rules in self.rulesets.values():
                for rule in rules["rules"]:
                    if rule["type"] == "required_status_checks":
                        self._checked(pull, rule["parameters"])
            merge = self.test_merge(pull)
            if merge is None:
                raise Refused("This branch has conflicts that must be resolved")
            before = self.tip()
            tree = self.git("rev-parse", f"{merge}^{{tree}}")
            commit = self.git("commit-tree", tree, "-p", before, "-m", f"{pull.title} (#{pull.number})", author=actor)
            self.git("update-ref", f"refs/heads/{MAIN}", commit)
            pull.state, pull.merged_at, pull.merge_commit = "closed", now(), commit
            runs = self._pushed(MAIN, before, actor) + self._pull_event(pull, "closed", actor)
        return self.settle(runs) if settle else runs

    def _checked(self, pull: PullRequest, parameters: Mapping[str, Any]) -> None:
        checks = self.checks(pull.head)
        for wanted in parameters["required_status_checks"]:
            if checks.get(wanted["context"]) not in ("success", "skipped", "neutral"):
                raise Refused(
                    f"Required status check {wanted['context']!r} is {checks.get(wanted['context'], 'expected')}"
                )
        if parameters.get("strict_required_status_checks_policy") and self.merge_base(pull.head, MAIN) != self.tip():
            raise Refused("Head branch is out of date")

    def checks(self, sha: str) -> dict[str, str]:
        """The newest conclusion of each check of a commit."""
        found: dict[str, str] = {}
        for run in self.runs:
            if run.head_sha == sha:
                found |= {name: result if result != "queued" else "" for name, result in run.results().items()}
        return found

    def approve(self, environment: str, *, actor: str = ADMINISTRATOR, settle: bool = True) -> list[Run]:
        """Let the jobs that wait for an environment start. Raises Refused for who may not."""
        protection = self.environments[environment]
        waiting = [
            job for run in self.runs for job in run.jobs() if job.status == "waiting" and job.environment == environment
        ]
        if not waiting:
            raise Refused(f"nothing waits for {environment}")
        if actor not in protection.reviewers:
            raise Refused(f"{actor} is no reviewer of {environment}")
        for job in waiting:
            if protection.prevent_self_review and job.run.actor == actor:
                raise Refused("Self-review is prevented")
            job.approved = True
            job.status = "queued"
        runs = list({job.run.id: job.run for job in waiting}.values())
        return self.settle(runs) if settle else runs

    def reject(self, environment: str) -> None:
        """Refuse the jobs that wait for an environment."""
        for run in self.runs:
            for job in run.jobs():
                if job.status == "waiting" and job.environment == environment:
                    self._end(job, Outcome("failure"), "rejected by a reviewer")
        self.settle([])

    def dispatch(
        self, workflow: str, *, ref: str = MAIN, actor: str = ADMINISTRATOR, settle: bool = True, **inputs: str
    ) -> list[Run]:
        """Start a workflow by hand."""
        with self.lock:
            sha = self.tip(ref)
            path = f".github/workflows/{workflow}"
            declared = triggers(self.workflow(sha, path))
            if "workflow_dispatch" not in declared:
                raise Refused(f"Workflow does not have 'workflow_dispatch' trigger: {workflow}")
            given = checked_inputs(declared["workflow_dispatch"].get("inputs") or {}, inputs, self.environments)
            payload = {
                "inputs": {name: expressions.text_of(value) for name, value in given.items()},
                "ref": f"refs/heads/{ref}",
                "workflow": path,
            }
            run = self._new("workflow_dispatch", path, payload, f"refs/heads/{ref}", sha, actor, sha, ref, inputs=given)
        return self.settle([run]) if settle else [run]

    def tick(self, workflow: str) -> list[Run]:
        """The time of a workflow's schedule has come."""
        with self.lock:
            sha, path = self.tip(), f".github/workflows/{workflow}"
            crons = triggers(self.workflow(sha, path))["schedule"]["crons"]
            run = self._new(
                "schedule", path, {"schedule": crons[0]["cron"]}, f"refs/heads/{MAIN}", sha, ADMINISTRATOR, sha, MAIN
            )
        return self.settle([run])

    def cancel(self, run: Run, *, settle: bool = True) -> None:
        """Cancel a run: what runs is stopped, what waits does not start."""
        self._cancel(run, "cancelled by hand")
        if settle:
            self.settle([])

    def rerun(self, run: Run, *, failed: bool = False, actor: str = ADMINISTRATOR, settle: bool = True) -> Run:
        """Run all jobs again, or those that failed and what depends on them, of the same commit."""
        assert run.status == "completed"
        with self.lock:
            before = run.scope
            run.earlier.append(run.conclusion)
            run.attempt += 1
            run.status, run.conclusion, run.cancelled, run.message = "queued", "", False, ""
            run.actor = actor
            self._load(run)
            if failed and before and run.scope:
                _keep(before, run.scope)
        if settle:
            self.settle([run])
        return run

    # ------------------------------------------------------------------ events

    def workflow(self, sha: str, path: str) -> dict[str, Any]:
        """A workflow file of a commit."""
        loaded: dict[str, Any] = yaml.safe_load(self.file(sha, path))
        return loaded

    def _start(
        self,
        event: str,
        payload: dict[str, Any],
        ref: str,
        sha: str,
        actor: str,
        *,
        branch: str,
        changed: list[str] | None,
        action: str = "",
        fork: bool = False,
    ) -> list[Run]:
        listed = self.git("ls-tree", "--name-only", sha, ".github/workflows/").split()
        started = []
        for path in listed:
            if not path.endswith((".yml", ".yaml")):
                continue
            filters = triggers(self.workflow(sha, path)).get(event)
            if filters is None:
                continue
            kinds = filters.get("types") or (["opened", "synchronize", "reopened"] if event == "pull_request" else [])
            if action and action not in ([kinds] if isinstance(kinds, str) else kinds):
                continue
            if "branches" in filters and not passes([branch], filters["branches"]):
                continue
            if "branches-ignore" in filters and passes([branch], filters["branches-ignore"]):
                continue
            if "paths" in filters and changed is not None and not passes(changed, filters["paths"]):
                continue
            kept_out = filters.get("paths-ignore")
            if kept_out and changed is not None and all(passes([name], kept_out) for name in changed):
                continue
            head = payload.get("pull_request", {}).get("head", {})
            started.append(
                self._new(
                    event, path, payload, ref, sha, actor, head.get("sha", sha), head.get("ref", branch), fork=fork
                )
            )
        return started

    def _new(
        self,
        event: str,
        path: str,
        payload: dict[str, Any],
        ref: str,
        sha: str,
        actor: str,
        head_sha: str,
        head_branch: str,
        *,
        inputs: dict[str, Any] | None = None,
        fork: bool = False,
    ) -> Run:
        common = {"repository": self.repository_data(), "sender": user(actor), "workflow": path}
        number = 1 + sum(run.path == path for run in self.runs)
        run = Run(
            next(self.ids),
            number,
            path,
            event,
            {**common, **payload},
            ref,
            sha,
            head_sha,
            head_branch,
            actor,
            inputs or {},
            fork,
        )
        run.created = now()
        self.runs.append(run)
        self._load(run)
        return run

    def _load(self, run: Run) -> None:
        """Read the workflow file, check it and find its concurrency group."""
        try:
            workflow = self.workflow(run.sha, run.path)
            run.name = str(workflow.get("name", run.path))
            run.scope = self._scope(run, run.path, workflow, run.inputs, None, None)
            contexts = self._contexts(run.scope)
            run.title = str(expressions.interpolate(workflow.get("run-name", run.name), contexts))
            concurrency = workflow.get("concurrency")
            if concurrency:
                self._enter(run, concurrency, contexts)
        except (InvalidWorkflow, ExpressionError) as error:
            run.status, run.conclusion, run.message = "completed", "startup_failure", str(error)

    def _scope(
        self,
        run: Run,
        path: str,
        workflow: dict[str, Any],
        inputs: dict[str, Any],
        granted: Permissions | None,
        caller: Node | None,
    ) -> Scope:
        scope = Scope(run, path, workflow, inputs, granted, caller)
        for name, definition in workflow["jobs"].items():
            scope.nodes[name] = Node(scope, name, definition)
        for node in scope.nodes.values():
            missing = set(node.needs) - set(scope.nodes)
            if missing:
                raise InvalidWorkflow(f"Job {node.id!r} depends on unknown job {sorted(missing)}")
            granted_here = self.permissions(node)
            if "uses" in node.definition:
                uses = str(node.definition["uses"])
                if not uses.startswith("./"):
                    raise InvalidWorkflow(f"{uses}: workflows of other repositories are not here")
                inner = self.workflow(run.sha, uses[2:])
                declared = triggers(inner).get("workflow_call")
                if declared is None:
                    raise InvalidWorkflow(f"{uses} has no trigger workflow_call")
                wrong = set(node.definition.get("with") or {}) - set(declared.get("inputs") or {})
                if wrong:
                    raise InvalidWorkflow(f"Invalid input, {sorted(wrong)} is not defined in the referenced workflow")
                self._scope(run, uses[2:], inner, {}, granted_here, node)  # its permissions are checked now
            elif "runs-on" not in node.definition:
                raise InvalidWorkflow(f"Job {node.id!r} has no runs-on")
        return scope

    def permissions(self, node: Node) -> Permissions:
        """What the token of a node's jobs may. Raises InvalidWorkflow for more than the calling job has.

        Read only for a pull request of a fork. Dependabot's token is read-only unless `permissions:` says more:
        https://docs.github.com/en/code-security/dependabot/troubleshooting-dependabot/troubleshooting-dependabot-on-github-actions
        """
        scope, run = node.scope, node.scope.run
        default = scope.granted if scope.granted is not None else self.default_permissions
        asked = levels(node.definition.get("permissions", scope.workflow.get("permissions")), default)
        if run.fork:
            asked = {
                name: "read" if level == "write" and name != "id-token" else level for name, level in asked.items()
            }
            asked["id-token"] = "none"
        if scope.granted is not None:
            for name, level in asked.items():
                if LEVELS[level] > LEVELS[scope.granted.get(name, "none")]:
                    raise InvalidWorkflow(
                        f"The nested job {node.id!r} is requesting '{name}: {level}', but is only allowed"
                        f" '{name}: {scope.granted.get(name, 'none')}'."
                    )
        return asked

    # ------------------------------------------------------------------ concurrency

    def _enter(self, thing: Run | Job, concurrency: Any, contexts: Mapping[str, Any]) -> None:
        value = expressions.interpolate(concurrency, contexts)
        options = value if isinstance(value, Mapping) else {"group": value}
        name = expressions.text_of(options["group"]).lower()
        if not name:
            return
        stops = expressions.truthy(options.get("cancel-in-progress"))
        keeps = options.get("queue") == "max"
        if stops and keeps:
            raise InvalidWorkflow("queue: max can't be combined with cancel-in-progress: true")
        group = self.groups.setdefault(name, Group())
        thing.group = name
        if group.holder is None:
            group.holder = thing
            return
        outer = thing.run if isinstance(thing, Job) else None
        if group.holder is outer:
            raise InvalidWorkflow(f"Canceling since a deadlock for concurrency group {name!r} was detected")
        thing.status = "pending"
        why = f"Canceling since a higher priority waiting request for {name} exists"
        for other in [] if keeps else list(group.waiting):
            self._cancel(other, why)
        if stops:
            self._cancel(group.holder, why)
        group.waiting.append(thing)

    def _leave(self, thing: Run | Job) -> None:
        group = self.groups.get(thing.group)
        if group is None:
            return
        if thing in group.waiting:
            group.waiting.remove(thing)
        if group.holder is thing:
            group.holder = group.waiting.pop(0) if group.waiting else None
            if group.holder is not None:
                group.holder.status = "queued"

    def _cancel(self, thing: Run | Job, why: str) -> None:
        if isinstance(thing, Run):
            thing.cancelled, thing.message = True, why
            for job in thing.jobs():
                self._cancel(job, why)
            if thing.status == "pending":
                self._finish(thing)
            return
        thing.message = thing.message or why
        thing.stop.set()
        if thing.status not in ("in_progress", "completed"):
            self._end(thing, Outcome("cancelled"), why)

    # ------------------------------------------------------------------ jobs

    def settle(self, started: list[Run]) -> list[Run]:
        """Go on until nothing runs and nothing can start; the given runs, for the caller's convenience."""
        while not self.paused:
            with self.lock:
                while any([self._advance(run) for run in self._active()]):  # noqa: C419 - all of them
                    pass
                running = list(self.running)
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            with self.lock:
                for future in done:
                    job = self.running.pop(future)
                    outcome = future.result()
                    if job.stop.is_set():
                        outcome.conclusion = "cancelled"
                    self._end(job, outcome)
        return started

    def _active(self) -> list[Run]:
        return [run for run in self.runs if run.status not in ("completed", "pending")]

    def _advance(self, run: Run) -> bool:
        """Start what can be started in a run; whether anything was."""
        moved = False
        run.status = "in_progress" if run.status == "queued" else run.status
        for node in list(run.nodes()):
            if not node.started and all(node.scope.nodes[need].result for need in node.needs):
                self._expand(node)
                moved = True
        for job in run.jobs():
            if job.status == "queued" and self._admit(job):
                moved = True
        for node in reversed(list(run.nodes())):
            moved = self._conclude(node) or moved
        if run.scope and all(node.result for node in run.scope.nodes.values()):
            self._finish(run)
            return True
        return moved

    def _contexts(self, scope: Scope, needs: Iterable[str] = ()) -> dict[str, Any]:
        run = scope.run
        return {
            "github": self.github_context(run),
            "inputs": scope.inputs,
            "vars": dict(self.variables),
            "needs": {
                name: {"result": scope.nodes[name].result, "outputs": scope.nodes[name].outputs} for name in needs
            },
        }

    def github_context(self, run: Run) -> dict[str, Any]:
        """The part of the context `github` that is known before a job."""
        pull = run.payload.get("pull_request", {})
        return {
            "event": run.payload,
            "event_name": run.event,
            "ref": run.ref,
            "ref_name": run.ref.split("/", 2)[2],
            "sha": run.sha,
            "head_ref": pull.get("head", {}).get("ref", ""),
            "base_ref": pull.get("base", {}).get("ref", ""),
            "repository": self.full_name,
            "repository_owner": self.full_name.split("/")[0],
            "workflow": run.name,
            "workflow_ref": f"{self.full_name}/{run.path}@{run.ref}",
            "run_id": str(run.id),
            "run_number": str(run.number),
            "run_attempt": str(run.attempt),
            "actor": run.actor,
            "triggering_actor": run.actor,
        }

    def _status(self, node: Node) -> dict[str, Callable[[], bool]]:
        """The functions of the status: all jobs before this one count, not only those that it names."""
        before: set[str] = set()
        rest = list(node.needs)
        while rest:
            name = rest.pop()
            if name not in before:
                before.add(name)
                rest += node.scope.nodes[name].needs
        results = [node.scope.nodes[name].result for name in before]
        cancelled = node.scope.run.cancelled
        return {
            "success": lambda: not cancelled and all(result == "success" for result in results),
            "failure": lambda: "failure" in results,
            "cancelled": lambda: cancelled,
            "always": lambda: True,
        }

    def _expand(self, node: Node) -> None:
        """Decide whether a node runs, and make its jobs."""
        node.started = True
        scope, run = node.scope, node.scope.run
        contexts = self._contexts(scope, node.needs)
        try:
            if not expressions.condition(node.definition.get("if", "success()"), contexts, self._status(node)):
                node.result = "cancelled" if run.cancelled and "if" not in node.definition else "skipped"
                return
            if "uses" in node.definition:
                path = str(node.definition["uses"])[2:]
                workflow = self.workflow(run.sha, path)
                given = expressions.interpolate(node.definition.get("with") or {}, contexts)
                inputs = checked_inputs(triggers(workflow)["workflow_call"].get("inputs") or {}, given, None)
                node.called = self._scope(run, path, workflow, inputs, self.permissions(node), node)
                return
            strategy = expressions.interpolate(node.definition.get("strategy") or {}, contexts)
            for row in rows(strategy.get("matrix")):
                self._make(node, row, contexts)
        except (ExpressionError, InvalidWorkflow, Refused) as error:
            run.message = f"{scope.prefix}{node.id}: {error}"
            node.result = "failure"

    def _make(self, node: Node, row: dict[str, Any], contexts: Mapping[str, Any]) -> None:
        scope, run = node.scope, node.scope.run
        own = {**contexts, "matrix": row, "strategy": {}}
        given = node.definition.get("name")
        name = (
            expressions.interpolate(given, own)
            if given
            else node.id + (f" ({', '.join(map(str, row.values()))})" if row else "")
        )
        environment = node.definition.get("environment") or ""
        url: Any = ""
        if isinstance(environment, Mapping):
            environment, url = environment["name"], environment.get("url", "")
        job = Job(
            run=run,
            scope=scope,
            node=node,
            name=scope.prefix + str(name),
            definition=node.definition,
            contexts={**own, "secrets": {} if run.fork or run.actor == DEPENDABOT else dict(self.secrets)},
            permissions=self.permissions(node),
            id=next(self.ids),
            environment=expressions.text_of(expressions.interpolate(environment, own)),
            url=url,
        )
        node.jobs.append(job)
        label = expressions.interpolate(node.definition["runs-on"], own)
        if label not in LABELS:
            self._end(job, Outcome("failure"), f"no runner has the label {label!r}: the job would wait for ever")
            return
        if job.environment:
            # GitHub makes an environment that a job names and nobody made; it protects nothing.
            protection = self.environments.setdefault(job.environment, Environment(job.environment, next(self.ids)))
            job.contexts["vars"] = {**job.contexts["vars"], **self.environment_variables.get(job.environment, {})}
            branch = run.ref.removeprefix("refs/heads/")
            if protection.branches is not None and not passes([branch], protection.branches):
                why = f"{branch!r} is not allowed to deploy to {job.environment} due to environment protection rules."
                self._end(job, Outcome("failure"), why)

    def _admit(self, job: Job) -> bool:
        """Let a queued job into its group and past its reviewers, and start it."""
        if not self.approval_holds_group and self._unapproved(job):
            job.status = "waiting"
            return True
        concurrency = job.definition.get("concurrency")
        if concurrency and not job.group:
            try:
                self._enter(job, concurrency, job.contexts)
            except (InvalidWorkflow, ExpressionError) as error:
                self._end(job, Outcome("cancelled" if "deadlock" in str(error) else "failure"), str(error))
                return True
            if job.status == "pending":
                return True
        if self._unapproved(job):
            job.status = "waiting"
            return True
        limit = (job.definition.get("strategy") or {}).get("max-parallel")
        if limit and sum(other.status == "in_progress" for other in job.node.jobs) >= int(limit):
            return False
        job.status = "in_progress"
        if job.environment:
            self.deployments.append(
                {
                    "id": next(self.ids),
                    "environment": job.environment,
                    "sha": job.run.sha,
                    "ref": job.run.ref,
                    "job": job,
                }
            )
        self.running[self.pool.submit(self.execute, job)] = job
        return True

    def _unapproved(self, job: Job) -> bool:
        return bool(job.environment and self.environments[job.environment].reviewers and not job.approved)

    def _end(self, job: Job, outcome: Outcome, message: str = "") -> None:
        job.outcome, job.status = outcome, "completed"
        job.message = message or job.message
        self._leave(job)
        fails_fast = (job.definition.get("strategy") or {}).get("fail-fast", True)
        if outcome.conclusion == "failure" and fails_fast:
            for other in job.node.jobs:
                if other.status != "completed":
                    self._cancel(other, "The strategy configuration was canceled because another job failed")

    def _conclude(self, node: Node) -> bool:
        """Note a node's result once everything in it has ended."""
        if node.result or not node.started:
            return False
        if node.called is not None:
            inner = [other.result for other in node.called.nodes.values()]
            if not all(inner):
                return False
            node.result = worst(inner)
            declared = triggers(node.called.workflow)["workflow_call"].get("outputs") or {}
            contexts = {
                **self._contexts(node.called),
                "jobs": {name: {"result": x.result, "outputs": x.outputs} for name, x in node.called.nodes.items()},
            }
            node.outputs = {
                name: expressions.text_of(expressions.interpolate(output["value"], contexts))
                for name, output in declared.items()
            }
            return True
        if not all(job.status == "completed" for job in node.jobs):
            return False
        node.result = worst([job.conclusion for job in node.jobs])
        if node.result == "failure" and expressions.truthy(node.definition.get("continue-on-error")):
            node.result = "success"
        for job in node.jobs:
            node.outputs |= {name: value for name, value in job.outcome.outputs.items() if value}
        return True

    def _finish(self, run: Run) -> None:
        results = [node.result for node in run.scope.nodes.values()] if run.scope else []
        run.status = "completed"
        run.conclusion = "cancelled" if run.cancelled else worst(results) if set(results) != {"skipped"} else "skipped"
        self._leave(run)
        self._completed(run)

    def _completed(self, run: Run) -> None:
        """Start workflows that wait for the end of this one (`workflow_run`), from main."""
        if not self.git("for-each-ref", f"refs/heads/{MAIN}"):
            return
        sha = self.tip()
        for path in self.git("ls-tree", "--name-only", sha, ".github/workflows/").split():
            filters = triggers(self.workflow(sha, path)).get("workflow_run")
            if (
                filters is None
                or run.name not in filters["workflows"]
                or "completed" not in filters.get("types", ["completed"])
            ):
                continue
            if "branches" in filters and not passes([run.head_branch], filters["branches"]):
                continue
            payload = {"action": "completed", "workflow_run": self.run_data(run)}
            self._new("workflow_run", path, payload, f"refs/heads/{MAIN}", sha, run.actor, sha, MAIN)

    # ------------------------------------------------------------------ data as the REST API and the events show it

    def repository_data(self) -> dict[str, Any]:
        """The repository."""
        owner, name = self.full_name.split("/")
        return {
            "id": 4567,
            "name": name,
            "full_name": self.full_name,
            "private": self.private,
            "visibility": "private" if self.private else "public",
            "default_branch": MAIN,
            "fork": False,
            "owner": {"login": owner, "id": 123, "type": "Organization"},
            "html_url": f"https://github.com/{self.full_name}",
        }

    def pull_data(self, pull: PullRequest) -> dict[str, Any]:
        """A pull request."""
        head_repository = {
            **self.repository_data(),
            "full_name": pull.head_repository,
            "fork": pull.head_repository != self.full_name,
        }
        return {
            "number": pull.number,
            "title": pull.title,
            "state": pull.state,
            "draft": False,
            "merged": pull.merged_at is not None,
            "merged_at": pull.merged_at,
            "merge_commit_sha": pull.merge_commit,
            "user": user(pull.author),
            "labels": [{"name": name} for name in sorted(pull.labels)],
            "head": {"ref": pull.branch, "sha": pull.head, "repo": head_repository},
            "base": {"ref": MAIN, "sha": pull.base, "repo": self.repository_data()},
            "html_url": f"https://github.com/{self.full_name}/pull/{pull.number}",
        }

    def run_data(self, run: Run) -> dict[str, Any]:
        """A run."""
        pulls = [
            pull for pull in self.pulls.values() if run.event == "pull_request" and run.payload["number"] == pull.number
        ]
        return {
            "id": run.id,
            "name": run.name,
            "display_title": run.title,
            "path": run.path,
            "event": run.event,
            "status": "waiting" if any(job.status == "waiting" for job in run.jobs()) else run.status,
            "conclusion": run.conclusion or None,
            "head_sha": run.head_sha,
            "head_branch": run.head_branch,
            "run_number": run.number,
            "run_attempt": run.attempt,
            "created_at": run.created,
            "updated_at": run.created,
            "actor": user(run.actor),
            "pull_requests": [] if run.fork else [{"number": pull.number} for pull in pulls],
            "head_repository": {"full_name": pulls[0].head_repository if pulls else self.full_name},
            "repository": self.repository_data(),
            "html_url": f"https://github.com/{self.full_name}/actions/runs/{run.id}",
        }


def _keep(before: Scope, after: Scope) -> None:
    """Take over from an attempt what ended well; the rest runs again."""
    for name, node in after.nodes.items():
        old = before.nodes[name]
        if old.result in ("success", "skipped") and all(
            before.nodes[need].result in ("success", "skipped") for need in node.needs
        ):
            node.jobs, node.called, node.result, node.outputs, node.started = (
                old.jobs,
                old.called,
                old.result,
                old.outputs,
                True,
            )


def worst(results: Iterable[str]) -> str:
    """The result of several."""
    found = set(results)
    return next((result for result in ("failure", "cancelled", "success") if result in found), "skipped")


def rows(matrix: Any) -> list[dict[str, Any]]:
    """The rows of a matrix. Raises InvalidWorkflow for one without any."""
    if matrix is None:
        return [{}]
    vectors = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    for name, values in {
        **vectors,
        **({"include": matrix["include"]} if not vectors and "include" in matrix else {}),
    }.items():
        if not values:
            raise InvalidWorkflow(f"Matrix vector '{name}' does not contain any values")
    made = [dict(zip(vectors, row, strict=True)) for row in itertools.product(*vectors.values())] if vectors else []
    made = [
        row
        for row in made
        if not any(all(row.get(k) == v for k, v in out.items()) for out in matrix.get("exclude") or [])
    ]
    originals = [set(row) for row in made]
    for extra in matrix.get("include") or []:
        fitting = [
            row
            for row, names in zip(made, originals, strict=False)
            if all(row[name] == extra[name] for name in names & set(extra))
        ]
        for row in fitting:
            row |= extra
        if not fitting:
            made.append(dict(extra))
    return made


def checked_inputs(
    declared: Mapping[str, Any], given: Mapping[str, Any], environments: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Inputs of a dispatch or a call with their defaults and types. Raises Refused for wrong ones."""
    unexpected = set(given) - set(declared)
    if unexpected:
        raise Refused(f"Unexpected inputs provided: {sorted(unexpected)}")
    found: dict[str, Any] = {}
    for name, rule in declared.items():
        rule = rule or {}
        kind = rule.get("type", "string")
        value = given.get(name, rule.get("default"))
        if value is None or value == "":
            if rule.get("required") and name not in given:
                raise Refused(f"Required input {name!r} not provided")
            value = {"boolean": False, "number": 0}.get(kind, "") if value is None else value
        if kind == "boolean":
            if expressions.text_of(value) not in ("true", "false"):
                raise Refused(f"{name!r} is not a boolean: {value!r}")
            value = expressions.text_of(value) == "true"
        if kind == "choice" and value not in rule["options"]:
            raise Refused(f"{name!r} is none of {rule['options']}")
        if kind == "environment" and environments is not None and value not in environments:
            raise Refused(f"there is no environment {value!r} to choose")
        found[name] = value
    return found


def user(login: str) -> dict[str, Any]:
    """A user."""
    return {"login": login, "id": sum(map(ord, login)), "type": "Bot" if login.endswith("[bot]") else "User"}


def now() -> str:
    """The time as GitHub writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
