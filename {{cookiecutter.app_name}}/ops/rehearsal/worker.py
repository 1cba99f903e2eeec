"""A message from the service to a worker, one that no worker can take, and everybody else who may not."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops import waiting
from ops.rehearsal import attackers
from ops.rehearsal.attempts import Attempt, attempt
from ops.rehearsal.driver import FailedError, Rehearsal
from ops.rehearsal.edits import WORKER, WORKERS
from ops.rehearsal.progress import Bar
from ops.rehearsal.sign_in import Keys

if TYPE_CHECKING:
    from ops.rehearsal.steps import Jobs

SECONDS = 60
SEND = (
    "import asyncio, json; from app.worker import Queue; queue = Queue('{worker}'); "
    "asyncio.run(queue.send(json.dumps(dict(name='{name}')))); asyncio.run(queue.send('{poison}'))"
)


def declared(run: Rehearsal) -> bool:
    """Whether project.yaml has the rehearsal's worker: not where a team has workers of its own."""
    return WORKERS in run.file.read_text(encoding="utf-8")


def prove(run: Rehearsal, bar: Bar, keys: Keys, played: Jobs) -> str:
    """Send both messages from the service's place, and follow them to their ends; says in words what was seen."""
    name, poison = f"rehearsed-{secrets.token_hex(8)}", f"poison-{secrets.token_hex(8)}"
    where = (f"ENV={run.environment}", f"NAME={WORKER}")
    sending = SEND.format(worker=WORKER, name=name, poison=poison)
    alarm = f"{run.platform().project.workers[WORKER]['dead_letters']}"
    before = len(run.mailbox.messages())
    run.make(bar, "run", f"ENV={run.environment}", f'CMD=python -c "{sending}"', keys=keys)
    greeted = f"greeted {name}"
    if not waiting.until(lambda: greeted in _log(run), SECONDS, every=0.5):
        raise FailedError(f"No worker took the message that the service sent.\n{_log(run)[-2000:]}")
    _until_dead(run, 1)
    shown = run.make(bar, "queue", *where)
    if poison not in shown or f"{WORKER}: 0 waiting, 0 in hand" not in shown or "dead letters: 1" not in shown:
        raise FailedError(f"make queue does not show the dead letter and nothing else:\n{shown}")
    if run.project.settings["incident_management"] != "none" and not run.mailbox.wait_for(alarm, 10, after=before):
        raise FailedError(f"The alarm {alarm} of the dead letter did not reach the incident service.")
    given_back = run.make(bar, "queue", *where, "ACTION=redrive")
    if f"1 given back to {WORKER}" not in given_back:
        raise FailedError(f"make queue ACTION=redrive did not give the dead letter back:\n{given_back}")
    _until_dead(run, 1)
    run.make(bar, "queue", *where, "ACTION=purge", "YES=1")
    _until_dead(run, 0)
    _refused(run, bar, played)
    return "a message goes from the service through a worker; a poisoned one to the dead letters, its alarm to the receiver"


def _until_dead(run: Rehearsal, wanted: int) -> None:
    """Wait until there are so many dead letters."""
    sqs = run.client("sqs")
    url = sqs.get_queue_url(QueueName=run.platform().project.workers[WORKER]["dead_letters"])["QueueUrl"]

    def found() -> int:
        counted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(counted["Attributes"]["ApproximateNumberOfMessages"])

    if not waiting.until(lambda: found() == wanted, SECONDS, every=0.5):
        raise FailedError(f"There are {found()} dead letters, not {wanted}.\n{_log(run)[-2000:]}")


def _log(run: Rehearsal) -> str:
    """What the worker's tasks have said so far."""
    name = run.platform().project.workers[WORKER]["name"]
    found = run.client("logs").filter_log_events(
        logGroupName=run.project.names["service_log_group"], logStreamNamePrefix=f"{name}/"
    )
    return "\n".join(event["message"] for event in found["events"])


def _refused(run: Rehearsal, bar: Bar, played: Jobs) -> None:
    """See that nobody else takes messages, and nobody but the service sends any."""
    worker = run.platform().project.workers[WORKER]
    sqs = run.client("sqs")
    url, dead = (sqs.get_queue_url(QueueName=worker[key])["QueueUrl"] for key in ("name", "dead_letters"))

    def rows(who: str) -> Iterator[Attempt]:
        if who != "worker":
            yield Attempt(who, "take a worker's messages", "sqs", "receive_message", {"QueueUrl": url})
        if who != "task":
            message = {"QueueUrl": url, "MessageBody": "x"}
            yield Attempt(who, "send a worker a message", "sqs", "send_message", message)
        yield Attempt(who, "read a worker's dead letters", "sqs", "receive_message", {"QueueUrl": dead})
        yield Attempt(who, "delete a worker's messages", "sqs", "purge_queue", {"QueueUrl": url})

    for who, with_keys in attackers.keys_of_all(run, bar, run.platform(), played).items():
        for row in rows(who) if with_keys else ():
            made = attempt(row, with_keys, {}, run.project.region, run.endpoint)
            if made is None:
                continue
            run.findings.attempts.append(made)
            if not made.refused:
                raise FailedError(f"{made.who} may {made.what}: {made.because}")
