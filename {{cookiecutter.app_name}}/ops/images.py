"""Container images: which tag, build and push, and from a digest or a commit to what is in the repository."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops import processes
from ops.aws import Aws, code, explain
from ops.errors import AccountError, OpsError, WrongUse
from ops.output import Step
from ops.project import Project

DOCKERFILE = "app/Dockerfile"
_PLATFORMS = {"arm64": "linux/arm64", "x86_64": "linux/amd64"}
_NOT_BUILT = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}


@dataclass(frozen=True)
class Image:
    """An image in the build repository."""

    digest: str
    tags: tuple[str, ...]
    pushed: datetime | None

    def __str__(self) -> str:
        return f"{self.digest[:19]}…{f' ({self.tags[0]})' if self.tags else ''}"


def _git(root: Path, *arguments: str) -> str | None:
    """Output of git, or None where it fails or is not installed.

    Raises OpsError where git refuses to look because the folder is somebody else's.
    """
    process = processes.run(["git", "-C", root, *arguments])
    if "dubious ownership" in process.err:
        raise OpsError(
            f"git does not look into {root}: {process.err.strip().splitlines()[0]}",
            next_step=f"If that folder is yours: git config --global --add safe.directory {shlex.quote(str(root))}",
        )
    return process.out.strip() if process.ok else None


def head(root: Path) -> str:
    """The commit that is checked out; empty without one."""
    return _git(root, "rev-parse", "--verify", "HEAD") or ""


def is_ancestor(root: Path, older: str, newer: str) -> bool | None:
    """Whether a commit comes before another; None where one of them is not in this history."""
    if any(_git(root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}") is None for commit in (older, newer)):
        return None
    return _git(root, "merge-base", "--is-ancestor", older, newer) is not None


def current_tag(root: Path) -> tuple[str, str]:
    """Tag of an image of the work tree, and where it comes from in words.

    The commit's full SHA, or `content-<16 hex digits of SHA-256>` where the files are not those of a commit.
    """
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if commit:
        if _git(root, "status", "--porcelain", "--", *_built_from(root)) == "":
            return commit, f"commit {commit[:12]}"
        reason = "what the image is built from has changes that are not committed"
    else:
        reason = "this is not a git repository with a commit yet"
    tag = f"content-{_content_hash(root)}"
    return tag, f"{tag}, because {reason}"


def _built_from(root: Path) -> list[str]:
    """Paths that decide what the image is: what .dockerignore lets in, and the two files that say how."""
    ignore = root / ".dockerignore"
    lines = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else ["!app"]
    return [ignore.name, DOCKERFILE, *(line[1:].strip() for line in lines if line.startswith("!"))]


def _content_hash(root: Path) -> str:
    digest = hashlib.sha256()
    found = {path for name in _built_from(root) for path in (root / name, *(root / name).rglob("*"))}
    for path in sorted(found):
        if path.is_file() and not _NOT_BUILT.intersection(path.parts):
            mode = b"x" if path.stat().st_mode & 0o100 else b"-"
            content = hashlib.sha256(path.read_bytes()).digest()
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + mode + content)
    return digest.hexdigest()[:16]


def registry(aws: Aws, project: Project) -> Any:
    """A client of the registry that has the images: the project's account's, whoever asks."""
    return aws.client("ecr", project.registry["region"])


def repository(project: Project) -> dict[str, str]:
    """Parameters by which ECR's calls name the build repository."""
    named = {"repositoryName": project.names["build_repository"]}
    return named if project.home else named | {"registryId": project.registry["account_id"]}


def find(aws: Aws, project: Project, tag_or_digest: str) -> Image | None:
    """The image with this exact tag or digest; None when it is not in the build repository."""
    client = registry(aws, project)
    key = "imageDigest" if tag_or_digest.startswith("sha256:") else "imageTag"
    try:
        found = client.describe_images(**repository(project), imageIds=[{key: tag_or_digest}])["imageDetails"]
    except ClientError as error:
        if code(error) == "ImageNotFoundException":
            return None
        raise _missing_repository(error, project) from error
    return _image(found[0]) if found else None


def newest(aws: Aws, project: Project, count: int | None = None) -> list[Image]:
    """The images in the build repository, newest first."""
    pages = registry(aws, project).get_paginator("describe_images")
    try:
        details = [detail for page in pages.paginate(**repository(project)) for detail in page["imageDetails"]]
    except ClientError as error:
        raise _missing_repository(error, project) from error
    details.sort(key=lambda detail: str(detail.get("imagePushedAt", "")), reverse=True)
    return [_image(detail) for detail in details[:count]]


def _image(detail: Mapping[str, Any]) -> Image:
    return Image(
        detail["imageDigest"],
        tuple(sorted(detail.get("imageTags", []))),
        detail.get("imagePushedAt"),
    )


def _missing_repository(error: ClientError, project: Project) -> OpsError:
    if code(error) == "RepositoryNotFoundException":
        where = "" if project.home else f" in account {project.registry['account_id']}"
        return AccountError(
            f"There is no build repository {project.names['build_repository']}{where}.",
            next_step="Run make up first, or make apply LAYER=build-repository.",
        )
    if not project.home and code(error) == "AccessDeniedException":
        found = explain(error)
        return AccountError(
            found.message,
            next_step=f"Account {project.registry['account_id']}"
            " lets the others see its images by the policy of its repository: make apply LAYER=build-repository.",
        )
    return explain(error)


def resolve(aws: Aws, project: Project, text: str) -> Image:
    """The image that a person means by a digest, a commit (also short, a tag or a branch), or a tag.

    Raises WrongUse with the newest images when there is none.
    """
    text = text.strip()
    if text.startswith("sha256:") and not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise WrongUse(f"IMAGE: {text!r} is not a digest: sha256: and 64 hexadecimal digits.")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./:@^~-]*", text):
        raise WrongUse(f"IMAGE: {text!r} is neither a digest nor a commit.")
    candidates = [text]
    if not text.startswith("sha256:"):
        commit = _git(project.root, "rev-parse", "--verify", "--quiet", f"{text}^{{commit}}")
        candidates = [commit, text] if commit else [text]
    for candidate in candidates:
        # ECR refuses to look for what can't be a tag, such as a branch with a slash.
        if candidate.startswith("sha256:") or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", candidate):
            found = find(aws, project, candidate)
            if found:
                return _built_again(aws, project, candidate) or found
    images = newest(aws, project)
    if re.fullmatch(r"[0-9a-f]{7,39}", text):
        matching = [image for image in images if any(tag.startswith(text) for tag in image.tags)]
        commits = {tag[:40] for image in matching for tag in image.tags if tag.startswith(text)}
        if len(commits) == 1:
            return _built_again(aws, project, commits.pop()) or matching[0]
    listed = "".join(f"\n  {image.digest}  {', '.join(image.tags) or '(no tag)'}" for image in images[:5])
    what = "digest" if text.startswith("sha256:") else "commit"
    raise WrongUse(
        f"IMAGE: no image of {what} {text} is in the build repository"
        f" {project.names['build_repository']}: never built there, or expired."
        + (f" The newest are:{listed}" if listed else " It holds no image."),
        next_step="Build it with make up at that commit, or choose one that is there.",
    )


def _built_again(aws: Aws, project: Project, commit: str) -> Image | None:
    """The newest image that a job built of a commit under a tag of its run, because nothing vouched for the one there."""
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        return None
    again = re.compile(rf"{commit}-\d+\.\d+")
    return next((image for image in newest(aws, project) if any(map(again.fullmatch, image.tags))), None)


def uri(project: Project) -> str:
    """Address of the build repository."""
    return f"{project.registry['host']}/{project.names['build_repository']}"


def _credentials(aws: Aws, project: Project) -> str:
    """User and password of the registry, as Docker's configuration has them: base64 of `user:password`."""
    return str(registry(aws, project).get_authorization_token()["authorizationData"][0]["authorizationToken"])


def log_in(aws: Aws, project: Project, step: Step) -> None:
    """Let Docker read and write the build repository, as far as the credentials may."""
    user, _, password = base64.b64decode(_credentials(aws, project)).decode().partition(":")
    host = project.registry["host"]
    _docker(_found_docker(), ["login", "--username", user, "--password-stdin", host], step, "", password)


def write_login(aws: Aws, project: Project, folder: Path) -> None:
    """Write a Docker configuration that lets others than Docker read the build repository, into a private folder."""
    host = project.registry["host"]
    path = folder / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"auths": {host: {"auth": _credentials(aws, project)}}}), encoding="utf-8")


def _found_docker() -> str:
    docker = shutil.which("docker")
    if docker is None:
        raise OpsError(
            "Docker is not installed, so the image can't be built here.",
            next_step="Install Docker, or give an image that a workflow built: IMAGE=sha256:… or IMAGE=<commit>.",
        )
    return docker


def build_and_push(aws: Aws, project: Project, tag: str, step: Step) -> Image:
    """Build the image of the work tree and push it. Raises OpsError with the end of Docker's output."""
    docker = _found_docker()
    try:
        registry(aws, project).describe_repositories(repositoryNames=[project.names["build_repository"]])
    except ClientError as error:
        raise _missing_repository(error, project) from error
    name = f"{uri(project)}:{tag}"
    platform = _PLATFORMS[str(project.settings["cpu_architecture"])]
    step.say(f"building for {platform}")
    root = project.root
    _docker(
        docker,
        ["build", "--platform", platform, "--file", str(root / DOCKERFILE), "--tag", name, str(root)],
        step,
        "Correct the cause above, and repeat the command.",
    )
    log_in(aws, project, step)
    step.say(f"pushing {tag}")
    _docker(
        docker,
        ["push", name],
        step,
        "Repeat the command: layers that arrived are not sent again.",
    )
    found = find(aws, project, tag)
    if found is None:
        raise OpsError(f"{name} was pushed, and the build repository does not have it.")
    return found


def _docker(docker: str, arguments: list[str], step: Step, next_step: str, secret: str | None = None) -> None:
    # Without provenance the tag is the image itself and not an index, so that its digest is what tasks run.
    environment = os.environ | {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    process = processes.run([docker, *arguments], environment=environment, given=secret)
    if not process.ok:
        tail = process.tail(30)
        if "exec format error" in tail:
            next_step = (
                "This machine has another processor, and needs QEMU:"
                " docker run --privileged --rm tonistiigi/binfmt --install all"
            )
        if "daemon" in tail and ("connect" in tail or "running" in tail):
            next_step = "Start Docker, or give an image that a workflow built: IMAGE=sha256:… or IMAGE=<commit>."
        raise OpsError(f"docker {arguments[0]} failed:\n{tail}", next_step=next_step)
    step.say(f"docker {arguments[0]}: done")
