"""The part of `docker` that jobs use, as strict as docker: build from a context, login, push to ECR, pull, inspect.

An image is a folder: what COPY takes out of the context, and nothing else. RUN does not run. Local images are in the home of
who builds them; a registry's are in $IMAGES, by digest, and ECR in the simulated AWS says who may put and get them.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import boto3
from botocore.exceptions import BotoCoreError, ClientError

HOME = Path(os.environ.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker")
LOCAL = HOME / "images"
MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def stop(message: str) -> NoReturn:
    """End as docker does."""
    sys.exit(f"ERROR: {message}")


def ignored(rules: list[str], path: str) -> bool:
    """Whether .dockerignore keeps a path out of the context; the last rule that matches decides."""
    found = False
    parents = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
    for rule in rules:
        pattern = rule.removeprefix("!").strip("/")
        tried = [pattern, pattern.replace("**/", "")] if "**/" in pattern else [pattern]
        if any(
            fnmatch.fnmatchcase(parent, each) or ("**/" in pattern and fnmatch.fnmatchcase(parent, pattern))
            for parent in parents
            for each in tried
        ):
            found = not rule.startswith("!")
    return found


def context_of(root: Path) -> dict[str, Path]:
    """The files that a build may see."""
    if not root.is_dir():
        stop(f"unable to prepare context: path {str(root)!r} not found")
    listed = (root / ".dockerignore").read_text().splitlines() if (root / ".dockerignore").exists() else []
    rules = [line.strip() for line in listed if line.strip() and not line.startswith("#")]
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path for name, path in files.items() if not ignored(rules, name)}


def build(words: list[str]) -> None:
    """docker build [--file F] [--tag T] CONTEXT"""
    valued = {
        "--file",
        "-f",
        "--tag",
        "-t",
        "--platform",
        "--build-arg",
        "--label",
        "--target",
        "--provenance",
        "--progress",
        "--iidfile",
        "--cache-from",
        "--cache-to",
    }
    options: dict[str, list[str]] = {}
    rest: list[str] = []
    words = [
        part
        for word in words
        for part in (
            word.split("=", 1) if word.startswith("--") and "=" in word and word.split("=")[0] in valued else [word]
        )
    ]
    while words:
        word = words.pop(0)
        if word in valued:
            options.setdefault({"-f": "--file", "-t": "--tag"}.get(word, word), []).append(words.pop(0))
        elif word in ("--load", "--pull", "--quiet"):
            options[word] = []
        elif word.startswith("-"):
            stop(f"unknown flag: {word} (of this stand-in)")
        else:
            rest.append(word)
    if len(rest) != 1:
        stop('"docker build" requires exactly 1 argument')
    root = Path(rest[0])
    files = context_of(root)
    dockerfile = Path(options.get("--file", [str(root / "Dockerfile")])[-1])
    if not dockerfile.is_file():
        stop(f"failed to read dockerfile: open {dockerfile.name}: no such file or directory")
    work = LOCAL / "building"
    shutil.rmtree(work, ignore_errors=True)
    stages: dict[str, Path] = {}
    config: dict[str, Any] = {}
    stage = work / "0"
    text = re.sub(r"\\\n", " ", dockerfile.read_text())
    for line in text.splitlines():
        name, _, rest_of_line = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        arguments = rest_of_line.split()
        if name.upper() == "FROM":
            stage = work / str(len(stages))
            stage.mkdir(parents=True)
            config = {"directory": "/", "command": [], "environment": {}}
            stages[arguments[2] if len(arguments) > 2 else str(len(stages))] = stage
        elif name.upper() in ("COPY", "ADD"):
            flags = [word for word in arguments if word.startswith("--")]
            *sources, target = [word for word in arguments if not word.startswith("--")]
            origin = next((flag.partition("=")[2] for flag in flags if flag.startswith("--from=")), None)
            there = (
                files
                if origin is None
                else {p.relative_to(stages[origin]).as_posix(): p for p in stages[origin].rglob("*") if p.is_file()}
            )
            for source in sources:
                copy(there, source, stage, target, made=origin is not None)
        elif name.upper() == "WORKDIR":
            config["directory"] = arguments[0]
        elif name.upper() == "CMD":
            config["command"] = json.loads(rest_of_line) if rest_of_line.startswith("[") else ["sh", "-c", rest_of_line]
        elif name.upper() == "ENV":
            config["environment"] |= dict(word.split("=", 1) for word in arguments if "=" in word)
        elif name.upper() not in (
            "RUN",
            "USER",
            "VOLUME",
            "EXPOSE",
            "STOPSIGNAL",
            "HEALTHCHECK",
            "ENTRYPOINT",
            "LABEL",
            "ARG",
        ):
            stop(f"dockerfile parse error: unknown instruction: {name}")
    identifier = hashlib.sha256()
    for path in sorted(stage.rglob("*")):
        if path.is_file():
            identifier.update(path.relative_to(stage).as_posix().encode() + b"\0" + path.read_bytes())
    identifier.update(text.encode())
    image = LOCAL / identifier.hexdigest()
    shutil.rmtree(image, ignore_errors=True)
    stage.rename(image)
    shutil.rmtree(work, ignore_errors=True)
    (LOCAL / f"{identifier.hexdigest()}.json").write_text(json.dumps(config))
    for tag in options.get("--tag", []):
        set_tag(tag, identifier.hexdigest())
    print(f"sha256:{identifier.hexdigest()}")


def copy(files: dict[str, Path], source: str, stage: Path, target: str, *, made: bool) -> None:
    """One source of a COPY. Ends the program when it finds nothing; what a RUN would have made is not missed."""
    clean = source.strip("/").removeprefix("./")
    found = 0
    for name, path in files.items():
        if clean in ("", "."):
            inside = name
        elif name.startswith(f"{clean}/"):
            inside = name.removeprefix(f"{clean}/")
        elif fnmatch.fnmatchcase(name, clean) and name.count("/") == clean.count("/"):
            inside = Path(name).name if target.endswith("/") or "*" in clean or not made else ""
        else:
            continue
        found += 1
        place = stage / target.strip("/") / inside
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    if not found and not made:
        stop(f'failed to compute cache key: failed to calculate checksum of ref: "/{clean}": not found')


def tags() -> dict[str, str]:
    """Local tags and the images that they name."""
    path = LOCAL / "tags.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def set_tag(tag: str, identifier: str) -> None:
    """Give a local image a name."""
    LOCAL.mkdir(parents=True, exist_ok=True)
    (LOCAL / "tags.json").write_text(json.dumps(tags() | {tag: identifier}))


def logged_in(name: str) -> tuple[str, Any]:
    """The repository's name and a client of its registry. Ends the program without a login there."""
    registry, _, repository = name.partition("/")
    config = HOME / "config.json"
    known = json.loads(config.read_text())["auths"] if config.exists() else {}
    if registry not in known:
        stop(f"failed to authorize: no basic auth credentials for {registry}")
    region = registry.split(".")[3]
    return repository, boto3.client("ecr", region_name=region)


def login(words: list[str]) -> None:
    """docker login --username U --password-stdin REGISTRY"""
    if len(words) != 4 or words[0] not in ("--username", "-u") or words[2] != "--password-stdin":
        stop("the stand-in logs in with --username U --password-stdin REGISTRY")
    registry, password = words[3], sys.stdin.read().strip()
    if not password:
        stop("Password: cannot be empty")
    HOME.mkdir(exist_ok=True)
    config = HOME / "config.json"
    known = json.loads(config.read_text())["auths"] if config.exists() else {}
    config.write_text(json.dumps({"auths": known | {registry: password}}))
    print("Login Succeeded")


def push(words: list[str]) -> None:
    """docker push NAME:TAG"""
    [reference] = words
    if reference not in tags():
        stop(f"tag does not exist: {reference}")
    name, _, tag = reference.rpartition(":")
    repository, ecr = logged_in(name)
    identifier = tags()[reference]
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": {"digest": f"sha256:{identifier}"}, "layers": []}
    )
    digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
    ecr.put_image(
        repositoryName=repository,
        imageTag=tag,
        imageManifest=manifest,
        imageDigest=digest,
        imageManifestMediaType=MEDIA_TYPE,
    )
    there = Path(os.environ["IMAGES"]) / digest.removeprefix("sha256:")
    if not there.exists():
        shutil.copytree(LOCAL / identifier, there)
    print(f"{tag}: digest: {digest}")


def pull(words: list[str]) -> None:
    """docker pull NAME:TAG or NAME@DIGEST"""
    [reference] = words
    by_digest = "@" in reference
    name, _, which = reference.partition("@") if by_digest else reference.rpartition(":")
    repository, ecr = logged_in(name)
    key = "imageDigest" if by_digest else "imageTag"
    found = ecr.batch_get_image(repositoryName=repository, imageIds=[{key: which}])["images"]
    if not found:
        stop(f"manifest for {reference} not found: manifest unknown")
    digest = found[0]["imageId"]["imageDigest"]
    identifier = json.loads(found[0]["imageManifest"])["config"]["digest"].removeprefix("sha256:")
    if not (LOCAL / identifier).exists():
        shutil.copytree(Path(os.environ["IMAGES"]) / digest.removeprefix("sha256:"), LOCAL / identifier)
    set_tag(reference, identifier)
    print(f"Status: Downloaded newer image for {reference}")


def inspect(words: list[str]) -> None:
    """docker image inspect REFERENCE"""
    [reference] = words
    if reference not in tags():
        stop(f"No such image: {reference}")
    files = sorted(
        path.relative_to(LOCAL / tags()[reference]).as_posix()
        for path in (LOCAL / tags()[reference]).rglob("*")
        if path.is_file()
    )
    print(json.dumps([{"Id": f"sha256:{tags()[reference]}", "Files": files}]))


def retag(words: list[str]) -> None:
    """docker tag FROM TO"""
    source, target = words
    if source not in tags():
        stop(f"No such image: {source}")
    set_tag(target, tags()[source])


RUN_OPTIONS = frozenset(
    (
        "--cap-drop",
        "--cpus",
        "--env",
        "--memory",
        "--platform",
        "--publish",
        "--tmpfs",
        "--user",
        "--volume",
        "-e",
        "-p",
        "-v",
    )
)


def run(words: list[str]) -> None:
    """docker run [OPTIONS] IMAGE: the image's command in its working directory; it is no jail."""
    published, environment, mounted = "", {}, {}
    while words and words[0].startswith("-"):
        option, glued, value = words.pop(0).partition("=")
        if option in ("--rm", "--init", "--read-only") and not glued:
            continue
        if option not in RUN_OPTIONS:
            stop(f"unknown flag: {option} (of this stand-in)")
        value = value if glued else words.pop(0)
        if option in ("--publish", "-p"):
            published = value
        elif option in ("--env", "-e"):
            name, _, text = value.partition("=")
            environment[name] = text
        elif option in ("--volume", "-v"):
            outside, inside = value.split(":")[:2]
            if not Path(outside).is_absolute() or not Path(outside).exists():
                stop(f"no such file to mount: {outside}")
            mounted[inside] = outside
    # It is no jail: what is mounted is where it was.
    environment = {name: mounted.get(text, text) for name, text in environment.items()}
    if len(words) != 1:
        stop('"docker run" requires at least 1 argument, and the stand-in takes no command')
    if words[0] not in tags():
        stop(f"Unable to find image '{words[0]}' locally")
    identifier = tags()[words[0]]
    config = json.loads((LOCAL / f"{identifier}.json").read_text())
    root = LOCAL / identifier
    if not config["command"] or not (root / config["directory"].strip("/")).is_dir():
        stop("no command specified" if not config["command"] else f"no such directory: {config['directory']}")
    if published:
        outside, inside = published.split(":")[-2:]
        if environment.get("PORT", inside) != inside or outside != inside:
            stop("the stand-in publishes a port under its own number, and tells it to the service as PORT")
        # Jobs have machines of their own; here they share the ports of one. The lock goes when the service ends.
        lock = os.open(f"/tmp/docker-run-{outside}", os.O_CREAT | os.O_RDWR, 0o666)
        os.set_inheritable(lock, True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    kept = {name: value for name, value in os.environ.items() if name in ("LANG", "TMPDIR")}
    own = {name: value for name, value in config["environment"].items() if name != "PATH"}
    os.chdir(root / config["directory"].strip("/"))
    program = sys.executable if config["command"][0] == "python" else shutil.which(config["command"][0])
    if program is None:
        stop(f'exec: "{config["command"][0]}": executable file not found in $PATH')
    folder = str(Path(sys.executable).parent)
    os.execve(program, config["command"], {**kept, "PATH": f"{folder}:/usr/bin:/bin", **own, **environment})


COMMANDS = {
    ("run",): run,
    ("buildx", "build"): build,
    ("image", "inspect"): inspect,
    ("build",): build,
    ("login",): login,
    ("push",): push,
    ("pull",): pull,
    ("tag",): retag,
}


def main() -> None:
    """Find the command."""
    for name, command in COMMANDS.items():
        if tuple(sys.argv[1 : 1 + len(name)]) == name:
            try:
                command(sys.argv[1 + len(name) :])
            except (BotoCoreError, ClientError) as error:
                stop(f"unexpected status from the registry: {error}")
            return
    stop(f"the stand-in for docker has no command {' '.join(sys.argv[1:3])}")


main()
