"""Fargate's tasks: each one is a process on this machine, exactly as its task definition says.

A task starts only when it would on AWS: `provisioning` says what that takes.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ops.rehearsal.reachability import Place
from ops.rehearsal.simulator import identities
from ops.rehearsal.simulator.image_files import image_environment
from ops.rehearsal.simulator.provisioning import CannotStartError, Provisioning
from ops.rehearsal.simulator.world import free_port, python_environment

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

HEALTH_SECONDS = 0.5  # between two looks; on AWS this is the task definition's interval


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


class Tasks:
    """Runs the tasks of one simulated account; `ended` is called with each one that is over."""

    def __init__(self, world: World, ended: Callable[[Running], None]) -> None:
        self.world = world
        self.ended = ended
        self.running: dict[str, Running] = {}
        self.provisioning = Provisioning(world)

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
        self.ended(running)

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
        account = task.task_arn.split(":")[4]
        vpc = self.world.network(place.subnets, account)
        where = identities.Place(vpc.vpc_id, place.subnets)
        execution = self.provisioning.assume(definition.execution_role_arn, task, where)
        image = self.provisioning.pull(container["image"], execution, vpc, place)
        values = self.provisioning.secrets_of(container, execution, vpc, place)
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
            **self.provisioning.task_credentials(
                task, task.overrides.get("taskRoleArn") or definition.task_role_arn, where
            ),
            # What leads to the simulator instead of AWS.
            **self.world.sdk_environment(vpc, place),
            **python_environment(),
        }
        user = str(container.get("user") or "").partition(":")[0]
        writable = [m["containerPath"] for m in container.get("mountPoints", []) if not m.get("readOnly")]
        specification = {
            "directory": str(image),
            "places": self.world.reachable_databases(vpc, place, account),
            "published": {str(p["containerPort"]): running.port for p in container.get("portMappings", [])},
            "user": self.world.user(int(user) if user.isdigit() else None),
            "writable": writable if container.get("readonlyRootFilesystem") else None,
            "packages": None,
        }
        log = self.provisioning.log(container, task, execution, vpc, place)
        command = overrides.get("command") or container.get("command")
        name = f"task-{definition.family}-{task.id[:8]}"
        process = self.world.run(name, command, environment, specification)
        record = self.world.directory / f"{name}.environment.json"
        record.write_text(json.dumps(sorted(environment)), encoding="utf-8")
        return process, lambda: log(process)

    def _check_health(self, running: Running, definition: Any) -> None:
        container = definition.container_definitions[0]
        check = container.get("healthCheck")
        if not check or not container.get("portMappings"):
            running.healthy = True
            return
        command = check["command"]
        command = shlex.split(command[1]) if command[0] == "CMD-SHELL" else command[1:]
        specification = {
            "directory": str(self.provisioning.images[container["image"].partition("@")[2]]),
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

    def close(self) -> None:
        """Stop every task."""
        for running in list(self.running.values()):
            self.stop(running, "the rehearsal ends", 5)
        for running in list(self.running.values()):
            if running.process is not None:
                running.over.wait(6)
