"""Amazon ECS: one-off tasks and rollouts, followed by polling with bounded time, and why a task stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from ops import logs, secret_values, waiting
from ops.aws import Aws, code
from ops.errors import AccountError, DeploymentFailed, OpsError
from ops.output import Step, duration
from ops.project import Project

CONTAINER = "app"
POLL_SECONDS = 3.0
ROLLOUT_SECONDS = 20 * 60
# Fields of a described task definition that registering takes.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
_REGISTERED = (
    "family", "taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions", "volumes",
    "placementConstraints", "requiresCompatibilities", "cpu", "memory", "pidMode", "ipcMode",
    "proxyConfiguration", "inferenceAccelerators", "ephemeralStorage", "runtimePlatform",
)  # fmt: skip


def service(aws: Aws, project: Project) -> dict[str, Any] | None:
    """The ECS service as it is; None when it does not exist."""
    name = project.names["service"]
    try:
        found = aws.client("ecs").describe_services(cluster=name, services=[name])["services"]
    except ClientError as error:
        if code(error) == "ClusterNotFoundException":
            return None
        raise
    return next((item for item in found if item["status"] == "ACTIVE"), None)


def existing_service(aws: Aws, project: Project) -> dict[str, Any]:
    """The ECS service. Raises AccountError when it does not exist."""
    found = service(aws, project)
    if found is None:
        raise AccountError(
            f"There is no service {project.names['service']}.",
            next_step=f"Run {project.make('up')} first.",
        )
    return found


def task_definition(aws: Aws, name: str) -> dict[str, Any] | None:
    """A task definition by ARN, or the newest active one of a family; None when there is none."""
    try:
        return dict(aws.client("ecs").describe_task_definition(taskDefinition=name)["taskDefinition"])
    except ClientError as error:
        if code(error) == "ClientException":
            return None
        raise


def container(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The container that is ours in a task definition."""
    found = definition["containerDefinitions"]
    return dict(next((item for item in found if item["name"] == CONTAINER), found[0]))


def restart_for_secrets(aws: Aws, project: Project) -> list[str]:
    """Begin a deployment where a secret was stored after the newest one began; names of those secrets.

    ECS reads the values when a task starts, and nothing in a task definition changes with them.
    """
    found = service(aws, project) if project.secrets else None
    if found is None:
        return []
    primary = next(item for item in found["deployments"] if item["status"] == "PRIMARY")
    changed = secret_values.newer(aws, project, primary["createdAt"])
    if changed:
        cluster = project.names["service"]
        for name in (cluster, *(worker["name"] for worker in project.workers.values())):
            aws.client("ecs").update_service(cluster=cluster, service=name, forceNewDeployment=True)
    return changed


def running_digest(aws: Aws, project: Project) -> str | None:
    """Digest of the image that the service runs, from its task definition; None without a service."""
    found = service(aws, project)
    definition = task_definition(aws, found["taskDefinition"]) if found else None
    match = re.search(r"@(sha256:[0-9a-f]{64})$", container(definition)["image"]) if definition else None
    return match[1] if match else None


def with_image(aws: Aws, definition: Mapping[str, Any], digest: str) -> str:
    """Register a copy of a task definition with another image (and its RELEASE); its ARN."""
    copy = {key: definition[key] for key in _REGISTERED if definition.get(key)}
    changed = container(definition)
    changed["image"] = f"{changed['image'].partition('@')[0]}@{digest}"
    changed["environment"] = [
        item | {"value": digest} if item["name"] == "RELEASE" else item for item in changed.get("environment", [])
    ]
    copy["containerDefinitions"] = [
        changed if item["name"] == changed["name"] else item for item in definition["containerDefinitions"]
    ]
    answer = aws.client("ecs").register_task_definition(**copy)
    return str(answer["taskDefinition"]["taskDefinitionArn"])


@dataclass(frozen=True)
class Stopped:
    """How a task ended."""

    task: str
    exit_code: int | None  # None: the container never ran
    reason: str


def run_task(
    aws: Aws,
    project: Project,
    definition_arn: str,
    *,
    show: Callable[[str], None],
    command: Sequence[str] | None = None,
    timeout: float,
    started_by: str = "ops",
) -> Stopped:
    """Run a one-off task where the service's tasks run, show its log, wait for its end.

    Raises OpsError when it can't start, or takes longer than `timeout` seconds (it is stopped then, and when
    interrupted).
    """
    client = aws.client("ecs")
    network = existing_service(aws, project)["networkConfiguration"]
    cluster = project.names["service"]
    overrides: dict[str, Any] = (
        {"containerOverrides": [{"name": CONTAINER, "command": list(command)}]} if command else {}
    )
    answer = client.run_task(
        cluster=cluster,
        taskDefinition=definition_arn,
        launchType="FARGATE",
        networkConfiguration=network,
        overrides=overrides,
        startedBy=started_by,
        count=1,
    )
    if not answer["tasks"]:
        reasons = "; ".join(failure.get("reason", "unknown") for failure in answer.get("failures", []))
        raise OpsError(f"The task could not start: {reasons}.")
    task = answer["tasks"][0]["taskArn"]
    name = task.rsplit("/", 1)[-1]
    log = _task_log(aws, definition_arn, name)
    found: list[dict[str, Any]] = []

    def stopped() -> bool:
        nonlocal found
        found = client.describe_tasks(cluster=cluster, tasks=[task])["tasks"]
        for text in log.new() if log else []:
            show(text)
        return bool(found) and found[0]["lastStatus"] == "STOPPED"

    try:
        if not waiting.until(stopped, timeout, every=POLL_SECONDS):
            _stop(aws, cluster, task, "ops: it took too long")
            status = found[0]["lastStatus"] if found else "unknown"
            raise OpsError(
                f"Task {name} did not end within {duration(timeout)} (last status {status}); it was stopped.",
                next_step=f"Read its log: {project.make('logs')}.",
            )
    except KeyboardInterrupt:
        _stop(aws, cluster, task, "ops: interrupted")
        show(f"task {name} was stopped")
        raise
    if log:
        # The last lines arrive a moment after the task's end.
        pause = min(1.0, POLL_SECONDS)
        for text in waiting.until(log.new, 3 * pause, every=pause) or []:
            show(text)
    return Stopped(name, _exit_code(found[0]), why_stopped(found[0]))


def _stop(aws: Aws, cluster: str, task: str, reason: str) -> None:
    aws.client("ecs").stop_task(cluster=cluster, task=task, reason=reason)


def _task_log(aws: Aws, definition_arn: str, task: str) -> logs.TaskLog | None:
    definition = task_definition(aws, definition_arn)
    options = container(definition).get("logConfiguration", {}).get("options", {}) if definition else {}
    if "awslogs-group" not in options:
        return None
    stream = f"{options['awslogs-stream-prefix']}/{CONTAINER}/{task}"
    return logs.TaskLog(aws, options["awslogs-group"], stream)


def _exit_code(task: Mapping[str, Any]) -> int | None:
    for item in task.get("containers", []):
        if item["name"] == CONTAINER and "exitCode" in item:
            return int(item["exitCode"])
    return None


def why_stopped(task: Mapping[str, Any]) -> str:
    """Why a task stopped, and what to do, in a sentence."""
    reason = task.get("stoppedReason", "")
    item: dict[str, Any] = next((item for item in task.get("containers", []) if item["name"] == CONTAINER), {})
    detail = item.get("reason", "")
    exit_code = item.get("exitCode")
    text = f"{reason} {detail}".strip()
    if "CannotPullContainer" in text:
        return f"{text} — the image could not be pulled: is it in the build repository, and are the endpoints there?"
    if "ResourceInitializationError" in text:
        return f"{text} — a secret, the log group or an endpoint could not be reached."
    if "OutOfMemory" in text or exit_code == 137:
        return f"{text or 'killed'} — out of memory, or killed after the stop timeout (exit code 137)."
    if "health check" in text.lower():
        return f"{text} — the container or the load balancer found it unhealthy."
    if exit_code is not None:
        return f"{text or 'The container ended'} (exit code {exit_code})"
    return text or "no reason given"


def wait_healthy(
    aws: Aws, project: Project, step: Step, definition: str | None = None, *, timeout: float = ROLLOUT_SECONDS
) -> None:
    """Follow the service's newest deployment to its end: all tasks run and the load balancer calls them healthy.

    `definition` is the task definition that it was given: a rollback may be over before the first look. Raises
    DeploymentFailed with the events, the reasons of stopped tasks and the last log lines.
    """
    last = followed = ""
    found: dict[str, Any] = {}

    def look() -> bool:
        nonlocal last, followed, found
        found = existing_service(aws, project)
        primary = next(item for item in found["deployments"] if item["status"] == "PRIMARY")
        followed = followed or primary["id"]
        healthy, registered = targets(aws, found)
        text = f"{primary['runningCount']}/{primary['desiredCount']} tasks run, {healthy}/{registered} targets healthy"
        if text != last:
            step.say(text)
            last = text
        # A rollback is a new deployment of the version before.
        another = primary["id"] != followed or found["taskDefinition"] != (definition or found["taskDefinition"])
        if another or primary.get("rolloutState") == "FAILED":
            raise _unhealthy(
                aws,
                project,
                found,
                "The deployment failed; the version before it runs, if there was one",
            )
        wanted = primary["desiredCount"]
        complete = primary.get("rolloutState") == "COMPLETED"
        return bool(complete and primary["runningCount"] >= wanted and healthy >= wanted > 0)

    if not waiting.until(look, timeout, every=POLL_SECONDS):
        raise _unhealthy(aws, project, found, f"The service is not healthy after {duration(timeout)}")


def wait_workers(aws: Aws, project: Project, step: Step, *, timeout: float = ROLLOUT_SECONDS) -> None:
    """Follow the newest deployment of each worker to its end: its tasks run, as many as are wanted.

    Raises DeploymentFailed where the version before runs again, or none.
    """
    for name, worker in project.workers.items():
        newest = task_definition(aws, worker["name"])
        last = ""

        def look(name: str = name, worker: Mapping[str, Any] = worker, newest: Any = newest) -> bool:
            nonlocal last
            found = workers(aws, project).get(name)
            if found is None:
                return False
            primary = next(item for item in found["deployments"] if item["status"] == "PRIMARY")
            text = f"worker {name}: {primary['runningCount']}/{primary['desiredCount']} tasks run"
            if text != last:
                step.say(text)
                last = text
            # A rollback is a new deployment of the version before.
            failed = primary.get("rolloutState") == "FAILED"
            if failed or (newest and found["taskDefinition"] != newest["taskDefinitionArn"]):
                what = f"The deployment of the worker {name} failed; the version before it runs, if there was one"
                raise _unhealthy(aws, project, found, what, worker["name"])
            complete = primary.get("rolloutState") == "COMPLETED"
            return bool(complete and primary["runningCount"] >= primary["desiredCount"])

        if not waiting.until(look, timeout, every=POLL_SECONDS):
            found = workers(aws, project).get(name, {})
            what = f"The worker {name} does not run after {duration(timeout)}"
            raise _unhealthy(aws, project, found, what, worker["name"])


def workers(aws: Aws, project: Project) -> dict[str, dict[str, Any]]:
    """The ECS services of workers that are there, by the worker's name."""
    by_service = {worker["name"]: name for name, worker in project.workers.items()}
    found: dict[str, dict[str, Any]] = {}
    names = sorted(by_service)
    for start in range(0, len(names), 10):  # AWS takes ten at once.
        asked = names[start : start + 10]
        try:
            answer = aws.client("ecs").describe_services(cluster=project.names["service"], services=asked)
        except ClientError as error:
            if code(error) == "ClusterNotFoundException":
                return {}
            raise
        found |= {by_service[item["serviceName"]]: item for item in answer["services"] if item["status"] == "ACTIVE"}
    return found


def targets(aws: Aws, found: Mapping[str, Any]) -> tuple[int, int]:
    """(healthy, all) targets of the service's load balancer, without those that are draining."""
    groups = [item["targetGroupArn"] for item in found.get("loadBalancers", []) if "targetGroupArn" in item]
    states = [
        target["TargetHealth"]["State"]
        for group in groups
        for target in aws.client("elbv2").describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    ]
    return states.count("healthy"), len([state for state in states if state != "draining"])


def _unhealthy(
    aws: Aws, project: Project, found: Mapping[str, Any], what: str, name: str | None = None
) -> DeploymentFailed:
    name = name or project.names["service"]
    lines = [f"{what}: {name}."]
    events = [event["message"] for event in found.get("events", [])[:5]]
    if events:
        lines += ["Events of the service, newest first:", *(f"  {event}" for event in events)]
    stopped = stopped_tasks(aws, project, name)
    if stopped:
        lines += [
            "Why its tasks stopped:",
            *(f"  {name}: {reason}" for name, reason in stopped[:3]),
        ]
    newest = logs.last_lines(aws, project)
    if newest:
        lines += ["Last log lines:", *(f"  {text}" for text in newest)]
    return DeploymentFailed(
        "\n".join(lines),
        next_step=f"{project.make('logs')} shows more; {project.make('deploy', IMAGE='<digest or commit>')}"
        " deploys another version.",
    )


def stopped_tasks(aws: Aws, project: Project, name: str) -> list[tuple[str, str]]:
    """(task, reason) of an ECS service's tasks that stopped in the last hour."""
    client = aws.client("ecs")
    cluster = project.names["service"]
    arns = client.list_tasks(cluster=cluster, serviceName=name, desiredStatus="STOPPED")["taskArns"]
    if not arns:
        return []
    tasks = client.describe_tasks(cluster=cluster, tasks=arns[:100])["tasks"]
    tasks.sort(key=lambda task: str(task.get("stoppedAt", "")), reverse=True)
    return [(task["taskArn"].rsplit("/", 1)[-1], why_stopped(task)) for task in tasks]
