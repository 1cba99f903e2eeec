"""Puts tasks and services that really run behind moto's ECS, and the image into the build repository when that is made."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ecr.models import ECRBackend
from moto.ecs.models import EC2ContainerServiceBackend, Service, Task, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elbv2.models import FakeHealthStatus, FakeTargetGroup

from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps
from ops.rehearsal.simulator.services import Services
from ops.rehearsal.simulator.tasks import Tasks

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World


def install(world: World, manifest: str) -> Services:
    """Change moto's classes: call it before the server starts."""
    services = Services(world)
    world.closers.append(services.tasks.close)
    _repositories(manifest)
    _tasks(services.tasks)
    _task_lists()
    _services(services)
    _targets(services)
    return services


def _repositories(manifest: str) -> None:
    @gap("aws_ecr_repository", "no container engine here pushes an image; its manifest stands for it")
    @wraps(ECRBackend, "create_repository")
    def create_repository(original: Any, backend: ECRBackend, *args: Any, **kwargs: Any) -> Any:
        repository = original(backend, *args, **kwargs)
        digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
        backend.put_image(repository.name, manifest, "rehearsal", digest=digest)
        return repository


def _tasks(tasks: Tasks) -> None:
    # A task's status is what its process is, not moto's sequence of states.
    Task.advance = lambda _task: None  # type: ignore[method-assign, assignment]
    Task.last_status = property(  # type: ignore[assignment]
        lambda task: task.__dict__.get("true_status", "PROVISIONING"),
        lambda task, value: task.__dict__.__setitem__("true_status", value),
    )

    @gap("aws_ecs_service, RunTask", "tasks never run")
    @wraps(EC2ContainerServiceBackend, "run_task")
    def run_task(original: Any, backend: EC2ContainerServiceBackend, *args: Any, **kwargs: Any) -> Any:
        started = original(backend, *args, **kwargs)
        for task in started:
            tasks.start(task, backend.describe_task_definition(task.task_definition_arn))
        return started

    @gap("RunTask", "a container without memory of its own, as Fargate's may be, breaks the call")
    @wraps(EC2ContainerServiceBackend, "_calculate_task_resource_requirements")
    def resource_requirements(_original: Any, *_: Any) -> dict[str, Any]:
        return {}  # what instances have to offer, and there are none

    @wraps(EC2ContainerServiceBackend, "stop_task")
    def stop_task(original: Any, backend: EC2ContainerServiceBackend, cluster: str, task_id: str, reason: str) -> Any:
        wanted = task_id.rpartition("/")[2]
        for arn, running in tasks.running.items():
            if arn.endswith(wanted):
                tasks.stop(running, reason or "Task stopped by user", 30)
                return running.task
        return original(backend, cluster, task_id, reason)


def _task_lists() -> None:
    @wraps(EC2ContainerServiceBackend, "list_tasks")
    def list_tasks(
        original: Any,
        backend: EC2ContainerServiceBackend,
        cluster: str | None = None,
        container_instance: str | None = None,
        family: str | None = None,
        started_by: str | None = None,
        service_name: str | None = None,
        desired_status: str | None = None,
    ) -> Any:
        tasks = original(
            backend,
            cluster,
            container_instance,
            family,
            started_by,
            None,
            desired_status or "RUNNING",
        )
        group = f"service:{(service_name or '').rpartition('/')[2]}"
        return [task for task in tasks if not service_name or task.group == group]


def _services(services: Services) -> None:
    @wraps(EC2ContainerServiceResponse, "create_service")
    def create_service(original: Any, response: EC2ContainerServiceResponse) -> ActionResult:
        answer: ActionResult = original(response)
        service = answer.result["service"]  # type: ignore[index]
        service.deployments[0] |= {"rolloutState": "IN_PROGRESS", "runningCount": 0}
        services.reconcile(ecs_backends[response.current_account][response.region], service)
        return answer

    @gap(
        "aws_ecs_service",
        "an update drops what it does not mention of the deployment configuration",
    )
    @gap("aws_ecs_service", "a new task definition does not begin a deployment")
    @wraps(EC2ContainerServiceBackend, "update_service")
    def update_service(original: Any, backend: EC2ContainerServiceBackend, properties: dict[str, Any]) -> Service:
        key = properties.get("cluster", "default").rpartition("/")[2]
        before = backend.services[f"{key}:{properties['service'].rpartition('/')[2]}"]
        definition, forced = before.task_definition, properties.get("force_new_deployment")
        if given := properties.get("deployment_configuration"):
            # What a call leaves out stays as it is.
            kept = getattr(before, "deployment_configuration", None) or {}
            properties["deployment_configuration"] = kept | {k: v for k, v in given.items() if v is not None}
        service: Service = original(backend, properties)
        if service.task_definition:
            service.task_definition = backend.describe_task_definition(str(service.task_definition)).arn
        if service.task_definition != definition or forced:
            services.new_deployment(service)
        services.count(service)
        services.reconcile(backend, service)
        return service

    @wraps(EC2ContainerServiceBackend, "delete_service")
    def delete_service(original: Any, backend: EC2ContainerServiceBackend, *args: Any, **kwargs: Any) -> Service:
        service: Service = original(backend, *args, **kwargs)
        for running in services.of(service):
            services.deregister(service, running)
            services.tasks.stop(running, "service deleted", 30)
        service.running_count = service.pending_count = 0
        return service


def _targets(services: Services) -> None:
    @gap("aws_lb_target_group", "every registered target is healthy")
    @wraps(FakeTargetGroup, "health_for")
    def health_for(original: Any, group: FakeTargetGroup, target: dict[str, Any], ec2: Any) -> Any:
        status: FakeHealthStatus = original(group, target, ec2)
        if target["Id"] in group.targets and group.target_type == "ip":
            status.status, status.reason = services.target_health(group, target["Id"])
        return status
