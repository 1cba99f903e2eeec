"""The service layer, as people are told of it: alarms, their topic, the incident service; and flags, which alarms roll back."""

from __future__ import annotations

import json
from typing import Any

from ops.rehearsal.claims.claim import Context, Result, rows
from ops.rehearsal.deployed import Platform
from ops.rehearsal.iam.questions import publish_refusal

DELIVERY_SECONDS = 10


# What has to be watched: a word of the metric's name -> what it is called.
WATCHED = {
    "5XX": "errors",
    "TargetResponseTime": "latency",
    "UnHealthyHostCount": "unhealthy hosts",
    "CPUUtilization": "CPU",
    "MemoryUtilization": "memory",
    "RunningTaskCount": "running tasks",
    "TriggeredRules": "failed deployments",
}
WATCHED_DATABASE = {
    "ACUUtilization": "database capacity",
    "DatabaseConnections": "database connections",
    "MaximumUsedTransactionIDs": "age of transaction ids",
    "Errors": "role manager errors",
}


def alarms(context: Context, result: Result) -> None:
    """Every number that matters is watched, and every alarm tells the topic."""
    platform = context.platform
    topic = platform.topic["TopicArn"]
    for word, what in (WATCHED | (WATCHED_DATABASE if platform.project.database else {})).items():
        found = [name for name, alarm in platform.alarms.items() if watches(alarm, word)]
        result.claim(f"{what} are watched", found, ", ".join(found) or f"no alarm on {word}")
    # What starts a worker's first task tells nobody.
    starting = {f"{worker['name']}-first" for worker in platform.project.workers.values()}
    for name, alarm in platform.alarms.items():
        if name in starting:
            continue
        tells = topic in alarm.get("AlarmActions", []) and alarm.get("ActionsEnabled", True)
        result.claim(
            f"{name} tells the topic",
            tells,
            "" if tells else f"{name} has no alarm action for {topic}",
        )
        result.claim(f"{name} says what to do", len(alarm.get("AlarmDescription") or "") > 20)
    problems = [problem for alarm in platform.alarms.values() for problem in _dimensions(platform, alarm)]
    result.claim("alarms watch things that exist", not problems, "; ".join(problems))


def _metrics(alarm: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    metrics = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    metrics += [alarm] if alarm.get("MetricName") else []
    return [(m["MetricName"], rows(m.get("Dimensions", []))) for m in metrics]


def watches(alarm: dict[str, Any], word: str) -> bool:
    """Tell whether an alarm looks at a metric; `5XX` stands for each kind of them."""
    return any(name == word or (word == "5XX" and word in name) for name, _ in _metrics(alarm))


def _dimensions(platform: Platform, alarm: dict[str, Any]) -> list[str]:
    names = platform.project.names
    workers = platform.project.workers.values()
    expected = {
        "ClusterName": {names["service"]},
        "ServiceName": {names["service"], *(worker["name"] for worker in workers)},
        "QueueName": {
            names["jobs_dead_letters"],
            *(worker[key] for worker in workers for key in ("name", "dead_letters")),
        },
        "LoadBalancer": {platform.load_balancer["LoadBalancerArn"].partition(":loadbalancer/")[2]},
        "DBClusterIdentifier": {names["database_cluster"]},
        "FunctionName": {names["role_manager"]},
        "RuleName": {names["failed_deployments"], names["files_malware"]},
        "BucketName": {names["files_bucket"]},
    }
    return [
        f"{alarm['AlarmName']} watches {dimension} {value}, not {' or '.join(sorted(expected[dimension]))}"
        for _, dimensions in _metrics(alarm)
        for dimension, value in dimensions.items()
        if dimension in expected and value not in expected[dimension] and not value.startswith(f"{names['job']}-")
    ]


def alarms_topic(context: Context, result: Result) -> None:
    """The topic takes what alarms and failed deployments say."""
    platform = context.platform
    topic = platform.topic
    key = topic.get("KmsMasterKeyId")
    customer = platform.is_customer_key(key)
    result.claim("encrypted with a customer key", customer, key or "no key")
    policy = None if not key else platform.key_policy(key) if customer else ""
    alarm = next(iter(platform.alarms.values()), {}).get("AlarmArn", "")
    rule = platform.client("events").describe_rule(Name=platform.project.names["failed_deployments"])["Arn"]
    for principal, source in (("cloudwatch.amazonaws.com", alarm), ("events.amazonaws.com", rule)):
        refusal = publish_refusal(topic["TopicArn"], topic["Policy"], policy, principal, source)
        result.claim(f"{principal} can publish to it", refusal is None, refusal or "")
    targets = platform.client("events").list_targets_by_rule(Rule=platform.project.names["failed_deployments"])
    arns = [target["Arn"] for target in targets["Targets"]]
    result.claim("failed deployments are told to it", topic["TopicArn"] in arns, arns)


def incident_management(context: Context, result: Result) -> None:
    """A test alarm goes the whole way: alarm, topic, subscription, receiver."""
    platform, mailbox = context.platform, context.mailbox
    ssm, sns = platform.client("ssm"), platform.client("sns")
    name = platform.project.names["incident_url_parameter"]
    parameter = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    result.claim("its URL is an encrypted parameter", parameter["Type"] == "SecureString", parameter["Type"])
    found = sns.list_subscriptions_by_topic(TopicArn=platform.topic["TopicArn"])["Subscriptions"]
    mine = [s for s in found if s["Endpoint"] == parameter["Value"]]
    result.claim("it is subscribed to the topic", mine, f"{len(found)} subscription(s)")
    confirmed = [
        s
        for s in mine
        if sns.get_subscription_attributes(SubscriptionArn=s["SubscriptionArn"])["Attributes"]["PendingConfirmation"]
        == "false"
    ]
    result.claim("it confirmed the subscription", confirmed)
    errors = [name for name, alarm in platform.alarms.items() if watches(alarm, "5XX")]
    if not errors:
        result.claim("a test alarm arrives", False, "there is no alarm on errors")
        return
    cloudwatch = platform.client("cloudwatch")
    before = len(mailbox.messages())
    cloudwatch.set_alarm_state(AlarmName=errors[0], StateValue="ALARM", StateReason="rehearsal")
    try:
        message = mailbox.wait_for(errors[0], DELIVERY_SECONDS, after=before)
    finally:
        cloudwatch.set_alarm_state(AlarmName=errors[0], StateValue="OK", StateReason="rehearsal")
    detail = f"at {message.host}" if message else _last_delivery(context, errors[0])
    result.claim(f"a test alarm ({errors[0]}) arrives", message is not None, detail)


def _last_delivery(context: Context, alarm: str) -> str:
    file = context.directory / "deliveries.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lost = [json.loads(line)["outcome"] for line in lines]
    return next((o for o in reversed(lost) if alarm in o), lost[-1] if lost else "nothing was sent")


def feature_flags(context: Context, result: Result) -> None:
    """Deployed, and rolled back by the alarms that callers notice."""
    platform, names = context.platform, context.platform.project.names
    client = platform.client("appconfig")

    def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
        return next(item for item in items if item["Name"] == name)

    application = named(client.list_applications()["Items"], names["flags_application"])["Id"]
    environment = named(client.list_environments(ApplicationId=application)["Items"], names["flags_environment"])
    profile = named(
        client.list_configuration_profiles(ApplicationId=application)["Items"],
        names["flags_profile"],
    )
    result.claim(
        "the profile is of feature flags",
        profile["Type"] == "AWS.AppConfig.FeatureFlags",
        profile["Type"],
    )
    deployments = client.list_deployments(ApplicationId=application, EnvironmentId=environment["Id"])["Items"]
    state = deployments[0]["State"] if deployments else "none"
    result.claim("a version is deployed", state == "COMPLETE", state)
    monitors = [m["AlarmArn"].rpartition(":alarm:")[2] for m in environment.get("Monitors", [])]
    missing = [name for name in monitors if name not in platform.alarms]
    result.claim("alarms roll a launch back", monitors, ", ".join(monitors) or "no monitor")
    result.claim("those alarms exist", not missing, ", ".join(missing))
    for monitor in environment.get("Monitors", []):
        role = platform.role(monitor["AlarmRoleArn"])
        may = role.may("cloudwatch:DescribeAlarms", "*") or role.may("cloudwatch:DescribeAlarms", monitor["AlarmArn"])
        result.claim(f"AppConfig may look at {monitor['AlarmArn'].rpartition(':')[2]}", may, role.name)
