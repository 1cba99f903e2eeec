"""The service's image, built where this machine can build one: tasks then run the files that are in it."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from pathlib import Path

from ops import processes

DOCKERFILE = Path("app") / "Dockerfile"
TAG = "rehearsal-of-the-service"
HOME = "service"  # the folder of the image in which the service is
ENGINES = ("docker", "podman")


class NotBuiltError(Exception):
    """Why there is no image: nothing here builds one, or its base is not to be had."""


class BrokenError(Exception):
    """The image does not build; the message is the end of what the builder said."""


def builder() -> str:
    """Return the first of docker, podman and buildah that works here. Raises NotBuiltError."""
    for engine in ENGINES:
        if shutil.which(engine) and processes.run([engine, "info"], seconds=60).ok:
            return engine
    if shutil.which("buildah") and os.geteuid() == 0:
        return "buildah"
    raise NotBuiltError("neither Docker nor Podman runs here, and there is no buildah")


def build(root: Path, target: Path) -> str:
    """Build the image of a repository and copy the service's files out of it; returns what built it.

    Raises NotBuiltError where that cannot be done here, and BrokenError where the Dockerfile is wrong.
    """
    program = builder()
    for base in bases((root / DOCKERFILE).read_text(encoding="utf-8")):
        known = processes.run([program, "inspect", "--type=image", base], seconds=60).ok
        if not known and not (pulled := processes.run([program, "pull", base], seconds=600)).ok:
            raise NotBuiltError(f"{program} has no {base}, and does not get it: {pulled.tail(1)}")
    isolated = ["bud", "--isolation", "chroot"] if program == "buildah" else ["build"]
    _must([program, *isolated, "--file", DOCKERFILE, "--tag", TAG, "."], root)
    if program == "buildah":
        container = _must([program, "from", "--pull-never", TAG], root)
        try:
            shutil.copytree(Path(_must([program, "mount", container], root)) / HOME, target)
        finally:
            processes.run([program, "rm", container])
    else:
        container = _must([program, "create", TAG], root)
        whole = target.with_suffix(".tar")
        try:
            _must([program, "export", "--output", str(whole), container], root)
            with tarfile.open(whole) as archive:
                inside = [member for member in archive if member.name.split("/")[0] == HOME]
                archive.extractall(target.parent, members=inside, filter="data")
            (target.parent / HOME).rename(target)
        finally:
            processes.run([program, "rm", container])
            whole.unlink(missing_ok=True)
    processes.run([program, "rmi", TAG])
    return program


def bases(dockerfile: str) -> list[str]:
    """Return the images that a Dockerfile starts from and does not make itself."""
    stages = re.findall(r"(?im)^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", dockerfile)
    made = {name for _, name in stages if name}
    return list(dict.fromkeys(base for base, _ in stages if base not in made and base != "scratch"))


def _must(command: list[str | Path], root: Path) -> str:
    finished = processes.run(command, folder=root)
    if not finished.ok:
        raise BrokenError(f"{' '.join(str(word) for word in command[:2])} failed:\n{finished.tail(30)}")
    return finished.out.strip()
