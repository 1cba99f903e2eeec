"""EventBridge: what ECS says of a task that stopped reaches the rules that ask for it, their topics and their alarms."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.events.models import EventPattern, events_backends
from moto.events.utils import EventTemplateParser
from moto.sns.models import sns_backends

from ops.rehearsal.simulator.moto_additions import cloudwatch
from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

EVENTS = "events.amazonaws.com"


@gap("aws_cloudwatch_event_rule", "a pattern does not look into the objects of a list")
@wraps(EventPattern, "_does_event_match")
def does_event_match(original: Any, pattern: EventPattern, flat: dict[str, Any], *more: Any) -> bool:
    """Add the values that are in lists of objects: `containers.exitCode` of every container."""
    found = dict(flat)
    for name, value in flat.items():
        for item in value if isinstance(value, list) else []:
            for key, inner in item.items() if isinstance(item, dict) else ():
                if inner is not None:
                    found.setdefault(f"{name}.{key}", []).append(inner)
    return bool(original(pattern, found, *more))


def task_stopped(world: World, task: Any) -> None:
    """Send ECS's event of a task that is over.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
    """
    containers = [
        {"name": item.name, "lastStatus": "STOPPED"}
        | ({"exitCode": item.exit_code} if getattr(item, "exit_code", None) is not None else {})
        for item in task.containers
    ]
    send(
        world,
        "aws.ecs",
        "ECS Task State Change",
        [task.task_arn],
        {
            "clusterArn": task.cluster_arn,
            "containers": containers,
            "group": task.group,
            "lastStatus": "STOPPED",
            "startedBy": task.started_by or "",
            "stopCode": task.stop_code,
            "stoppedReason": task.stopped_reason,
            "taskArn": task.task_arn,
            "taskDefinitionArn": task.task_definition_arn,
        },
    )


def send(world: World, source: str, kind: str, resources: list[str], detail: dict[str, Any]) -> None:
    """Give an event to the rules that ask for it: their topics get the message, an alarm on the rule goes off."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    account = resources[0].split(":")[4]
    event: Any = {
        "version": "0", "id": str(uuid.uuid4()), "detail-type": kind, "source": source, "account": account,
        "time": now, "region": world.region, "resources": resources, "detail": detail, "ingestion-time": now,
    }  # fmt: skip
    bus = events_backends[account][world.region].event_buses["default"]
    for rule in list(bus.rules.values()):
        if rule.state != "ENABLED" or rule.scheduled_expression or not rule.event_pattern.matches_event(event):
            continue
        for target in rule.targets:
            topic = sns_backends[account][world.region].topics.get(target["Arn"])
            transformer = target.get("InputTransformer") or {}
            message = json.dumps(
                EventTemplateParser.parse(
                    transformer.get("InputTemplate", ""), transformer.get("InputPathsMap", {}), event
                )
            )
            if topic is None:
                world.delivery(target["Arn"], f"lost: the rule {rule.name} names a topic that does not exist")
            # EventBridge names no source to SNS.
            elif reason := cloudwatch.refusal(topic, "", EVENTS):
                world.delivery(target["Arn"], f"lost: {rule.name}: {reason}")
            else:
                topic.publish(message)
        _count(world, account, rule.name)


def _count(world: World, account: str, rule: str) -> None:
    """Let the alarms on how often a rule was triggered see that it was: CloudWatch takes a minute for it."""
    backend = cloudwatch_backends[account][world.region]
    for alarm in list(backend.alarms.values()):
        named = [(item.name, item.value) for item in alarm.dimensions or []]
        if alarm.metric_name == "TriggeredRules" and ("RuleName", rule) in named:
            backend.set_alarm_state(alarm.name, f"{rule} was triggered", "{}", "ALARM")
