"""Using the service as a client does, through its load balancer."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ops import waiting
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.sign_in import Job

PERCENT, USERS = 30, 200


def use(run: Rehearsal) -> None:
    """Ask, write, read, look at the launched flag, and end a task as ECS does."""
    with run.progress.step("use the service") as bar:
        said = [healthy(run)]
        if run.project.database:
            said.append(_items(run))
        if (flag := _flag(run)) is not None:
            said.append(_launched(run, flag))
        said.append(_terminate(run))
        bar.detail = "; ".join(word for word in said if word)


def launch(run: Rehearsal, job: Job) -> None:
    """Launch a flag to a part of the users; the service sees it at its next look."""
    if (flag := _flag(run)) is not None:
        with run.progress.step(f"make flag {flag} to {PERCENT} %") as bar:
            launched = (f"NAME={flag}", "ENABLED=true", f"PERCENT={PERCENT}", "IMMEDIATE=1")
            run.make(bar, "flag", f"ENV={run.environment}", *launched, keys=run.sign_in(bar, job))


def _flag(run: Rehearsal) -> str | None:
    """Return the first flag that can be launched to a part of the users."""
    file = run.copy / "app" / "flags.json"
    if run.project.settings["feature_flags"] == "none" or not file.exists():
        return None
    flags = json.loads(file.read_text(encoding="utf-8"))["flags"]
    return next((name for name, flag in flags.items() if "percent" in flag.get("attributes", {})), None)


def healthy(run: Rehearsal) -> str:
    """See that the service answers and is ready. Raises FailedError with its answer."""
    for path in ("/health", "/ready"):
        status, body = ask(run, "GET", path)
        if status != 200:
            raise FailedError(f"GET {path} answered {status}: {json.dumps(body)}")
    return "/health and /ready answer 200"


def _items(run: Rehearsal) -> str:
    """Write and read a row through HTTP, and find it in PostgreSQL."""
    name = f"rehearsed at {time.time():.3f}"
    status, item = ask(run, "POST", "/items", {"name": name})
    if status == 404:
        return ""  # the team replaced the example resource
    if status != 201:
        raise FailedError(f"POST /items answered {status}: {json.dumps(item)}")
    status, again = ask(run, "GET", f"/items/{item['id']}")
    if status != 200 or again["name"] != name:
        raise FailedError(f"GET /items/{item['id']} answered {status}: {json.dumps(again)}")
    rows = _rows(run, "SELECT count(*) FROM {schema}.items WHERE name = :name", name=name)
    if rows != [[1]]:
        raise FailedError(f"The item that was posted is not in PostgreSQL (found {rows}).")
    return "an item goes through HTTP into PostgreSQL and back"


def _rows(run: Rehearsal, statement: str, **parameters: str) -> list[list[Any]]:
    """Ask the database as its superuser, past the service."""
    import pg8000.native

    note = run.notes("databases")[-1]
    schema = pg8000.native.identifier((run.project.database_roles or {})["schemas"][0])
    with pg8000.native.Connection(
        note["superuser"],
        password=note["superuser_password"],
        database=note["database"],
        unix_sock=note["superuser_socket"],
    ) as connection:
        found: list[list[Any]] = connection.run(statement.format(schema=schema), **parameters)
        return found


def _launched(run: Rehearsal, name: str) -> str:
    """Count who has the flag that was launched to a part of the users."""

    def has(user: int) -> bool:
        return bool(ask(run, "GET", f"/features?user=user-{user}")[1].get("features", {}).get(name))

    # The service asks again at the pace that AppConfig sets. Twenty without one who has it are as rare as 1 in 1000.
    seen = waiting.until(lambda: any(has(user) for user in range(20)), 75, every=1)
    share = 100 * sum(has(user) for user in range(USERS)) / USERS if seen else 0.0
    # Four standard deviations of 200 users at 30 %.
    if not abs(share - PERCENT) < 13:
        raise FailedError(
            f"The flag {name} was launched to {PERCENT} % of users, and {share:.0f} % of {USERS} have it."
        )
    return f"the flag {name}, launched to {PERCENT} %, is on for {share:.0f} % of {USERS} users"


def _terminate(run: Rehearsal) -> str:
    """Stop a task: it must end by itself at SIGTERM, and be replaced."""
    ecs = run.client("ecs")
    name = run.project.names["service"]
    task = ecs.list_tasks(cluster=name, serviceName=name)["taskArns"][0]
    ecs.stop_task(cluster=name, task=task, reason="rehearsal")

    def stopped() -> dict[str, Any] | None:
        found: dict[str, Any] = ecs.describe_tasks(cluster=name, tasks=[task])["tasks"][0]
        return found if found["lastStatus"] == "STOPPED" else None

    found = waiting.until(stopped, 40, every=0.2)
    if found is None:
        raise FailedError("The service did not end within 40 seconds of SIGTERM.")
    code = found["containers"][0].get("exitCode")
    if code != 0:
        raise FailedError(f"At SIGTERM the service ended with exit code {code}, not 0.")

    def steady() -> bool:
        service = ecs.describe_services(cluster=name, services=[name])["services"][0]
        with contextlib.suppress(FailedError, OSError):
            return bool(service["runningCount"] == service["desiredCount"] and healthy(run))
        return False

    if not waiting.until(steady, 60, every=0.3):
        raise FailedError(f"The service did not come back after one of its tasks was stopped.\n{last_task(run)}")
    return "SIGTERM ends it with code 0, another task takes its place"


def last_task(run: Rehearsal) -> str:
    """Return why the last task ended, and the end of its log."""
    ended = run.notes("tasks")
    if not ended:
        return "No task has ended."
    task = ended[-1]
    log = run.directory.path / f"task-{task['task'].rpartition('/')[2][:8]}.log"
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
    code = "" if task["exit_code"] is None else f" (exit code {task['exit_code']})"
    return f"{task['reason']}{code}\n{said}"


def service_port(run: Rehearsal) -> int:
    """Return the port of this machine on which the load balancer listens."""
    name = run.project.names["service"]
    return int(next(note["port"] for note in reversed(run.notes("balancers")) if note["name"] == name))


def ask(run: Rehearsal, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send a request through the load balancer; returns the status and the JSON of the answer."""
    headers = {"content-type": "application/json"} if body is not None else {}
    content = json.dumps(body).encode() if body is not None else None
    address = urlsplit(f"http://127.0.0.1:{service_port(run)}{path}")
    status, text = exchange(address, method, content, headers)
    try:
        return status, json.loads(text) if text else None
    except ValueError as error:
        raise FailedError(f"{method} {path} through the load balancer: {error}") from error


def exchange(address: SplitResult, method: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Send a request to this machine, through no proxy; returns status and body."""
    connection = http.client.HTTPConnection(address.netloc, timeout=40)
    try:
        connection.request(method, f"{address.path}?{address.query}".rstrip("?"), body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise FailedError(f"{method} {address.path}: {error}") from error
    finally:
        connection.close()
