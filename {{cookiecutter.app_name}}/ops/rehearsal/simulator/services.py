"""ECS services: they keep their number of tasks, deploy, roll back when tasks fail, and register their tasks as targets."""

from __future__ import annotations

import http.client
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.ecs.models import EC2ContainerServiceBackend, Service, Task
from moto.elbv2.models import FakeTargetGroup, elbv2_backends
from moto.moto_api._internal import mock_random

from ops.rehearsal.simulator import events
from ops.rehearsal.simulator.tasks import HEALTH_SECONDS, Running, Tasks

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

# As on AWS: the circuit breaker gives up after at least three tasks that failed.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
FAILED_TASKS = 3
# For a healthy container to become a healthy target; on AWS the grace period and the target group's checks.
TARGET_SECONDS = 10
RETRY_SECONDS = 2  # before a task that cannot start is tried again; on AWS up to 15 minutes


class Services:
    """Runs the services of a simulated AWS."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tasks = Tasks(world, self.task_ended)
        self.reconciling: dict[str, threading.Lock] = {}

    def task_ended(self, running: Running) -> None:
        """Take a task that is over out of its service; another one takes its place."""
        task = running.task
        events.task_stopped(self.world, task)
        service = task._backend.services.get(f"{task.cluster_name}:{task.group.partition(':')[2]}")
        if service is not None:
            self.deregister(service, running)
            if running.served:
                self.count(service)
                self.reconcile(task._backend, service)

    def reconcile(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        """Bring a service's tasks to what it declares, in the background."""
        threading.Thread(target=self._reconcile, args=(backend, service), daemon=True).start()

    def of(self, service: Service) -> list[Running]:
        """Return a service's tasks that are not over."""
        group = f"service:{service.name}"
        return [
            r
            for r in self.tasks.running.values()
            if r.task.group == group and r.task.cluster_arn == service.cluster_arn and not r.over.is_set()
        ]

    def _reconcile(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        lock = self.reconciling.setdefault(service.arn, threading.Lock())
        with lock:
            deployment = service.deployments[0]
            # The circuit breaker is for deployments: what ends after one is tried again until it starts.
            deploying = deployment["rolloutState"] != "COMPLETED"
            definition = backend.describe_task_definition(str(service.task_definition))
            current = [r for r in self.of(service) if r.task.task_definition_arn == definition.arn and not r.stopping]
            failures = 0
            while len(current) < (wanted := _wanted(service)):
                if service.deployments[0]["id"] != deployment["id"]:
                    return  # a newer deployment waits for the lock
                running = self._start_for(backend, service, definition)
                if self._wait_for(service, running):
                    current.append(running)
                    self.count(service)
                    continue
                failures += 1
                self._event(service, f"(task {running.task.id}) failed: {running.task.stopped_reason}")
                deployment["failedTasks"] = failures
                if not deploying:
                    time.sleep(RETRY_SECONDS)
                elif failures >= FAILED_TASKS:
                    self._give_up(backend, service)
                    return
            container: dict[str, Any] = definition.container_definitions[0]
            grace = int(container.get("stopTimeout", 30))
            for old in self.of(service):
                if old not in current[:wanted]:
                    self.deregister(service, old)
                    self.tasks.stop(old, f"Scaling activity initiated by (deployment {service.name})", grace)
            self.count(service)
            service.deployments = service.deployments[:1]
            service.deployments[0] |= {
                "rolloutState": "COMPLETED",
                "rolloutStateReason": f"ECS deployment {service.deployments[0]['id']} completed.",
            }
            if wanted:
                service.__dict__["good_definition"] = definition.arn
                self._event(service, "has reached a steady state.")

    def _start_for(self, backend: EC2ContainerServiceBackend, service: Service, definition: Any) -> Running:
        task = Task(
            cluster=backend._get_cluster(service.cluster_name),
            task_definition=definition,
            container_instance_arn=None,
            resource_requirements={},
            backend=backend,
            group=f"service:{service.name}",
            started_by=str(service.deployments[0]["id"]),
            launch_type="FARGATE",
            networking_configuration=service.network_configuration,
            platform_version="1.4.0",
        )
        backend.tasks.setdefault(service.cluster_name, {})[task.task_arn] = task
        return self.tasks.start(task, definition)

    def _wait_for(self, service: Service, running: Running) -> bool:
        """Wait until a task is healthy, for itself and as a target; False when it ended."""
        deadline = None
        while not running.over.is_set():
            if running.healthy:
                why = self._register(service, running)
                if why is None:
                    running.served = True
                    return True
                deadline = deadline or time.monotonic() + TARGET_SECONDS
                if time.monotonic() > deadline and not running.stopping:
                    self.tasks.stop(running, f"Task failed ELB health checks in ({why})", 5)
            running.over.wait(HEALTH_SECONDS if deadline else 0.1)
        return False

    def _groups(self, service: Service) -> list[tuple[FakeTargetGroup, int]]:
        groups = elbv2_backends[service.arn.split(":")[4]][self.world.region].target_groups
        return [
            (groups[balancer["targetGroupArn"]], int(balancer["containerPort"]))
            for balancer in service.load_balancers
            if balancer.get("targetGroupArn") in groups
        ]

    def _register(self, service: Service, running: Running) -> str | None:
        """Make a task a target, and say why it is not a healthy one."""
        problem = None
        for group, port in self._groups(service):
            if running.address not in group.targets:
                group.register([{"Id": running.address, "Port": port}])
            why = self.target_health(group, running.address)[1]
            if why is not None:
                problem = f"target-group {group.name}: GET {group.health_check_path}: {why}"
        return problem

    def deregister(self, service: Service, running: Running) -> None:
        """Take a task out of the service's target groups."""
        for group, _ in self._groups(service):
            if running.address in group.targets:
                group.deregister([{"Id": running.address}])

    def target_health(self, group: FakeTargetGroup, address: str) -> tuple[str, str | None]:
        """Ask a target as the load balancer does: its state and, when it is not healthy, why."""
        running = next((r for r in self.tasks.running.values() if r.address == address and not r.over.is_set()), None)
        if running is None or running.process is None:
            return "unhealthy", "Target.Timeout"
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=2)
        try:
            connection.request("GET", group.health_check_path or "/")
            status = connection.getresponse().status
        except OSError:
            return "unhealthy", "Target.FailedHealthChecks"
        finally:
            connection.close()
        matcher = str((group.matcher or {}).get("HttpCode") or "200")
        if any(_in_range(status, part) for part in matcher.split(",")):
            return "healthy", None
        return "unhealthy", "Target.ResponseCodeMismatch"

    def healthy_port(self, group: FakeTargetGroup) -> int | None:
        """Return where on this machine a healthy target of a group listens."""
        for running in list(self.tasks.running.values()):
            if running.address in group.targets and running.healthy and not running.stopping:
                return running.port
        return None

    def _give_up(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        deployment = service.deployments[0]
        deployment |= {
            "rolloutState": "FAILED",
            "rolloutStateReason": "ECS deployment circuit breaker: tasks failed to start.",
        }
        self.count(service)
        self._event(service, f"(deployment {deployment['id']}) deployment failed: tasks failed to start.")
        breaker = (getattr(service, "deployment_configuration", None) or {}).get("deploymentCircuitBreaker") or {}
        good = service.__dict__.get("good_definition")
        if breaker.get("rollback") and good and good != service.task_definition:
            service.task_definition = good
            self.new_deployment(service, "rolling back to")
            service.deployments[0]["rolloutState"] = "COMPLETED"
            self.count(service)

    def new_deployment(self, service: Service, verb: str = "started") -> None:
        """Put a deployment of the service's current task definition before the others."""
        first = dict(service.deployments[0]) if service.deployments else {}
        now = datetime.now(UTC)
        deployment = first | {
            "id": f"ecs-svc/{mock_random.randint(0, 10**19)}",
            "status": "PRIMARY",
            "taskDefinition": service.task_definition,
            "desiredCount": service.desired_count,
            "failedTasks": 0,
            "createdAt": now,
            "updatedAt": now,
            "rolloutState": "IN_PROGRESS",
            "rolloutStateReason": "in progress",
        }
        for old in service.deployments:
            old["status"] = "ACTIVE"
        service.deployments = [deployment, *service.deployments]
        self._event(service, f"has {verb} deployment {deployment['id']}")

    def count(self, service: Service) -> None:
        """Write down how many tasks a service and its deployments have."""
        tasks = [r for r in self.of(service) if not r.stopping]
        service.running_count = sum(r.process is not None for r in tasks)
        service.pending_count = len(tasks) - service.running_count
        for deployment in service.deployments:
            mine = [r for r in tasks if r.task.task_definition_arn == deployment["taskDefinition"]]
            deployment["runningCount"] = len(mine)
            deployment["pendingCount"] = 0
            deployment["desiredCount"] = service.desired_count

    def _event(self, service: Service, message: str) -> None:
        service.events.insert(
            0,
            {
                "id": str(mock_random.uuid4()),
                "createdAt": datetime.now(UTC),
                "message": f"(service {service.name}) {message}",
            },
        )


def _wanted(service: Service) -> int:
    return int(service.desired_count) if service.status == "ACTIVE" else 0


def _in_range(status: int, part: str) -> bool:
    low, _, high = part.partition("-")
    return int(low) <= status <= int(high or low)
