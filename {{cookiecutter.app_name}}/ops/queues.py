"""The queues of workers: look at them, give dead letters back, delete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from ops import waiting
from ops.aws import Aws, code
from ops.errors import AccountError, OpsError, WrongUse
from ops.output import Step, duration
from ops.project import Project

ACTIONS = ("look", "redrive", "purge")
SHOWN_LETTERS, SHOWN_CHARACTERS = 5, 200
MOVE_SECONDS = 10 * 60
POLL_SECONDS = 1.0
_COUNTS = {
    "ApproximateNumberOfMessages": "waiting",
    "ApproximateNumberOfMessagesNotVisible": "in hand",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}


def chosen(project: Project, name: str | None) -> str:
    """The worker that is meant: by its name, or the only one. Raises WrongUse."""
    has = f"It has {', '.join(sorted(project.workers))}" if project.workers else "It has none"
    if name is None and len(project.workers) == 1:
        return next(iter(project.workers))
    if name is None or name not in project.workers:
        raise WrongUse(
            f"project.yaml has no worker {name}. {has}." if name else f"Which worker? {has}.",
            next_step="NAME=… (--name), or add it to workers of project.yaml.",
        )
    return name


def find(aws: Aws, queue: str) -> str | None:
    """Address of a queue; None where it is not there."""
    try:
        return str(aws.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"])
    except ClientError as error:
        if code(error).endswith(("NonExistentQueue", "QueueDoesNotExist")):
            return None
        raise


def _url(aws: Aws, project: Project, queue: str) -> str:
    """Address of a queue. Raises AccountError where it is not there."""
    url = find(aws, queue)
    if url is None:
        raise AccountError(f"There is no queue {queue}.", next_step=f"Run {project.make('up')} first.")
    return url


def _counts(aws: Aws, url: str) -> dict[str, int]:
    found = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))["Attributes"]
    return {words: int(found[name]) for name, words in _COUNTS.items()}


def _oldest(aws: Aws, queue: str) -> str:
    """Age of a queue's oldest message, in words, as CloudWatch has it: some minutes late, and of queues in use alone."""
    now = datetime.now(UTC)
    points = aws.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": queue}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now,
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    newest = max(points, key=lambda point: point["Timestamp"], default=None)
    return f", the oldest for {duration(newest['Maximum'])}" if newest and newest["Maximum"] else ""


def look(aws: Aws, project: Project, name: str) -> list[str]:
    """How many messages wait and for how long, and some of the dead letters, which stay where they are."""
    worker = project.workers[name]
    waiting_at, dead_at = (_url(aws, project, worker[key]) for key in ("name", "dead_letters"))
    counts = ", ".join(f"{number} {words}" for words, number in _counts(aws, waiting_at).items())
    dead = sum(_counts(aws, dead_at).values())
    lines = [f"{name}: {counts}{_oldest(aws, worker['name'])}", f"dead letters: {dead}"]
    return lines + [_line(letter) for letter in (_letters(aws, dead_at) if dead else [])]


def _letters(aws: Aws, url: str) -> Sequence[Mapping[str, Any]]:
    """Some messages of a queue. A visibility of 0 leaves them for whoever asks next."""
    found = aws.client("sqs").receive_message(
        QueueUrl=url,
        VisibilityTimeout=0,
        WaitTimeSeconds=1,
        MaxNumberOfMessages=SHOWN_LETTERS,
        MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
    )
    by_id = {letter["MessageId"]: letter for letter in found.get("Messages", [])}
    return sorted(by_id.values(), key=lambda letter: str(letter["Attributes"]["SentTimestamp"]))


def _line(letter: Mapping[str, Any]) -> str:
    sent = datetime.fromtimestamp(int(letter["Attributes"]["SentTimestamp"]) / 1000, UTC)
    text = letter["Body"][:SHOWN_CHARACTERS] + ("…" if len(letter["Body"]) > SHOWN_CHARACTERS else "")
    shown = "".join(character if character.isprintable() else " " for character in text)
    return f"  {sent:%Y-%m-%d %H:%M} UTC  {letter['MessageId']}  {shown}"


def dead_letters(aws: Aws, project: Project, name: str) -> int:
    """How many dead letters a worker has."""
    return sum(_counts(aws, _url(aws, project, project.workers[name]["dead_letters"])).values())


def redrive(aws: Aws, project: Project, name: str, step: Step) -> str:
    """Give the dead letters back to the worker's queue, and wait for the end of it; how many, in words.

    Raises OpsError where AWS does not move all of them.
    """
    client = aws.client("sqs")
    url = _url(aws, project, project.workers[name]["dead_letters"])
    arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    if not dead_letters(aws, project, name):
        return "there are no dead letters"
    client.start_message_move_task(SourceArn=arn)
    moved: dict[str, Any] = {}

    def over() -> bool:
        nonlocal moved
        moved = client.list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"][0]
        step.say(f"{moved.get('ApproximateNumberOfMessagesMoved', 0)} moved")
        return moved["Status"] not in ("RUNNING", "CANCELLING")

    if not waiting.until(over, MOVE_SECONDS, every=POLL_SECONDS):
        return "it goes on; make queue shows how far it is"
    if moved["Status"] != "COMPLETED":
        raise OpsError(
            f"The dead letters of {name} were not all moved: {moved.get('FailureReason', moved['Status'])}.",
            next_step=f"Look at what is left: {project.make('queue', NAME=name)}.",
        )
    return f"{moved['ApproximateNumberOfMessagesMoved']} given back to {name}"


def purge(aws: Aws, project: Project, name: str) -> None:
    """Delete every dead letter of a worker for good."""
    aws.client("sqs").purge_queue(QueueUrl=_url(aws, project, project.workers[name]["dead_letters"]))
