"""SQS: attributes that are kept, dead letters that are given back, and what CloudWatch hears of queues."""

import json
import operator
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core.responses import ActionResult
from moto.moto_api._internal import mock_random
from moto.sqs.exceptions import SQSException
from moto.sqs.models import Message, Queue, SQSBackend
from moto.sqs.responses import SQSResponse

from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps

WAITING = "ApproximateNumberOfMessagesVisible"
COMPARISONS = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
_attributes: Any = Queue.attributes


@gap(
    "aws_sqs_queue",
    "`redrive_allow_policy` is dropped; SQS's own encryption stays on beside a key; blanks in `redrive_policy`",
)
def attributes(queue: Queue) -> dict[str, Any]:
    found: dict[str, Any] = _attributes.fget(queue)
    if allowed := getattr(queue, "redrive_allow_policy", None):
        found["RedriveAllowPolicy"] = allowed
    if queue.redrive_policy:
        found["RedrivePolicy"] = json.dumps(queue.redrive_policy, separators=(",", ":"), sort_keys=True)
    if found.get("KmsMasterKeyId"):
        found["SqsManagedSseEnabled"] = "false"
    return found


Queue.attributes = property(attributes)  # type: ignore[assignment, method-assign]


@gap("aws_sqs_queue", "a change that does not mention the policy takes it away")
@wraps(Queue, "_set_attributes")
def set_attributes(original: Any, queue: Queue, given: dict[str, Any], now: float | None = None) -> None:
    kept = {} if "Policy" in given else {"Policy": queue.policy}
    original(queue, {**given, **kept}, now)


@gap("StartMessageMoveTask", "not implemented")
@adds(SQSResponse)
def start_message_move_task(self: SQSResponse) -> ActionResult:
    backend = self.sqs_backend
    arn = self._get_param("SourceArn")
    dead = next((queue for queue in backend.queues.values() if queue.queue_arn == arn), None)
    sources = backend.list_dead_letter_source_queues(dead.name) if dead else []
    if dead is None or not sources:
        raise SQSException("ResourceNotFoundException", f"{arn} is no queue of dead letters.")
    moved = dead.messages
    for message in moved:
        dead._messages.remove(message)
        dead.pending_messages.discard(message)
        again = Message(message.id, message.body, message.system_attributes)
        again.message_attributes = message.message_attributes
        again.mark_sent()
        sources[0].add_message(again)
    tell_cloudwatch(dead)
    handle = mock_random.get_random_hex(32)
    task = {
        "TaskHandle": handle,
        "Status": "COMPLETED",
        "SourceArn": arn,
        "ApproximateNumberOfMessagesMoved": len(moved),
        "ApproximateNumberOfMessagesToMove": len(moved),
        "StartedTimestamp": int(again.sent_timestamp or 0) if moved else 0,
    }
    backend.__dict__.setdefault("move_tasks", []).insert(0, task)
    return ActionResult({"TaskHandle": handle})


@adds(SQSResponse)
def list_message_move_tasks(self: SQSResponse) -> ActionResult:
    tasks = self.sqs_backend.__dict__.get("move_tasks", [])
    mine = [task for task in tasks if task["SourceArn"] == self._get_param("SourceArn")]
    return ActionResult({"Results": mine[: int(self._get_param("MaxResults") or 1)]})


def tell_cloudwatch(queue: Queue) -> None:
    """Decide the alarms on how many messages wait: at once, where AWS looks every minute."""
    backend = cloudwatch_backends[queue.account_id][queue.region]
    for alarm in list(backend.alarms.values()):
        watched = {dimension.name: dimension.value for dimension in alarm.dimensions}
        if (alarm.namespace, alarm.metric_name, watched.get("QueueName")) != ("AWS/SQS", WAITING, queue.name):
            continue
        number = len(queue.messages)
        state = "ALARM" if COMPARISONS[alarm.comparison_operator](number, float(alarm.threshold)) else "OK"
        if state != alarm.state_value:
            backend.set_alarm_state(alarm.name, f"{number} messages wait in {queue.name}", "{}", state)


@gap("aws_cloudwatch_metric_alarm", "queues have no metrics")
@wraps(Queue, "add_message")
def add_message(original: Any, queue: Queue, message: Message) -> None:
    original(queue, message)
    tell_cloudwatch(queue)


@wraps(SQSBackend, "purge_queue")
def purge_queue(original: Any, backend: SQSBackend, queue_name: str) -> None:
    original(backend, queue_name)
    tell_cloudwatch(backend.get_queue(queue_name))
