"""`make test-image`: builds the service's image, starts it as ECS does, and checks its contract.

As ECS does: as the image's own user, without capabilities, on a file system that can't be written to but for /tmp, with
the variables of a task. Docker or Podman does that. As root, buildah does it too, without an engine: it builds in a
chroot, and the image's file system is then entered by chroot. Its database is not there, which the contract allows.

Exit code 1 when the image can't be built or breaks a rule, or project.yaml is broken, 2 when nothing here can build one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ops import processes
from ops.laptop.dev import settings
from ops.laptop.secret_file import NotUsableError

ROOT = Path(__file__).parents[2]
TAG = "test-image"
_FILE = ["--file", "app/Dockerfile", "--tag", TAG, "."]
# Enters a file system ($0) that can't be written to but for /tmp, with the processes and devices of this machine.
_ENTER = """
mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; mount -t tmpfs -o mode=1777 tmpfs "$0/tmp"
exec "$@"
"""


class BuildError(Exception):
    """The image could not be built, or nothing here can build one; the message is for people."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def builder() -> str:
    """The first of docker, podman and buildah that works here. Raises BuildError in one line."""
    for engine in ("docker", "podman"):
        if shutil.which(engine) and processes.run([engine, "info"], seconds=60).ok:
            return engine
    if shutil.which("buildah") and os.geteuid() == 0:
        return "buildah"
    raise BuildError(
        "Nothing here can build an image: start Docker or Podman, or install one (https://docs.docker.com/engine/install);"
        " as root `apt-get install buildah` does too.",
        code=2,
    )


def variables(port: int) -> dict[str, str]:
    """What a task's definition says, for what this repository has. Raises NotUsableError where project.yaml is broken."""
    project = settings()
    found = {
        "APP_NAME": project["app_name"],
        "ENVIRONMENT": "test",
        "RELEASE": TAG,
        "PORT": str(port),
        "AWS_REGION": project["aws_region"],
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nobody",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if (ROOT / "role_manager").is_dir():
        found |= {"DB_HOST": "localhost", "DB_PORT": "1", "DB_NAME": "app", "DB_USER": "app", "DB_SCHEMA": "app"}
        found |= {"DB_CA_BUNDLE": "/service/role_manager/rds-ca-bundle.pem"}
    if (ROOT / "app" / "flags.json").exists():
        found |= {"FLAGS_FILE": "/service/app/flags.json"}
    return found


def _must(*command: str) -> str:
    """What a command prints. Raises BuildError with the end of its words when it fails."""
    finished = processes.run(command, folder=ROOT)
    if not finished.ok:
        raise BuildError(f"{' '.join(command[:2])} failed:\n{finished.tail(30)}")
    return finished.out.strip()


@contextlib.contextmanager
def started_by(engine: str, environment: dict[str, str]) -> Iterator[list[str]]:
    """Build the image; yield the command that runs it, and ends with the service's exit code on SIGTERM."""
    if engine != "buildah":
        _must(engine, "build", *_FILE)
        said = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        port = environment["PORT"]
        closed = ["--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]  # noqa: S108
        yield [engine, "run", "--rm", *closed, f"--publish=127.0.0.1:{port}:{port}", *said, TAG]
        return
    _must("buildah", "bud", "--isolation", "chroot", *_FILE)
    image = json.loads(_must("buildah", "inspect", "--type", "image", TAG))["OCIv1"]["config"]
    container = _must("buildah", "from", "--pull-never", TAG)
    try:
        files = _must("buildah", "mount", container)
        (Path(files) / "tmp").mkdir(exist_ok=True)
        words = [*image["Env"], *(f"{name}={value}" for name, value in environment.items())]
        enter = ["unshare", "--mount", "bash", "-euc", _ENTER, files]
        yield [
            *enter, "chroot", f"--userspec={image['User']}", files,
            "env", "-i", "-C", image["WorkingDir"], *words, *image["Cmd"],
        ]  # fmt: skip
    finally:
        processes.run(["buildah", "rm", container])
        processes.run(["buildah", "rmi", TAG])


def main() -> int:
    """Build, start, check; return the exit code."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    try:
        environment = variables(port)
        engine = builder()
        sys.stdout.write(f"Building with {engine}\n")
        with started_by(engine, environment) as command:
            checked = processes.run(
                [sys.executable, "-m", "ops.laptop.contract"],
                folder=ROOT,
                environment=os.environ | {"START": shlex.join(command), "PORT": str(port)},
            )
    except NotUsableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return error.code
    sys.stdout.write(checked.out + checked.err)
    return checked.status


if __name__ == "__main__":
    sys.exit(main())
