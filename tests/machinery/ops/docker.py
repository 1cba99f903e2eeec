"""Stands in for `docker` on the PATH: builds nothing, and refuses what docker refuses, in its words.

`build` takes the options that docker has, reads the Dockerfile that --file names (from where docker is called), keeps to
the context and its .dockerignore (Dockerfile's own before it), and looks for each source of COPY and ADD there. `login`
wants a user and a password; `push` wants a login to that registry and an image that was built, and puts a manifest into
the simulated ECR.

    python docker.py STATE ARGUMENTS …

STATE is a folder with what was called (`calls`), built and logged in to.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import boto3

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
# https://docs.docker.com/reference/dockerfile/
INSTRUCTIONS = set(
    """
    ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR
    """.split()
)
BUILD_OPTIONS = {"--build-arg", "--file", "-f", "--label", "--platform", "--tag", "-t", "--target", "--progress"}
BUILD_SWITCHES = {"--no-cache", "--pull", "--quiet", "-q"}


def refuse(message: str, code: int = 1) -> NoReturn:
    """End as docker does."""
    sys.stderr.write(f"{message}\n")
    sys.exit(code)


def ignored(rules: list[str], path: PurePosixPath) -> bool:
    """Whether .dockerignore keeps a path out: the last rule that matches it or a folder above it decides."""
    out = False
    for line in rules:
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        kept = rule.startswith("!")
        pattern = os.path.normpath(rule.lstrip("!").strip()).strip("/")
        expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*")
        expression = expression.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        if any(re.fullmatch(expression, str(part)) for part in (path, *path.parents) if str(part) != "."):
            out = not kept
    return out


def context_of(folder: Path, dockerfile: Path) -> set[str]:
    """The files and folders that the build may see, by their path in the context."""
    own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    rules_file = own if own.exists() else folder / ".dockerignore"
    rules = rules_file.read_text(encoding="utf-8").splitlines() if rules_file.exists() else []
    seen = {"."}
    for directory, _folders, names in os.walk(folder):
        for name in names:
            path = PurePosixPath(Path(directory, name).relative_to(folder).as_posix())
            if not ignored(rules, path):
                seen |= {str(path), *(str(parent) for parent in path.parents)}
    return seen


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, instruction and arguments, with continued lines joined and comments left out."""
    pending, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith("#") or (not line.strip() and not pending):
            continue
        begun = begun if pending else number
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        name, _, arguments = pending.partition(" ")
        yield begun, name.upper(), arguments.strip()
        pending = ""


def copied(arguments: str) -> tuple[dict[str, str], list[str], str]:
    """Options, sources and destination of a COPY or an ADD."""
    words = json.loads(arguments[arguments.index("[") :]) if "[" in arguments else shlex.split(arguments)
    options = dict(word[2:].split("=", 1) for word in shlex.split(arguments) if word.startswith("--") and "=" in word)
    words = [word for word in words if not word.startswith("--")]
    return options, words[:-1], words[-1] if words else ""


def check(folder: Path, dockerfile: Path) -> None:
    """Refuse a Dockerfile that can't be built in this context."""
    seen = context_of(folder, dockerfile)
    stages: list[str] = []
    for line, name, arguments in instructions(dockerfile.read_text(encoding="utf-8")):
        if name not in INSTRUCTIONS:
            refuse(f"ERROR: failed to solve: dockerfile parse error on line {line}: unknown instruction: {name}")
        if name == "FROM":
            words = arguments.split()
            stages.append(words[-1] if len(words) > 2 and words[-2].lower() == "as" else str(len(stages)))
        elif not stages and name != "ARG":
            refuse(f"ERROR: failed to solve: dockerfile parse error on line {line}: no build stage in current context")
        if name not in ("COPY", "ADD"):
            continue
        options, sources, target = copied(arguments)
        if not sources:
            refuse(
                f"ERROR: failed to solve: dockerfile parse error on line {line}: {name} requires at least two arguments,"
                f" but only {1 if target else 0} was provided"
            )
        if len(sources) > 1 and not target.endswith("/"):
            refuse(
                f"ERROR: failed to solve: dockerfile parse error on line {line}: When using {name} with more than one"
                " source file, the destination must be a directory and end with a /"
            )
        if "from" in options:
            numbers = {str(number) for number in range(len(stages) - 1)}
            if options["from"] not in {*stages, *numbers} and not re.search(r"[/:]", options["from"]):
                refuse(
                    f"ERROR: failed to solve: {options['from']}: failed to resolve source metadata for"
                    f" docker.io/library/{options['from']}:latest: pull access denied, repository does not exist"
                )
            continue
        for source in sources:
            if re.match(r"https?://", source) and name == "ADD":
                continue
            # What leads out of the context ends at its top.
            inside = os.path.normpath("/" + source).lstrip("/") or "."
            pattern = re.compile(fnmatch.translate(inside))
            if not any(pattern.match(path) and path.count("/") == inside.count("/") for path in seen):
                refuse(
                    "ERROR: failed to solve: failed to compute cache key: failed to calculate checksum of ref"
                    f' stand-in::{line}: "/{inside}": not found'
                )
    if not stages:
        refuse("ERROR: failed to solve: file with no instructions")


def build(state: Path, arguments: list[str]) -> None:
    """`docker build`."""
    options: dict[str, str] = {}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name in BUILD_OPTIONS:
            options[{"-f": "--file", "-t": "--tag"}.get(name, name)] = value if equals else next(words, "")
        elif word.startswith("-") and word not in BUILD_SWITCHES:
            refuse(f"unknown flag: {word}\n\nUsage:  docker buildx build [OPTIONS] PATH | URL | -", 125)
        elif not word.startswith("-"):
            rest.append(word)
    if len(rest) != 1:
        refuse('ERROR: "docker buildx build" requires 1 argument.')
    folder = Path(rest[0])
    if not folder.is_dir():
        refuse(f'ERROR: unable to prepare context: path "{folder}" not found')
    dockerfile = Path(options.get("--file", folder / "Dockerfile"))
    if not dockerfile.is_file():
        refuse(f"ERROR: failed to solve: failed to read dockerfile: open {dockerfile.name}: no such file or directory")
    check(folder, dockerfile)
    if tag := options.get("--tag"):
        with (state / "built").open("a", encoding="utf-8") as file:
            file.write(f"{tag}\n")


def lines(path: Path) -> list[str]:
    """What was noted."""
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def login(state: Path, arguments: list[str]) -> None:
    """`docker login --username NAME --password-stdin REGISTRY`."""
    if "--password-stdin" not in arguments or "--username" not in arguments:
        refuse("Error: Cannot perform an interactive login from a non TTY device")
    if not sys.stdin.read().strip() or not arguments[arguments.index("--username") + 1]:
        refuse("Error: Password Required")
    with (state / "logins").open("a", encoding="utf-8") as file:
        file.write(f"{arguments[-1]}\n")


def push(state: Path, arguments: list[str]) -> None:
    """`docker push IMAGE`: into the simulated build repository."""
    (image,) = arguments
    repository, tag = image.rsplit(":", 1)
    registry, _, name = repository.partition("/")
    if image not in lines(state / "built"):
        refuse(f"An image does not exist locally with the tag: {repository}")
    if registry not in lines(state / "logins"):
        refuse(f"push access denied for {repository}: no basic auth credentials")
    region = re.search(r"\.ecr\.([a-z0-9-]+)\.", registry)
    ecr: Any = boto3.client("ecr", region_name=region.group(1) if region else None)
    manifest = json.dumps({"schemaVersion": 2, "of": tag})
    ecr.put_image(repositoryName=name, imageTag=tag, imageManifest=manifest, imageManifestMediaType=MEDIA_TYPE)


COMMANDS = {"build": build, "login": login, "push": push}


def main(state: Path, arguments: list[str]) -> None:
    """Note the call, and do or refuse it."""
    with (state / "calls").open("a", encoding="utf-8") as file:
        file.write(" ".join(arguments) + "\n")
    command = COMMANDS.get(arguments[0] if arguments else "")
    if command is None:
        refuse(f"docker: '{' '.join(arguments[:1])}' is not a docker command.\nSee 'docker --help'")
    command(state, arguments[1:])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
