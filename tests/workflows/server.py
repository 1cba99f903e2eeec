"""GitHub's REST API and the services of a job, in front of a `Repository`.

Every call carries a token, and every route names the permission that it needs: a job's token has what the job's
`permissions:` say, a person's has all. What this does not know is refused by name.
https://docs.github.com/en/rest/authentication/permissions-required-for-fine-grained-personal-access-tokens
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import secrets
import threading
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.workflows.github import (
    ADMINISTRATOR,
    LEVELS,
    Environment,
    Job,
    PullRequest,
    Refused,
    Repository,
    Run,
    now,
    user,
)

ISSUER = "https://token.actions.githubusercontent.com"
PAGE = 30


class Denied(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Caller:
    """Whose token a call carries."""

    login: str
    job: Job | None = None

    def may(self, scope: str, level: str) -> bool:
        """Whether the token has a permission; only people administrate."""
        if self.job is None:
            return True
        return LEVELS[self.job.permissions.get(scope, "none")] >= LEVELS[level]


Route = Callable[..., Any]
Sign = Callable[[str, str, dict[str, Any]], str]
ROUTES: list[tuple[str, re.Pattern[str], tuple[str, ...], Route]] = []


def route(method: str, path: str, *needs: str) -> Callable[[Route], Route]:
    """Register an answer. `needs`: permissions (`issues: write`), one of which is enough; none: any token."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path.replace("{path}", "(?P<path>.+)")) + r"\Z")

    def add(function: Route) -> Route:
        ROUTES.append((method, pattern, needs, function))
        return function

    return add


class GitHub:
    """The server of one repository."""

    def __init__(self, repository: Repository, *, subject: str = "", sign: Sign | None = None) -> None:
        """Serve nothing yet.

        `subject`: how OIDC subjects begin, as `repo:OWNER/NAME` or with ids as `repo:OWNER@ID/NAME@ID`. `sign`: makes a
        token of its beginning, an audience and claims that AWS takes for GitHub's.
        """
        self.repository = repository
        self.sign = sign or _unsigned
        self.subject = subject or f"repo:{repository.full_name}"
        self.tokens: dict[str, Caller] = {f"person-{ADMINISTRATOR}": Caller(ADMINISTRATOR)}
        self.vulnerable: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.url = ""

    @contextlib.contextmanager
    def serving(self) -> Iterator[GitHub]:
        """Serve on a free port of this machine."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"github": self}))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def job_environment(self, job: Job) -> dict[str, str]:
        """Variables by which a job reaches its services. A token for OIDC is there only with `id-token: write`."""
        token = f"ghs_{secrets.token_hex(18)}"
        self.tokens[token] = Caller("github-actions[bot]", job)
        variables = {"GITHUB_TOKEN": token, "ACTIONS_RUNTIME_TOKEN": token, "GITHUB_API_URL": self.url}
        if job.permissions.get("id-token") == "write":
            variables["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"{self.url}/_services/token?api-version=2.0"
            variables["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = token
        return variables

    def subject_of(self, job: Job) -> str:
        """https://docs.github.com/en/actions/reference/security/oidc: the environment replaces everything else."""
        if job.environment:
            return f"{self.subject}:environment:{job.environment}"
        if job.run.event == "pull_request":
            return f"{self.subject}:pull_request"
        return f"{self.subject}:ref:{job.run.ref}"

    def token_of(self, job: Job, audience: str) -> str:
        """The token that says who a job is."""
        context = self.repository.github_context(job.run)
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": self.subject_of(job),
            "ref": job.run.ref,
            "ref_type": "branch",
            "sha": job.run.sha,
            "repository": self.repository.full_name,
            "repository_owner": context["repository_owner"],
            "repository_id": "4567",
            "repository_owner_id": "123",
            "repository_visibility": "private" if self.repository.private else "public",
            "actor": job.run.actor,
            "event_name": job.run.event,
            "workflow": job.run.name,
            "workflow_ref": context["workflow_ref"],
            "workflow_sha": job.run.sha,
            "job_workflow_ref": f"{self.repository.full_name}/{job.scope.path}@{job.run.ref}",
            "job_workflow_sha": job.run.sha,
            "runner_environment": "github-hosted",
            "run_id": str(job.run.id),
            "run_number": str(job.run.number),
            "run_attempt": str(job.run.attempt),
            "base_ref": context["base_ref"],
            "head_ref": context["head_ref"],
            "jti": secrets.token_hex(16),
            "iat": int(time.time()),
            "nbf": int(time.time()) - 5,
            "exp": int(time.time()) + 300,
        }
        if job.environment:
            claims["environment"] = job.environment
        return self.sign(self.subject, audience, claims)


def _unsigned(_subject: str, _audience: str, claims: dict[str, Any]) -> str:
    """A token where nobody checks the signature."""
    parts = [json.dumps({"alg": "none"}), json.dumps(claims)]
    return ".".join([*(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts), ""])


class _Handler(BaseHTTPRequestHandler):
    github: GitHub

    def handle_one(self) -> None:
        """Find the caller, the route and the permission; answer as GitHub does."""
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        split = urllib.parse.urlsplit(self.path)
        query = {name: values[-1] for name, values in urllib.parse.parse_qs(split.query).items()}
        path = urllib.parse.unquote(split.path).strip("/").removeprefix("api/v3/")
        try:
            caller = self.github.tokens.get((self.headers.get("Authorization") or "").split(" ")[-1])
            if caller is None:
                raise Denied(401, "Bad credentials")  # noqa: TRY301
            own = f"repos/{self.github.repository.full_name}"
            inside = path == own or path.startswith(f"{own}/")
            if path.startswith("repos/") and not inside:
                raise Denied(404, "Not Found")  # noqa: TRY301
            short = path.removeprefix(own).strip("/") if inside else path
            kind = "repo" if inside else "site"
            answer = self._routed(f"{kind}:{short}", caller, query, json.loads(raw) if raw else {})
        except (Denied, Refused) as error:
            status = error.status if isinstance(error, Denied) else 422
            self.github.refused.append(f"{self.command} {path}: {status} {error}")
            self.answer(status, {"message": str(error), "status": str(status)})
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong here has to reach the job's log
            self.answer(500, {"message": f"the stand-in for GitHub failed: {type(error).__name__}: {error}"})
            return
        self.answered(answer, query, split)

    def _routed(self, path: str, caller: Caller, query: dict[str, str], body: Any) -> Any:
        for method, pattern, needs, function in ROUTES:
            match = pattern.match(path)
            if method != self.command or match is None:
                continue
            if needs and not any(caller.may(*need.split(": ")) for need in needs):
                raise Denied(403, "Resource not accessible by integration")
            with self.github.repository.lock:
                return function(self.github, caller, query, body, **match.groupdict())
        raise Denied(404, f"Not Found (the stand-in for GitHub has no {self.command} {path})")

    def answered(self, answer: Any, query: dict[str, str], split: urllib.parse.SplitResult) -> None:
        """Send a list page by page, as GitHub does."""
        items = answer if isinstance(answer, list) else None
        if items is None:
            self.answer(200 if self.command != "POST" else 201, answer)
            return
        size, page = min(int(query.get("per_page", PAGE)), 100), int(query.get("page", 1))
        headers = {}
        if page * size < len(items):
            following = urllib.parse.urlencode({**query, "page": page + 1, "per_page": size})
            headers["Link"] = f'<{self.github.url}{split.path}?{following}>; rel="next"'
        self.answer(200, items[(page - 1) * size : page * size], headers)

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Send bytes or JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body, default=str).encode()
        self.send_response(204 if body is None else status)
        self.send_header("Content-Type", "application/zip" if isinstance(body, bytes) else "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


# ---------------------------------------------------------------------- what only a job reaches


def _job(caller: Caller) -> Job:
    if caller.job is None:
        raise Denied(403, "only jobs have this")
    return caller.job


@route("GET", "site:_services/token")
def _token(github: GitHub, caller: Caller, query: dict[str, str], _body: Any) -> Any:
    job = _job(caller)
    if job.permissions.get("id-token") != "write":
        raise Denied(403, "id-token: write is missing")
    owner = github.repository.full_name.split("/")[0]
    return {"value": github.token_of(job, query.get("audience") or f"https://github.com/{owner}")}


@route("POST", "site:_services/artifacts")
def _upload(github: GitHub, caller: Caller, _query: dict[str, str], body: Any) -> Any:
    run, name = _job(caller).run, body["name"]
    if name in run.artifacts and not body["overwrite"]:
        raise Denied(409, "Conflict: an artifact with this name already exists on the workflow run")
    number = next(github.repository.ids)
    path = github.repository.folder / "artifacts" / f"{number}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(body["files"]), encoding="utf-8")
    run.artifacts[name] = path
    return {"id": number}


def _artifacts(run: Run) -> list[dict[str, Any]]:
    return [{"id": int(path.stem), "name": name, "expired": False} for name, path in run.artifacts.items()]


@route("GET", "site:_services/artifacts")
def _own_artifacts(_github: GitHub, caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    return _artifacts(_job(caller).run)


@route("GET", "site:_services/artifacts/{number}")
def _artifact(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    return {"files": json.loads((github.repository.folder / "artifacts" / f"{int(number)}.json").read_text())}


@route("GET", "site:_services/vulnerabilities")
def _vulnerabilities(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    return {"items": github.vulnerable}


def _scopes(caller: Caller) -> list[str]:
    """Caches are found by a pull request in its own merge ref and in main, and kept for its own ref only."""
    own = _job(caller).run.ref
    return [own, "refs/heads/main"]


def _version(paths: str) -> str:
    return hashlib.sha256(paths.encode()).hexdigest()[:16]


@route("POST", "site:_services/caches/find")
def _find_cache(github: GitHub, caller: Caller, _query: dict[str, str], body: Any) -> Any:
    for ref in _scopes(caller):
        prefix = f"{ref} {_version(body['paths'])} "
        there = [
            name
            for name, path in github.repository.caches.items()
            if name.startswith(prefix) and (path / "saved").exists()
        ]
        for wanted in [body["key"], *body["prefixes"]]:
            exact = wanted == body["key"]
            fitting = [
                name for name in there if (name == prefix + wanted if exact else name.startswith(prefix + wanted))
            ]
            if fitting:
                return {"key": fitting[-1].removeprefix(prefix), "folder": str(github.repository.caches[fitting[-1]])}
    return {}


@route("POST", "site:_services/caches/reserve")
def _reserve_cache(github: GitHub, caller: Caller, _query: dict[str, str], body: Any) -> Any:
    name = f"{_scopes(caller)[0]} {_version(body['paths'])} {body['key']}"
    if name in github.repository.caches:
        return {"folder": None}
    folder = github.repository.folder / "caches" / str(next(github.repository.ids))
    folder.mkdir(parents=True)
    github.repository.caches[name] = folder
    return {"folder": str(folder)}


@route("POST", "site:_services/caches/commit")
def _commit_cache(github: GitHub, caller: Caller, _query: dict[str, str], body: Any) -> Any:
    for name, folder in github.repository.caches.items():
        if name.startswith(f"{_scopes(caller)[0]} ") and name.endswith(f" {body['key']}"):
            (folder / "saved").touch()
    return {}


# ---------------------------------------------------------------------- repository


@route("GET", "site:users/{login}")
def _user(_github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, login: str) -> Any:
    return user(login)


@route("GET", "repo:")
def _repository(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    return github.repository.repository_data()


@route("GET", "repo:contents")
def _contents(github: GitHub, caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    if github.repository.private and not caller.may("contents", "read"):
        raise Denied(404, "Not Found")
    return {
        "git": str(github.repository.bare),
        "private": github.repository.private,
        "push": caller.may("contents", "write"),
    }


@route("GET", "repo:labels")
def _labels(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    return [{"name": name} for name in sorted(github.repository.labels)]


@route("GET", "repo:labels/{name}", "issues: read", "pull-requests: read")
def _label(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, name: str) -> Any:
    if name not in github.repository.labels:
        raise Denied(404, "Not Found")
    return {"name": name}


@route("POST", "repo:labels", "issues: write", "pull-requests: write")
def _make_label(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any) -> Any:
    if body["name"] in github.repository.labels:
        raise Denied(422, "Validation Failed: already_exists")
    github.repository.labels.add(body["name"])
    return {"name": body["name"]}


@route("GET", "repo:commits/{sha}", "contents: read")
def _commit(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, sha: str) -> Any:
    full = github.repository.git("rev-parse", f"{sha}^{{commit}}")
    parents = github.repository.git("log", "-1", "--format=%P", full).split()
    return {"sha": full, "parents": [{"sha": parent} for parent in parents]}


@route("GET", "repo:compare/{path}", "contents: read")
def _compare(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, path: str) -> Any:
    base, head = path.split("...")
    parted = github.repository.merge_base(base, head)
    ahead = int(github.repository.git("rev-list", "--count", f"{base}..{head}"))
    behind = int(github.repository.git("rev-list", "--count", f"{head}..{base}"))
    status = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
    files = [{"filename": name} for name in github.repository.changed(parted, head)]
    return {
        "status": status,
        "ahead_by": ahead,
        "behind_by": behind,
        "files": files,
        "merge_base_commit": {"sha": parted},
    }


# ---------------------------------------------------------------------- pull requests and issues


@route("GET", "repo:pulls", "pull-requests: read")
def _pulls(github: GitHub, _caller: Caller, query: dict[str, str], _body: Any) -> Any:
    state, head = query.get("state", "open"), query.get("head", "").split(":")[-1]
    found = [
        pull
        for pull in github.repository.pulls.values()
        if state in ("all", pull.state) and (not head or pull.branch == head)
    ]
    return [github.repository.pull_data(pull) for pull in sorted(found, key=lambda pull: -pull.number)]


def _pull(github: GitHub, number: str) -> PullRequest:
    if int(number) not in github.repository.pulls:
        raise Denied(404, "Not Found")
    return github.repository.pulls[int(number)]


@route("GET", "repo:pulls/{number}", "pull-requests: read")
def _one_pull(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    """https://docs.github.com/en/rest/pulls/pulls#get-a-pull-request: asking makes the test merge anew."""
    pull = _pull(github, number)
    if pull.state == "open":
        github.repository.test_merge(pull)
    return github.repository.pull_data(pull)


@route("POST", "repo:pulls", "pull-requests: write")
def _open_pull(github: GitHub, caller: Caller, _query: dict[str, str], body: Any) -> Any:
    """A job's own token opens one only where the repository's settings let it, and starts no workflows by it."""
    here = github.repository
    if caller.job and not here.actions_may_open_pull_requests:
        raise Denied(403, "GitHub Actions is not permitted to create or approve pull requests.")
    if any(pull.branch == body["head"] and pull.state == "open" for pull in here.pulls.values()):
        raise Denied(422, f"Validation Failed: A pull request already exists for {here.full_name}:{body['head']}.")
    try:
        head = here.tip(body["head"])
    except Refused as error:
        raise Denied(422, "Validation Failed: head invalid") from error
    pull = PullRequest(next(here.numbers), body["title"], body["head"], caller.login, here.full_name, head, here.tip())
    here.pulls[pull.number] = pull
    here.descriptions[pull.number] = body.get("body", "")
    return here.pull_data(pull)


@route("PATCH", "repo:pulls/{number}", "pull-requests: write")
def _change_pull(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any, number: str) -> Any:
    pull = _pull(github, number)
    pull.title = body.get("title", pull.title)
    github.repository.descriptions[pull.number] = body.get("body", "")
    return github.repository.pull_data(pull)


@route("GET", "repo:pulls/{number}/commits", "pull-requests: read")
def _pull_commits(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    pull = _pull(github, number)
    tip = github.repository.tip(pull.branch)
    log = github.repository.git("log", "--reverse", "--format=%H%x00%P%x00%s", f"{github.repository.tip()}..{tip}")
    return [
        {"sha": sha, "parents": [{"sha": parent} for parent in parents.split()], "commit": {"message": message}}
        for sha, parents, message in (line.split("\0") for line in log.splitlines())
    ]


@route("GET", "repo:pulls/{number}/files", "pull-requests: read")
def _pull_files(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    pull = _pull(github, number)
    base = github.repository.merge_base(pull.base, pull.head)
    return [{"filename": name, "status": "modified"} for name in github.repository.changed(base, pull.head)]


@route("GET", "repo:commits/{sha}/pulls", "pull-requests: read")
def _pulls_of_commit(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, sha: str) -> Any:
    found = [pull for pull in github.repository.pulls.values() if sha in (pull.merge_commit, pull.head)]
    return [github.repository.pull_data(pull) for pull in found]


@route("GET", "repo:issues", "issues: read")
def _issues(github: GitHub, _caller: Caller, query: dict[str, str], _body: Any) -> Any:
    state, labels = query.get("state", "open"), set(filter(None, query.get("labels", "").split(",")))
    return [
        issue
        for issue in github.repository.issues.values()
        if state in ("all", issue["state"]) and labels <= {label["name"] for label in issue["labels"]}
    ]


@route("POST", "repo:issues", "issues: write")
def _make_issue(github: GitHub, caller: Caller, _query: dict[str, str], body: Any) -> Any:
    repository = github.repository
    repository.labels |= set(body.get("labels", []))
    number = next(repository.numbers)
    labels = [{"name": name} for name in body.get("labels", [])]
    issue = {
        "number": number,
        "state": "open",
        "user": user(caller.login),
        "created_at": now(),
        **body,
        "labels": labels,
    }
    repository.issues[number] = issue
    return issue


@route("GET", "repo:issues/{number}", "issues: read", "pull-requests: read")
def _issue(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    if int(number) in github.repository.issues:
        return github.repository.issues[int(number)]
    return {**github.repository.pull_data(_pull(github, number)), "pull_request": {}}


@route("PATCH", "repo:issues/{number}", "issues: write")
def _change_issue(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any, number: str) -> Any:
    if int(number) not in github.repository.issues:
        raise Denied(404, "Not Found")
    issue = github.repository.issues[int(number)]
    issue |= {key: [{"name": name} for name in value] if key == "labels" else value for key, value in body.items()}
    return issue


def _commented(github: GitHub, caller: Caller, number: str, level: str) -> None:
    """Comments of a pull request go with either permission, those of an issue with the one of issues."""
    if int(number) in github.repository.pulls:
        allowed = caller.may("pull-requests", level) or caller.may("issues", level)
    elif int(number) in github.repository.issues:
        allowed = caller.may("issues", level)
    else:
        raise Denied(404, "Not Found")
    if not allowed:
        raise Denied(403, "Resource not accessible by integration")


@route("GET", "repo:issues/{number}/comments")
def _comments(github: GitHub, caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    _commented(github, caller, number, "read")
    return [comment for comment in github.repository.comments.values() if comment["issue"] == int(number)]


@route("POST", "repo:issues/{number}/comments")
def _comment(github: GitHub, caller: Caller, _query: dict[str, str], body: Any, number: str) -> Any:
    _commented(github, caller, number, "write")
    return _written(
        github, {"id": next(github.repository.ids), "issue": int(number), "user": user(caller.login)}, body["body"]
    )


@route("PATCH", "repo:issues/comments/{identifier}")
def _change_comment(github: GitHub, caller: Caller, _query: dict[str, str], body: Any, identifier: str) -> Any:
    if int(identifier) not in github.repository.comments:
        raise Denied(404, "Not Found")
    comment = github.repository.comments[int(identifier)]
    _commented(github, caller, str(comment["issue"]), "write")
    return _written(github, comment, body["body"])


def _written(github: GitHub, comment: dict[str, Any], text: str) -> Any:
    if len(text) > 65_536:
        raise Denied(422, "Validation Failed: body is too long (maximum is 65536 characters)")
    github.repository.comments[comment["id"]] = comment | {"body": text}
    return github.repository.comments[comment["id"]]


@route("POST", "repo:issues/{number}/labels", "issues: write", "pull-requests: write")
def _add_labels(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any, number: str) -> Any:
    names = body["labels"] if isinstance(body, dict) else body
    github.repository.labels |= set(names)
    if int(number) in github.repository.pulls:
        _pull(github, number).labels |= set(names)
    return [{"name": name} for name in names]


@route("DELETE", "repo:issues/{number}/labels/{name}", "issues: write", "pull-requests: write")
def _remove_label(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str, name: str) -> Any:
    _pull(github, number).labels.discard(name)
    return []


# ---------------------------------------------------------------------- runs


def _run(github: GitHub, number: str) -> Run:
    found = [run for run in github.repository.runs if run.id == int(number)]
    if not found:
        raise Denied(404, "Not Found")
    return found[0]


def _runs(github: GitHub, query: dict[str, str], path: str = "") -> Any:
    wanted = query.get("status")
    found = [
        github.repository.run_data(run)
        for run in reversed(github.repository.runs)
        if (not path or run.path.endswith(f"/{path}"))
        and query.get("head_sha", run.head_sha) == run.head_sha
        and query.get("branch", run.head_branch) == run.head_branch
        and query.get("event", run.event) == run.event
        and (not wanted or wanted in (github.repository.run_data(run)["status"], run.conclusion))
    ]
    return {"total_count": len(found), "workflow_runs": found[: int(query.get("per_page", PAGE))]}


@route("GET", "repo:actions/runs", "actions: read")
def _all_runs(github: GitHub, _caller: Caller, query: dict[str, str], _body: Any) -> Any:
    return _runs(github, query)


@route("GET", "repo:actions/workflows/{name}/runs", "actions: read")
def _workflow_runs(github: GitHub, _caller: Caller, query: dict[str, str], _body: Any, name: str) -> Any:
    return _runs(github, query, name)


@route("GET", "repo:actions/runs/{number}", "actions: read")
def _one_run(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    return github.repository.run_data(_run(github, number))


@route("GET", "repo:actions/runs/{number}/jobs", "actions: read")
def _jobs(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    jobs = [
        {"id": job.id, "name": job.name, "status": job.status, "conclusion": job.conclusion or None}
        for job in _run(github, number).jobs()
    ]
    return {"total_count": len(jobs), "jobs": jobs}


@route("GET", "repo:actions/runs/{number}/artifacts", "actions: read")
def _run_artifacts(github: GitHub, _caller: Caller, query: dict[str, str], _body: Any, number: str) -> Any:
    found = [item for item in _artifacts(_run(github, number)) if query.get("name", item["name"]) == item["name"]]
    return {"total_count": len(found), "artifacts": found}


@route("GET", "repo:actions/artifacts/{number}/zip", "actions: read")
def _archive(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    files = json.loads((github.repository.folder / "artifacts" / f"{int(number)}.json").read_text())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, base64.b64decode(content))
    return buffer.getvalue()


@route("POST", "repo:actions/runs/{number}/cancel", "actions: write")
def _cancel_run(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    github.repository.cancel(_run(github, number), settle=False)
    return {}


@route("POST", "repo:actions/runs/{number}/rerun", "actions: write")
def _rerun(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    run = _run(github, number)
    if run.status != "completed":
        raise Denied(403, "This workflow is already running")
    github.repository.rerun(run, settle=False)
    return {}


@route("GET", "repo:actions/runs/{number}/pending_deployments", "actions: read")
def _pending(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    names = {job.environment for job in _run(github, number).jobs() if job.status == "waiting"}
    return [{"environment": {"name": name, "id": github.repository.environments[name].id}} for name in sorted(names)]


@route("DELETE", "repo:actions/variables/{name}", "variables: write")
def _delete_variable(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, name: str) -> Any:
    if name not in github.repository.variables:
        raise Denied(404, "Not Found")
    del github.repository.variables[name]


@route("GET", "repo:commits/{sha}/check-runs", "checks: read")
def _checks(github: GitHub, _caller: Caller, query: dict[str, str], _body: Any, sha: str) -> Any:
    found = [
        {
            "name": name,
            "status": "completed" if result not in ("queued", "pending", "waiting", "in_progress") else result,
            "conclusion": result,
        }
        for name, result in github.repository.checks(sha).items()
        if query.get("check_name", name) == name
    ]
    return {"total_count": len(found), "check_runs": found}


@route("GET", "repo:deployments", "deployments: read")
def _deployments(github: GitHub, _caller: Caller, query: dict[str, str], _body: Any) -> Any:
    return [
        {name: value for name, value in item.items() if name != "job"}
        for item in reversed(github.repository.deployments)
        if query.get("environment", item["environment"]) == item["environment"]
        and query.get("sha", item["sha"]) == item["sha"]
    ]


@route("GET", "repo:deployments/{number}/statuses", "deployments: read")
def _deployment_statuses(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    found = [item["job"] for item in github.repository.deployments if item["id"] == int(number)]
    states = {"success": "success", "failure": "failure", "cancelled": "inactive", "": "in_progress"}
    return [{"state": states[job.conclusion]} for job in found]


# ---------------------------------------------------------------------- settings


def _environment_data(environment: Environment) -> dict[str, Any]:
    rules: list[dict[str, Any]] = []
    if environment.reviewers:
        reviewers = [{"type": "User", "reviewer": user(login)} for login in environment.reviewers]
        rules.append(
            {
                "type": "required_reviewers",
                "prevent_self_review": environment.prevent_self_review,
                "reviewers": reviewers,
            }
        )
    if environment.policy is not None:
        rules.append({"type": "branch_policy"})
    return {
        "id": environment.id,
        "name": environment.name,
        "protection_rules": rules,
        "deployment_branch_policy": environment.policy,
        "can_admins_bypass": True,
    }


@route("GET", "repo:environments", "actions: read")
def _environments(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    found = [_environment_data(item) for item in github.repository.environments.values()]
    return {"total_count": len(found), "environments": found}


@route("GET", "repo:environments/{name}", "actions: read")
def _environment(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, name: str) -> Any:
    if name not in github.repository.environments:
        raise Denied(404, "Not Found")
    return _environment_data(github.repository.environments[name])


@route("PUT", "repo:environments/{name}", "administration: write")
def _make_environment(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any, name: str) -> Any:
    repository = github.repository
    known = {user(login)["id"]: login for login in (ADMINISTRATOR, "grace", "eve")}
    reviewers = body.get("reviewers") or []
    if reviewers and not repository.has_reviewers:
        raise Denied(
            422,
            "Failed to create the environment protection rule. Please ensure the billing plan supports the required"
            " reviewers protection rule.",
        )
    environment = repository.environments.setdefault(name, Environment(name, next(repository.ids)))
    environment.reviewers = [known[item["id"]] for item in reviewers]
    environment.prevent_self_review = bool(body.get("prevent_self_review"))
    environment.policy = body.get("deployment_branch_policy")
    environment.branches = None if environment.policy is None else environment.branches or []
    return _environment_data(environment)


@route("GET", "repo:environments/{name}/deployment-branch-policies", "actions: read")
def _policies(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, name: str) -> Any:
    if name not in github.repository.environments:
        raise Denied(404, "Not Found")
    found = [{"name": pattern} for pattern in github.repository.environments[name].branches or []]
    return {"total_count": len(found), "branch_policies": found}


@route("POST", "repo:environments/{name}/deployment-branch-policies", "administration: write")
def _add_policy(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any, name: str) -> Any:
    environment = github.repository.environments[name]
    if not (environment.policy or {}).get("custom_branch_policies"):
        raise Denied(404, "Not Found")
    environment.branches = [*(environment.branches or []), body["name"]]
    return {"name": body["name"]}


@route("GET", "repo:actions/variables", "variables: read")
def _variables(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    found = [{"name": name, "value": value} for name, value in github.repository.variables.items()]
    return {"total_count": len(found), "variables": found}


@route("GET", "repo:actions/variables/{name}", "variables: read")
def _variable(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, name: str) -> Any:
    if name not in github.repository.variables:
        raise Denied(404, "Not Found")
    return {"name": name, "value": github.repository.variables[name]}


@route("POST", "repo:actions/variables", "variables: write")
def _make_variable(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any) -> Any:
    if body["name"] in github.repository.variables:
        raise Denied(409, "Already exists")
    github.repository.variables[body["name"]] = body["value"]
    return {}


@route("PATCH", "repo:actions/variables/{name}", "variables: write")
def _change_variable(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any, name: str) -> Any:
    if name not in github.repository.variables:
        raise Denied(404, "Not Found")
    github.repository.variables[name] = body["value"]
    return {}


@route("GET", "repo:rulesets")
def _rulesets(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    return [{"id": number, "name": rules["name"]} for number, rules in github.repository.rulesets.items()]


@route("GET", "repo:rulesets/{number}")
def _ruleset(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, number: str) -> Any:
    return {"id": int(number), **github.repository.rulesets[int(number)]}


@route("POST", "repo:rulesets", "administration: write")
def _make_ruleset(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any) -> Any:
    number = next(github.repository.ids)
    github.repository.rulesets[number] = body
    return {"id": number, **body}


@route("PUT", "repo:rulesets/{number}", "administration: write")
def _change_ruleset(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any, number: str) -> Any:
    github.repository.rulesets[int(number)] = body
    return {"id": int(number), **body}


@route("GET", "repo:actions/oidc/customization/sub", "actions: read")
def _subject(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any) -> Any:
    return {"use_default": True, "sub_claim_prefix": github.subject}


# ---------------------------------------------------------------------- security


@route("POST", "repo:attestations", "attestations: write")
def _attest(github: GitHub, caller: Caller, _query: dict[str, str], body: Any) -> Any:
    if not github.repository.attestations:
        owner = github.repository.full_name.split("/")[0]
        raise Denied(403, f"Feature not available for the {owner} organization.")
    claims = json.loads(base64.urlsafe_b64decode(body["token"].split(".")[1] + "=="))
    entry = {
        "id": next(github.repository.ids),
        **{key: body[key] for key in ("digest", "name", "kind")},
        "signer": claims["job_workflow_ref"],
        "ref": claims["ref"],
    }
    github.repository.attested.append(entry | {"login": caller.login})
    return entry


@route("GET", "repo:attestations/{digest}", "attestations: read")
def _attestations(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, digest: str) -> Any:
    found = [item for item in github.repository.attested if item["digest"] == digest]
    if not found:
        raise Denied(404, "Not Found")
    return {"attestations": found}


@route("POST", "repo:code-scanning/sarifs", "security-events: write")
def _sarif(github: GitHub, _caller: Caller, _query: dict[str, str], body: Any) -> Any:
    if not github.repository.code_security:
        raise Denied(403, "Code Security must be enabled for this repository to use code scanning.")
    if body["sarif"].get("version") != "2.1.0":
        raise Denied(422, "Invalid SARIF")
    github.repository.analyses.append(body)
    return {"id": next(github.repository.ids)}


@route("GET", "repo:dependency-graph/compare/{path}", "contents: read")
def _dependencies(github: GitHub, _caller: Caller, _query: dict[str, str], _body: Any, path: str) -> Any:
    if not github.repository.code_security:
        raise Denied(403, "Forbidden")
    del path
    return [item for item in github.vulnerable if item.get("dependency")]
