"""What ECS does before a task's container starts, in the name of its roles.

It takes the roles, pulls the image, reads the secrets and opens the log: each by the API, with the execution role's credentials
and from the task's place in the network, so IAM, endpoint policies and routes decide as on AWS.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from ops.rehearsal.reachability import Place, Vpc
from ops.rehearsal.simulator import aurora, identities
from ops.rehearsal.simulator.image_files import image_files, image_packages

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World


class CannotStartError(Exception):
    """The reason why AWS would not start a task: what `stoppedReason` says."""


class Provisioning:
    """Gets a task ready to start. Every method raises CannotStartError with what `stoppedReason` would say."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.images: dict[str, Path] = {}
        self.lock = threading.Lock()

    def _need(self, vpc: Vpc, place: Place, service: str, what: str) -> None:
        verdict = vpc.to_service(place, service)
        if verdict.reach != "yes":
            raise CannotStartError(
                f"ResourceInitializationError: unable to {what}: {service} cannot be reached ({verdict.because})"
            )

    def assume(self, role_arn: str, task: Any, where: identities.Place) -> dict[str, str]:
        """Return credentials of a task's role: its trust policy decides."""
        try:
            return self.world.identities.for_service(
                "ecs-tasks.amazonaws.com", role_arn, task.task_arn, task.id, place=where
            )
        except identities.RefusedError as error:
            raise CannotStartError(f"ECS was unable to assume the role {role_arn}: {error}") from error

    def task_credentials(self, task: Any, role_arn: str | None, where: identities.Place) -> dict[str, str]:
        """Return the variable by which a task's SDK finds its role's credentials."""
        if not role_arn:
            return {}
        token = secrets.token_urlsafe(16)
        self.world.task_credentials[token] = self.assume(role_arn, task, where)
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.world.endpoint}/rehearsal/credentials/{token}"}

    def pull(self, image: str, execution: Mapping[str, str], vpc: Vpc, place: Place) -> Path:
        """Return the folder with an image's files."""
        match = re.fullmatch(r"(\d{12})\.dkr\.ecr\.[^/]+/(.+)@(sha256:[0-9a-f]{64})", image)
        if match is None:
            raise CannotStartError(f"CannotPullContainerError: {image} is not an ECR image with a digest")
        for service in ("ecr.api", "ecr.dkr", "s3"):
            self._need(vpc, place, service, "pull the image")
        registry, name, digest = match.groups()
        repository = {"registryId": registry, "repositoryName": name}
        ecr = self.world.client("ecr", execution)
        try:
            ecr.get_authorization_token()
            found = ecr.batch_get_image(**repository, imageIds=[{"imageDigest": digest}])["images"]
            if not found:
                raise CannotStartError(f"CannotPullContainerError: {image}: not found")
            manifest = json.loads(found[0]["imageManifest"])
            for blob in [manifest.get("config"), *manifest.get("layers", [])]:
                if blob:
                    ecr.get_download_url_for_layer(**repository, layerDigest=blob["digest"])
        except ClientError as error:
            raise CannotStartError(f"CannotPullContainerError: {error}") from error
        with self.lock:
            if digest not in self.images:
                self.images[digest] = self._unpack(digest)
            aurora.trust(self.world, self.images[digest])
        return self.images[digest]

    def secrets_of(
        self, container: Mapping[str, Any], execution: Mapping[str, str], vpc: Vpc, place: Place
    ) -> dict[str, str]:
        """Return the values of a container's secrets, by variable."""
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

    def log(
        self, container: Mapping[str, Any], task: Any, execution: Mapping[str, str], vpc: Vpc, place: Place
    ) -> Callable[[subprocess.Popen[bytes]], None]:
        """Open a task's log stream; returns what copies a process's output to it until that ends."""
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

    def _unpack(self, digest: str) -> Path:
        """Lay out the files of the image, or without one those that the Dockerfile copies: what .dockerignore admits."""
        directory = self.world.directory / "images" / digest.removeprefix("sha256:")[:12]
        render = self.world.render
        if self.world.image_files is not None:
            shutil.copytree(self.world.image_files, directory)
        else:
            for file in image_files(render):
                target = directory / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(render / file, target)
        # As the Dockerfile does: tasks may not write what they compile, and each would compile everything again.
        packages = [] if self.images else image_packages(render)
        subprocess.run(  # noqa: S603 - this Python, with folders of our own
            [sys.executable, "-m", "compileall", "-q", directory, *packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return directory
