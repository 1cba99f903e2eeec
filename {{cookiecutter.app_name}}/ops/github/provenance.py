"""Which images may be deployed: those that this repository's workflow built on the main branch, and attested."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ops import images, releases
from ops.aws import Aws, connect
from ops.errors import OpsError
from ops.github.api import GitHubError, api, gh
from ops.output import warn
from ops.project import Project

WORKFLOW = ".github/workflows/build.yml"


def is_attested(project: Project, digest: str) -> bool:
    """Whether GitHub vouches that WORKFLOW built this image on the main branch. It reads the image's manifest."""
    return _verify(project, digest) == ""


def _verify(project: Project, digest: str) -> str:
    """Why the attestation of an image does not hold; empty where it does."""
    # As GitHub writes it, which is what it signs and what gh compares letter by letter: github_repository was typed.
    repository = os.environ.get("GITHUB_REPOSITORY") or str(project.settings["github_repository"])
    with tempfile.TemporaryDirectory() as temporary:
        images.write_login(connect(project), project, Path(temporary))
        try:
            gh(
                "attestation",
                "verify",
                f"oci://{images.uri(project)}@{digest}",
                "--repo",
                repository,
                "--signer-workflow",
                f"{repository}/{WORKFLOW}",
                "--source-ref",
                "refs/heads/main",
                environment={"DOCKER_CONFIG": temporary},
            )
        except GitHubError as error:
            return error.message
    return ""


def admit(aws: Aws, project: Project, image: images.Image, *, built: str) -> str:
    """Why this image may be deployed, in words. Raises OpsError where nothing says that it may.

    `built` is the digest that a job of this very run built and scanned. Where GitHub keeps attestations that is not
    enough. It keeps none of a private repository without Enterprise Cloud: there it is, and so is a version that was
    healthy in this environment before.
    """
    refusal = _verify(project, image.digest)
    if not refusal:
        return "built on the main branch by this repository's workflow, as its attestation says"
    if image.digest in {release.digest for release in releases.history(aws, project, 100)}:
        warn(f"no attestation was found: {refusal}")
        return "it was healthy in this environment before"
    if _private(project) and built == image.digest:
        return "built by this run; GitHub keeps no attestations of this private repository"
    raise OpsError(
        f"Nothing vouches for the image {image}: {refusal}",
        next_step="Deploy an image that the workflow CD built, or one that ran here before. From your own machine,"
        f" after a look: {project.make('deploy', IMAGE=image.digest)}",
    )


def _private(project: Project) -> bool:
    visibility = os.environ.get("REPOSITORY_PRIVATE")
    if visibility:
        return visibility == "true"
    return bool(api(f"repos/{project.settings['github_repository']}")["private"])
