"""CloudWatch: composite alarms, and alarms that act."""

import json
import re
from typing import TYPE_CHECKING, Any

from moto.cloudwatch.models import Alarm, CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import EmptyResult
from moto.core.utils import iso_8601_datetime_with_milliseconds
from moto.kms.models import kms_backends
from moto.sns.models import Topic, sns_backends

from ops.rehearsal.iam.questions import publish_refusal
from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

CLOUDWATCH = "cloudwatch.amazonaws.com"


@gap("aws_cloudwatch_composite_alarm", "PutCompositeAlarm is not implemented")
@adds(CloudWatchResponse)
def put_composite_alarm(self: CloudWatchResponse) -> EmptyResult:
    self.cloudwatch_backend.put_metric_alarm(
        name=self._get_param("AlarmName"),
        namespace="",
        metric_name="",
        metric_data_queries=[],
        comparison_operator="",
        evaluation_periods=1,
        datapoints_to_alarm=None,
        period=60,
        threshold=0,
        statistic="",
        extended_statistic=None,
        description=self._get_param("AlarmDescription"),
        dimensions=[],
        alarm_actions=self._get_param("AlarmActions", []),
        ok_actions=self._get_param("OKActions", []),
        insufficient_data_actions=self._get_param("InsufficientDataActions", []),
        unit=None,
        actions_enabled=self._get_bool_param("ActionsEnabled"),
        treat_missing_data=None,
        evaluate_low_sample_count_percentile=None,
        threshold_metric_id=None,
        rule=self._get_param("AlarmRule"),
        tags=self._get_param("Tags", []),
    )
    alarm = self.cloudwatch_backend.alarms[self._get_param("AlarmName")]
    alarm.alarm_rule = alarm.rule  # type: ignore[attr-defined]  # the name that the answer needs
    return EmptyResult()


def refusal(topic: Topic, source_arn: str, service: str = CLOUDWATCH) -> str | None:
    """Say why a service's message to a topic would be lost, or None when it is accepted."""
    key_policy = None
    if topic.kms_master_key_id:
        managed = "alias/aws/" in topic.kms_master_key_id
        keys = kms_backends[topic.account_id][topic.arn.split(":")[3]]
        key_policy = "" if managed else keys.describe_key(topic.kms_master_key_id).policy
    return publish_refusal(topic.arn, topic.policy, key_policy, service, source_arn)


def install(world: "World") -> None:
    """Let a change of state do what the alarm's actions say."""

    def act(backend: CloudWatchBackend, alarm: Alarm, old: str) -> None:
        actions = {
            "ALARM": alarm.alarm_actions,
            "OK": alarm.ok_actions,
            "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
        }[alarm.state_value]
        if alarm.state_value == old or not alarm.actions_enabled:
            return
        for arn in actions:
            topic = sns_backends[backend.account_id][backend.region_name].topics.get(arn)
            if topic is None:
                world.delivery(arn, f"lost: {alarm.name} names a topic that does not exist")
            elif reason := refusal(topic, alarm.alarm_arn):
                world.delivery(arn, f"lost: {alarm.name}: {reason}")
            else:
                topic.publish(
                    json.dumps(
                        {
                            "AlarmName": alarm.name,
                            "AlarmDescription": alarm.description,
                            "AWSAccountId": backend.account_id,
                            "NewStateValue": alarm.state_value,
                            "NewStateReason": alarm.state_reason,
                            "StateChangeTime": iso_8601_datetime_with_milliseconds(),
                            "Region": backend.region_name,
                            "AlarmArn": alarm.alarm_arn,
                            "OldStateValue": old,
                        }
                    ),
                    subject=f'{alarm.state_value}: "{alarm.name}" in {backend.region_name}'[:100],
                )

    @gap("aws_cloudwatch_metric_alarm", "a change of state does not run the alarm's actions")
    @wraps(CloudWatchBackend, "set_alarm_state")
    def set_alarm_state(
        original: Any,
        backend: CloudWatchBackend,
        alarm_name: str,
        reason: str,
        reason_data: str,
        state_value: str,
    ) -> None:
        before = {alarm.name: alarm.state_value for alarm in backend.alarms.values()}
        original(backend, alarm_name, reason, reason_data, state_value)
        for alarm in list(backend.alarms.values()):
            if alarm.rule is not None:
                state = "ALARM" if _holds(alarm.rule, backend) else "OK"
                if state != alarm.state_value:
                    alarm.update_state(f"{alarm_name} is {state_value}", "{}", state)
        for alarm in list(backend.alarms.values()):
            act(backend, alarm, before[alarm.name])


def _holds(rule: str, backend: CloudWatchBackend) -> bool:
    """Evaluate a composite alarm's rule: ALARM("x"), OK("x"), AND, OR, NOT, TRUE, FALSE, brackets."""

    def state(match: re.Match[str]) -> str:
        name = match[2].strip().strip('"').rpartition(":alarm:")[2]
        alarm = backend.alarms.get(name)
        return str(alarm is not None and alarm.state_value == match[1])

    text = re.sub(r"(ALARM|OK|INSUFFICIENT_DATA)\s*\(([^)]*)\)", state, rule)
    words = re.findall(r"True|False|TRUE|FALSE|AND|OR|NOT|[()]", text)
    python = " ".join(w.capitalize() if w in ("TRUE", "FALSE") else w.lower() if w.isupper() else w for w in words)
    return bool(eval(python, {"__builtins__": {}}))  # noqa: S307 - only the words above are left
