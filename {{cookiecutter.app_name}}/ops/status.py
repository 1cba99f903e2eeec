"""What is deployed in an environment: image, tasks, alarms, deployments, drift."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ops import ecs, images, layers, releases
from ops.aws import Aws
from ops.errors import OpsError
from ops.output import table
from ops.project import Project
from ops.terraform import SERVICE


@dataclass
class Status:
    """What `make status` shows; `healthy` is None where nothing is deployed."""

    environment: str
    healthy: bool | None = None
    image: str = ""
    image_tags: list[str] = field(default_factory=list)
    url: str = ""
    tasks: str = ""
    targets: str = ""
    rollouts: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    workers: dict[str, str] = field(default_factory=dict)
    alarms: dict[str, list[str]] = field(default_factory=dict)
    database: str = ""
    deployments: list[dict[str, str]] = field(default_factory=list)
    layers: dict[str, str] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def read(aws: Aws, project: Project, *, drift: bool) -> Status:
    """Gather everything. With `drift`, each layer is planned (without taking its lock)."""
    status = Status(project.place)
    _service(aws, project, status)
    status.workers = {
        name: f"{found['runningCount']} of {found['desiredCount']} run, {found['pendingCount']} start"
        for name, found in ecs.workers(aws, project).items()
    }
    status.alarms = alarms(aws, project)
    status.database = _database(aws, project)
    status.deployments = [
        {"when": f"{item.moment:%Y-%m-%d %H:%M} UTC", "image": item.digest, "by": item.by}
        for item in releases.history(aws, project)
    ]
    for layer in layers.present(project)[1:]:
        if layer.workspaces or not project.temporary:
            status.layers[layer.name] = _layer(aws, project, layer, drift=drift)
    return status


def _service(aws: Aws, project: Project, status: Status) -> None:
    found = ecs.service(aws, project)
    if found is None:
        return
    status.image = ecs.running_digest(aws, project) or ""
    try:
        image = images.find(aws, project, status.image) if status.image else None
    except OpsError:
        image = None
    status.image_tags = list(image.tags) if image else []
    status.url = url(aws, project)
    status.tasks = f"{found['runningCount']} of {found['desiredCount']} run, {found['pendingCount']} start"
    healthy, registered = ecs.targets(aws, found)
    status.targets = f"{healthy} of {registered} healthy"
    status.rollouts = [
        f"{item['status'].lower()} {item.get('rolloutState', '').lower().replace('_', ' ')}".strip()
        + f": {item['taskDefinition'].rsplit('/', 1)[-1]},"
        + f" {item['runningCount']} of {item['desiredCount']} tasks, since {item['createdAt']:%Y-%m-%d %H:%M}"
        for item in found["deployments"]
    ]
    status.events = [event["message"] for event in found.get("events", [])[:3]]
    status.healthy = found["runningCount"] >= found["desiredCount"] > 0 and healthy >= found["desiredCount"]


def url(aws: Aws, project: Project) -> str:
    """Where the service answers; empty without a load balancer."""
    if project.host:
        return f"https://{project.host}"
    try:
        found = aws.client("elbv2").describe_load_balancers(Names=[project.names["service"]])
    except ClientError:
        return ""
    return f"http://{found['LoadBalancers'][0]['DNSName']}" if found["LoadBalancers"] else ""


def alarms(aws: Aws, project: Project) -> dict[str, list[str]]:
    """Names of the service's alarms by their state."""
    states: dict[str, list[str]] = {}
    pages = aws.client("cloudwatch").get_paginator("describe_alarms")
    prefix = f"{project.names['service']}-"
    for page in pages.paginate(AlarmNamePrefix=prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"]):
        for item in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]:
            states.setdefault(item["StateValue"], []).append(item["AlarmName"].removeprefix(prefix))
    return states


def _database(aws: Aws, project: Project) -> str:
    if not project.database:
        return ""
    try:
        found = aws.client("rds").describe_db_clusters(DBClusterIdentifier=project.names["database_cluster"])
    except ClientError:
        return "not there"
    cluster = found["DBClusters"][0]
    scaling = cluster.get("ServerlessV2ScalingConfiguration", {})
    capacity = f", {scaling['MinCapacity']:g} to {scaling['MaxCapacity']:g} ACU" if scaling else ""
    return f"{cluster['Status']}, PostgreSQL {cluster['EngineVersion']}{capacity}"


def _layer(aws: Aws, project: Project, layer: Any, *, drift: bool) -> str:
    terraform = layers.of(project, layer)
    if not layers.exists(aws, terraform):
        return "not applied"
    if not drift:
        return "applied"
    try:
        terraform.init()
        variables = {"image_digest": ecs.running_digest(aws, project) or f"sha256:{'0' * 64}"}
        plan = terraform.plan(
            variables if layer is SERVICE else {},
            lock=False,
            out=project.scratch("plans", f"drift-{terraform.label}"),
        )
    except OpsError as error:
        return f"could not be planned: {error.message.splitlines()[0]}"
    plan.path.unlink(missing_ok=True)
    if plan.empty:
        return "as the code says"
    changed = ", ".join(f"{action} {address}" for action, address in plan.changes[:5])
    return f"drift: {plan} ({changed}{', …' if len(plan.changes) > 5 else ''})"


def text(status: Status) -> str:
    """For people."""
    rows = []
    if status.healthy is None:
        rows.append(["service", "nothing is deployed"])
    else:
        rows += [
            ["service", "healthy" if status.healthy else "NOT HEALTHY"],
            ["url", status.url],
            ["image", f"{status.image} {', '.join(status.image_tags)}".rstrip()],
            ["tasks", status.tasks],
            ["targets", status.targets],
        ]
        rows += [["rollout", item] for item in status.rollouts]
        rows += [["event", item] for item in status.events]
    rows += [[f"worker {name}", tasks] for name, tasks in status.workers.items()]
    if status.database:
        rows.append(["database", status.database])
    for state in sorted(status.alarms):
        names = status.alarms[state]
        rows.append(
            [
                f"alarms {state.lower().replace('_', ' ')}",
                str(len(names)) if state == "OK" else ", ".join(names),
            ]
        )
    rows += [[f"layer {name}", state] for name, state in status.layers.items()]
    rows += [["deployed", f"{item['when']}  {item['image']}  {item['by']}"] for item in status.deployments]
    return f"{status.environment}\n{table(rows)}"
