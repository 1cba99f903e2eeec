"""Fargate: tasks run as processes on this machine, exactly as their task definition says.

A task starts only when it would on AWS: the image is in the repository, the execution role may pull it,
write the log and read the secrets, and the network lets it reach the services that takes. Services keep
their number of tasks, deploy, roll back when tasks fail, and register their tasks as targets.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import secrets
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from moto.core.responses import ActionResult
from moto.ecr.models import ECRBackend
from moto.ecs.models import EC2ContainerServiceBackend, Service, Task, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.elbv2.models import FakeHealthStatus, FakeTargetGroup, elbv2_backends
from moto.moto_api._internal import mock_random

from ops.rehearsal.reachability import Place, Vpc
from ops.rehearsal.simulator import aurora, identities
from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps
from ops.rehearsal.simulator.world import free_port, python_environment

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

# As on AWS: the circuit breaker gives up after at least three tasks that failed.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
FAILED_TASKS = 3
HEALTH_SECONDS = 0.5  # between two looks; on AWS this is the task definition's interval
# For a healthy container to become a healthy target; on AWS the grace period and the target group's checks.
TARGET_SECONDS = 10
RETRY_SECONDS = 2  # before a task that cannot start is tried again; on AWS up to 15 minutes


@dataclass
class Running:
    """A task's process, and where its port is on this machine."""

    task: Any
    port: int
    address: str
    process: subprocess.Popen[bytes] | None = None
    healthy: bool = False
    served: bool = False
    stopping: str | None = None
    over: threading.Event = field(default_factory=threading.Event)


class CannotStartError(Exception):
    """The reason why AWS would not start a task: what `stoppedReason` says."""


class Fargate:
    """Runs the tasks and services of one simulated account."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.running: dict[str, Running] = {}
        self.images: dict[str, Path] = {}
        self.lock = threading.Lock()
        self.reconciling: dict[str, threading.Lock] = {}

    # Tasks.

    def start(self, task: Any, definition: Any) -> Running:
        """Begin to run a task; returns at once."""
        details = {d["name"]: d["value"] for a in task.attachments for d in a["details"]}
        running = Running(task, free_port(), details.get("privateIPv4Address", ""))
        self.running[task.task_arn] = running
        # moto gives every container exit code 0 from the beginning.
        task.containers[0].__dict__.pop("exitCode", None)
        task.last_status = "PROVISIONING"
        task.created_at = datetime.now(UTC)
        task.connectivity = "CONNECTED"
        threading.Thread(target=self._live, args=(running, definition), daemon=True).start()
        return running

    def _live(self, running: Running, definition: Any) -> None:
        task = running.task
        container = task.containers[0]
        try:
            task.last_status = "PENDING"
            process, log = self._prepare(running, definition)
        except CannotStartError as reason:
            self._stopped(running, "TaskFailedToStart", str(reason), None)
            return
        except Exception as error:  # noqa: BLE001 - a task must always come to an end
            self._stopped(running, "TaskFailedToStart", f"{type(error).__name__}: {error}", None)
            return
        running.process = process
        task.last_status = container.last_status = "RUNNING"
        task.started_at = datetime.now(UTC)
        if running.stopping:
            process.terminate()
        checks = threading.Thread(target=self._check_health, args=(running, definition), daemon=True)
        checks.start()
        log()
        code = process.wait()
        self._stopped(
            running,
            "UserInitiated" if running.stopping else "EssentialContainerExited",
            running.stopping or "Essential container in task exited",
            code if code >= 0 else 128 - code,
        )

    def _stopped(self, running: Running, code: str, reason: str, exit_code: int | None) -> None:
        task, container = running.task, running.task.containers[0]
        running.healthy = False
        container.last_status = "STOPPED"
        if exit_code is None:
            container.reason = reason
        else:
            container.exit_code = exit_code
        task.stop_code, task.stopped_reason = code, reason
        task.stopped_at = datetime.now(UTC)
        task.desired_status = task.last_status = "STOPPED"
        self.world.note("tasks", task=task.task_arn, definition=task.task_definition_arn,
                        code=code, reason=reason, exit_code=exit_code)  # fmt: skip
        running.over.set()
        service = task._backend.services.get(f"{task.cluster_name}:{task.group.partition(':')[2]}")
        if service is not None:
            self._deregister(service, running)
            if running.served:
                self._count(service)
                self.reconcile(task._backend, service)  # another one takes its place

    def stop(self, running: Running, reason: str, grace_seconds: int) -> None:
        """Stop a task as AWS does: SIGTERM, then SIGKILL after the grace time."""
        running.stopping = reason
        running.task.desired_status = "STOPPED"
        if running.process is None or running.over.is_set():
            return
        running.process.terminate()

        def kill() -> None:
            if not running.over.wait(grace_seconds) and running.process is not None:
                running.process.kill()

        threading.Thread(target=kill, daemon=True).start()

    def _prepare(self, running: Running, definition: Any) -> tuple[subprocess.Popen[bytes], Callable[[], None]]:
        task = running.task
        containers = definition.container_definitions
        if len(containers) != 1:
            raise CannotStartError("the rehearsal runs tasks with one container")
        container = containers[0]
        network = task.network_configuration["awsvpcConfiguration"]
        place = Place(
            "task",
            tuple(network["subnets"]),
            tuple(network.get("securityGroups", [])),
            public=network.get("assignPublicIp") == "ENABLED",
        )
        vpc = self.world.network(place.subnets)
        where = identities.Place(vpc.vpc_id, place.subnets)
        execution = self._assume(definition.execution_role_arn, task, where)
        image = self._pull(container["image"], execution, vpc, place)
        values = self._secrets(container, execution, vpc, place)
        overrides: dict[str, Any] = next(
            (o for o in task.overrides.get("containerOverrides", []) if o["name"] == container["name"]),
            {},
        )
        environment = {
            **image_environment(self.world.render / "app" / "Dockerfile"),
            **{e["name"]: e["value"] for e in container.get("environment", [])},
            **values,
            **{e["name"]: e["value"] for e in overrides.get("environment", [])},
            # What Fargate gives to every task.
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "AWS_REGION": self.world.region,
            "AWS_DEFAULT_REGION": self.world.region,
            **self._task_credentials(task, task.overrides.get("taskRoleArn") or definition.task_role_arn, where),
            # What leads to the simulator instead of AWS.
            **self.world.sdk_environment(vpc, place),
            **python_environment(),
        }
        user = str(container.get("user") or "").partition(":")[0]
        writable = [m["containerPath"] for m in container.get("mountPoints", []) if not m.get("readOnly")]
        specification = {
            "directory": str(image),
            "places": self.world.reachable_databases(vpc, place),
            "published": {str(p["containerPort"]): running.port for p in container.get("portMappings", [])},
            "user": self.world.user(int(user) if user.isdigit() else None),
            "writable": writable if container.get("readonlyRootFilesystem") else None,
            "packages": None,
        }
        log = self._log(container, task, execution, vpc, place)
        command = overrides.get("command") or container.get("command")
        name = f"task-{definition.family}-{task.id[:8]}"
        process = self.world.run(name, command, environment, specification)
        record = self.world.directory / f"{name}.environment.json"
        record.write_text(json.dumps(sorted(environment)), encoding="utf-8")
        return process, lambda: log(process)

    def _need(self, vpc: Vpc, place: Place, service: str, what: str) -> None:
        verdict = vpc.to_service(place, service)
        if verdict.reach != "yes":
            raise CannotStartError(
                f"ResourceInitializationError: unable to {what}: {service} cannot be reached ({verdict.because})"
            )

    def _assume(self, role_arn: str, task: Any, where: identities.Place) -> dict[str, str]:
        """Return credentials of a task's role: its trust policy decides."""
        try:
            return self.world.identities.for_service(
                "ecs-tasks.amazonaws.com", role_arn, task.task_arn, task.id, place=where
            )
        except identities.RefusedError as error:
            raise CannotStartError(f"ECS was unable to assume the role {role_arn}: {error}") from error

    def _task_credentials(self, task: Any, role_arn: str | None, where: identities.Place) -> dict[str, str]:
        """Return the variable by which a task's SDK finds its role's credentials."""
        if not role_arn:
            return {}
        token = secrets.token_urlsafe(16)
        self.world.task_credentials[token] = self._assume(role_arn, task, where)
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.world.endpoint}/rehearsal/credentials/{token}"}

    def _pull(self, image: str, execution: Mapping[str, str], vpc: Vpc, place: Place) -> Path:
        match = re.fullmatch(r"(\d{12}\.dkr\.ecr\.[^/]+)/(.+)@(sha256:[0-9a-f]{64})", image)
        if match is None:
            raise CannotStartError(f"CannotPullContainerError: {image} is not an ECR image with a digest")
        for service in ("ecr.api", "ecr.dkr", "s3"):
            self._need(vpc, place, service, "pull the image")
        _, name, digest = match.groups()
        ecr = self.world.client("ecr", execution)
        try:
            ecr.get_authorization_token()
            found = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": digest}])["images"]
            if not found:
                raise CannotStartError(f"CannotPullContainerError: {image}: not found")
            manifest = json.loads(found[0]["imageManifest"])
            for blob in [manifest.get("config"), *manifest.get("layers", [])]:
                if blob:
                    ecr.get_download_url_for_layer(repositoryName=name, layerDigest=blob["digest"])
        except ClientError as error:
            raise CannotStartError(f"CannotPullContainerError: {error}") from error
        with self.lock:
            if digest not in self.images:
                self.images[digest] = self._unpack(digest)
            aurora.trust(self.world, self.images[digest])
        return self.images[digest]

    def _unpack(self, digest: str) -> Path:
        """Lay out the files that the Dockerfile copies into the image: what .dockerignore admits."""
        directory = self.world.directory / "images" / digest.removeprefix("sha256:")[:12]
        render = self.world.render
        for file in image_files(render):
            target = directory / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(render / file, target)
        return directory

    def _secrets(
        self, container: Mapping[str, Any], execution: Mapping[str, str], vpc: Vpc, place: Place
    ) -> dict[str, str]:
        values = {}
        for secret in container.get("secrets", []):
            source = secret["valueFrom"]
            service = "secretsmanager" if ":secretsmanager:" in source else "ssm"
            self._need(vpc, place, service, "pull secrets")
            client = self.world.client(service, execution)
            try:
                if service == "secretsmanager":
                    arn, key = ":".join(source.split(":")[:7]), (*source.split(":")[7:], "")[0]
                    text = client.get_secret_value(SecretId=arn)["SecretString"]
                    values[secret["name"]] = str(json.loads(text)[key]) if key else text
                else:
                    name = source.partition(":parameter")[2] or source
                    found = client.get_parameters(Names=[name], WithDecryption=True)["Parameters"]
                    if not found:
                        raise CannotStartError(
                            f"ResourceInitializationError: unable to pull secrets: {source} is not there"
                        )
                    values[secret["name"]] = found[0]["Value"]
            except ClientError as error:
                raise CannotStartError(f"ResourceInitializationError: unable to pull secrets: {error}") from error
        return values

    def _log(
        self, container: Mapping[str, Any], task: Any, execution: Mapping[str, str], vpc: Vpc, place: Place
    ) -> Callable[[subprocess.Popen[bytes]], None]:
        self._need(vpc, place, "logs", "create the log stream")
        options = container["logConfiguration"]["options"]
        group = options["awslogs-group"]
        stream = f"{options['awslogs-stream-prefix']}/{container['name']}/{task.id}"
        logs = self.world.client("logs", execution)
        try:
            logs.create_log_stream(logGroupName=group, logStreamName=stream)
        except logs.exceptions.ResourceNotFoundException:
            raise CannotStartError(f"ResourceInitializationError: the log group {group} does not exist") from None
        except ClientError as error:
            raise CannotStartError(f"ResourceInitializationError: failed to create the log stream: {error}") from error

        def pump(process: subprocess.Popen[bytes]) -> None:
            with (self.world.directory / f"task-{task.id[:8]}.log").open("ab", buffering=0) as copy:
                for line in process.stdout or ():
                    copy.write(line)
                    text = line.decode(errors="replace").rstrip("\n")
                    if text:
                        with contextlib.suppress(ClientError):
                            logs.put_log_events(
                                logGroupName=group,
                                logStreamName=stream,
                                logEvents=[{"timestamp": round(time.time() * 1000), "message": text}],
                            )

        return pump

    def _check_health(self, running: Running, definition: Any) -> None:
        container = definition.container_definitions[0]
        check = container.get("healthCheck")
        if not check or not container.get("portMappings"):
            running.healthy = True
            return
        command = check["command"]
        command = shlex.split(command[1]) if command[0] == "CMD-SHELL" else command[1:]
        specification = {
            "directory": str(self.images[container["image"].partition("@")[2]]),
            "places": {},
            "published": {str(p["containerPort"]): running.port for p in container["portMappings"]},
            "user": None,
            "writable": None,
            "packages": None,
        }
        deadline = time.monotonic() + check.get("startPeriod", 0) + check.get("retries", 3) * check.get("interval", 30)
        environment = {e["name"]: e["value"] for e in container.get("environment", [])}
        while not running.over.is_set():
            probe = self.world.run(
                f"health-{running.task.id[:8]}",
                command,
                environment | python_environment(),
                specification,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                probe.wait(check.get("timeout", 5) + 3)
            probe.kill()
            healthy = probe.wait() == 0
            running.task.containers[0].health_status = "HEALTHY" if healthy else "UNHEALTHY"
            running.task.health_status = running.task.containers[0].health_status
            running.healthy = healthy
            if healthy:
                return
            if time.monotonic() > deadline:
                self.stop(running, "Task failed container health checks", 5)
                return
            running.over.wait(HEALTH_SECONDS)

    # Services.

    def reconcile(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        """Bring a service's tasks to what it declares, in the background."""
        threading.Thread(target=self._reconcile, args=(backend, service), daemon=True).start()

    def _of(self, service: Service) -> list[Running]:
        group = f"service:{service.name}"
        return [
            r
            for r in self.running.values()
            if r.task.group == group and r.task.cluster_arn == service.cluster_arn and not r.over.is_set()
        ]

    def _reconcile(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        lock = self.reconciling.setdefault(service.arn, threading.Lock())
        with lock:
            deployment = service.deployments[0]
            # The circuit breaker is for deployments: what ends after one is tried again until it starts.
            deploying = deployment["rolloutState"] != "COMPLETED"
            definition = backend.describe_task_definition(str(service.task_definition))
            current = [r for r in self._of(service) if r.task.task_definition_arn == definition.arn and not r.stopping]
            failures = 0
            while len(current) < (wanted := _wanted(service)):
                if service.deployments[0]["id"] != deployment["id"]:
                    return  # a newer deployment waits for the lock
                running = self._start_for(backend, service, definition)
                if self._wait_for(service, running):
                    current.append(running)
                    self._count(service)
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
            for old in self._of(service):
                if old not in current[:wanted]:
                    self._deregister(service, old)
                    self.stop(old, f"Scaling activity initiated by (deployment {service.name})", grace)
            self._count(service)
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
        return self.start(task, definition)

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
                    self.stop(running, f"Task failed ELB health checks in ({why})", 5)
            running.over.wait(HEALTH_SECONDS if deadline else 0.1)
        return False

    def _groups(self, service: Service) -> list[tuple[FakeTargetGroup, int]]:
        groups = elbv2_backends[self.world.account_id][self.world.region].target_groups
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

    def _deregister(self, service: Service, running: Running) -> None:
        for group, _ in self._groups(service):
            if running.address in group.targets:
                group.deregister([{"Id": running.address}])

    def target_health(self, group: FakeTargetGroup, address: str) -> tuple[str, str | None]:
        """Ask a target as the load balancer does: its state and, when it is not healthy, why."""
        running = next((r for r in self.running.values() if r.address == address and not r.over.is_set()), None)
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
        for running in list(self.running.values()):
            if running.address in group.targets and running.healthy and not running.stopping:
                return running.port
        return None

    def _give_up(self, backend: EC2ContainerServiceBackend, service: Service) -> None:
        deployment = service.deployments[0]
        deployment |= {
            "rolloutState": "FAILED",
            "rolloutStateReason": "ECS deployment circuit breaker: tasks failed to start.",
        }
        self._count(service)
        self._event(service, f"(deployment {deployment['id']}) deployment failed: tasks failed to start.")
        breaker = (getattr(service, "deployment_configuration", None) or {}).get("deploymentCircuitBreaker") or {}
        good = service.__dict__.get("good_definition")
        if breaker.get("rollback") and good and good != service.task_definition:
            service.task_definition = good
            self.new_deployment(service, "rolling back to")
            service.deployments[0]["rolloutState"] = "COMPLETED"
            self._count(service)

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

    def _count(self, service: Service) -> None:
        tasks = [r for r in self._of(service) if not r.stopping]
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

    def close(self) -> None:
        """Stop every task."""
        for running in list(self.running.values()):
            self.stop(running, "the rehearsal ends", 5)
        for running in list(self.running.values()):
            if running.process is not None:
                running.over.wait(6)


def _wanted(service: Service) -> int:
    return int(service.desired_count) if service.status == "ACTIVE" else 0


def _in_range(status: int, part: str) -> bool:
    low, _, high = part.partition("-")
    return int(low) <= status <= int(high or low)


def image_environment(dockerfile: Path) -> dict[str, str]:
    """Return what `ENV` in the last stage of a Dockerfile sets; PATH leads to this Python."""
    text = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    last = re.split(r"(?m)^FROM\s", text)[-1]
    variables = {}
    for line in re.findall(r"(?m)^ENV\s+(.+)$", last):
        for assignment in shlex.split(line):
            name, _, value = assignment.partition("=")
            variables[name] = value
    variables.pop("PATH", None)
    return variables


def image_files(render: Path) -> list[Path]:
    """Return the files that `COPY .` takes: those that the last matching line of .dockerignore admits."""
    from fnmatch import fnmatchcase

    ignore = render / ".dockerignore"
    rules = [
        line.strip()
        for line in (ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else [])
        if line.strip() and not line.startswith("#")
    ]

    def admitted(path: Path) -> bool:
        admits = True
        names = [str(path), *(str(parent) for parent in path.parents if str(parent) != ".")]
        for rule in rules:
            pattern = rule.removeprefix("!").strip("/")
            loose = pattern.removeprefix("**/")
            if any(fnmatchcase(name, pattern) for name in names) or (
                loose != pattern and any(fnmatchcase(part, loose) for part in path.parts)
            ):
                admits = rule.startswith("!")
        return admits

    tops = {rule.removeprefix("!").strip("/").split("/")[0] for rule in rules if rule.startswith("!")}
    roots = [render / top for top in tops] if "*" in rules else [render]
    return [
        file.relative_to(render)
        for root in roots
        for file in (sorted(root.rglob("*")) if root.is_dir() else [root])
        if file.is_file() and admitted(file.relative_to(render))
    ]


def install(world: World, manifest: str) -> Fargate:
    """Put this Fargate behind moto's ECS, and the image into the build repository when that is made."""
    fargate = Fargate(world)
    world.closers.append(fargate.close)

    @gap("aws_ecr_repository", "no container engine here pushes an image; its manifest stands for it")
    @wraps(ECRBackend, "create_repository")
    def create_repository(original: Any, backend: ECRBackend, *args: Any, **kwargs: Any) -> Any:
        repository = original(backend, *args, **kwargs)
        digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
        backend.put_image(repository.name, manifest, "rehearsal", digest=digest)
        return repository

    # A task's status is what its process is, not moto's sequence of states.
    Task.advance = lambda _task: None  # type: ignore[method-assign, assignment]
    Task.last_status = property(  # type: ignore[assignment]
        lambda task: task.__dict__.get("true_status", "PROVISIONING"),
        lambda task, value: task.__dict__.__setitem__("true_status", value),
    )

    @gap("aws_ecs_service, RunTask", "tasks never run")
    @wraps(EC2ContainerServiceBackend, "run_task")
    def run_task(original: Any, backend: EC2ContainerServiceBackend, *args: Any, **kwargs: Any) -> Any:
        tasks = original(backend, *args, **kwargs)
        for task in tasks:
            fargate.start(task, backend.describe_task_definition(task.task_definition_arn))
        return tasks

    @gap("RunTask", "a container without memory of its own, as Fargate's may be, breaks the call")
    @wraps(EC2ContainerServiceBackend, "_calculate_task_resource_requirements")
    def resource_requirements(_original: Any, *_: Any) -> dict[str, Any]:
        return {}  # what instances have to offer, and there are none

    @wraps(EC2ContainerServiceBackend, "stop_task")
    def stop_task(original: Any, backend: EC2ContainerServiceBackend, cluster: str, task_id: str, reason: str) -> Any:
        wanted = task_id.rpartition("/")[2]
        for arn, running in fargate.running.items():
            if arn.endswith(wanted):
                fargate.stop(running, reason or "Task stopped by user", 30)
                return running.task
        return original(backend, cluster, task_id, reason)

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

    @wraps(EC2ContainerServiceResponse, "create_service")
    def create_service(original: Any, response: EC2ContainerServiceResponse) -> ActionResult:
        answer: ActionResult = original(response)
        service = answer.result["service"]  # type: ignore[index]
        service.deployments[0] |= {"rolloutState": "IN_PROGRESS", "runningCount": 0}
        fargate.reconcile(ecs_backends[response.current_account][response.region], service)
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
            fargate.new_deployment(service)
        fargate._count(service)
        fargate.reconcile(backend, service)
        return service

    @wraps(EC2ContainerServiceBackend, "delete_service")
    def delete_service(original: Any, backend: EC2ContainerServiceBackend, *args: Any, **kwargs: Any) -> Service:
        service: Service = original(backend, *args, **kwargs)
        for running in fargate._of(service):
            fargate._deregister(service, running)
            fargate.stop(running, "service deleted", 30)
        service.running_count = service.pending_count = 0
        return service

    @gap("aws_lb_target_group", "every registered target is healthy")
    @wraps(FakeTargetGroup, "health_for")
    def health_for(original: Any, group: FakeTargetGroup, target: dict[str, Any], ec2: Any) -> Any:
        status: FakeHealthStatus = original(group, target, ec2)
        if target["Id"] in group.targets and group.target_type == "ip":
            status.status, status.reason = fargate.target_health(group, target["Id"])
        return status

    return fargate
