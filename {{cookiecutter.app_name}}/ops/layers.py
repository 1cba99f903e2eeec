"""One layer: what it needs first, its variables, its plan and its apply."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from botocore.exceptions import ClientError

from ops import ecs, flags, images, processes
from ops.aws import Aws, code
from ops.errors import AccountError, OpsError, WrongUse
from ops.output import Step
from ops.project import Project, load
from ops.terraform import (
    ACCOUNT,
    BUILD_REPOSITORY,
    DATABASE,
    LAYERS,
    NETWORK,
    SERVICE,
    Layer,
    Plan,
    Terraform,
)

PACKAGE = "role_manager/dist/role_manager.zip"


def present(project: Project) -> list[Layer]:
    """The layers of this project, in the order in which they are applied; the images' only in the account that has them."""
    absent = ([] if project.database else [DATABASE]) + ([] if project.home else [BUILD_REPOSITORY])
    return [layer for layer in LAYERS if layer not in absent]


def needs(project: Project, layer: Layer) -> list[Layer]:
    """The layers that must exist before this one."""
    needed: dict[Layer, list[Layer]] = {
        ACCOUNT: [],
        NETWORK: [ACCOUNT],
        BUILD_REPOSITORY: [ACCOUNT],
        DATABASE: [NETWORK],
        SERVICE: [NETWORK, BUILD_REPOSITORY, DATABASE],
    }
    return [item for item in needed[layer] if item in present(project)]


def require_bootstrap(aws: Aws, project: Project) -> None:
    """Raises AccountError while the state bucket does not exist or is not ours."""
    bucket = project.names["state_bucket"]
    try:
        aws.client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=project.account)
    except ClientError as error:
        if code(error) in ("404", "NoSuchBucket"):
            raise AccountError(
                f"The account{'' if project.home else f' {project.account}'} is not bootstrapped: there is no bucket {bucket}.",
                next_step="Run make bootstrap first.",
            ) from error
        if code(error) == "403":
            raise AccountError(
                f"The bucket {bucket} may not be read with these credentials, or is of another account.",
                next_step="Use credentials that may read it.",
            ) from error
        raise


def bootstrapped(aws: Aws, project: Project) -> bool:
    """Whether the state bucket is there. Raises AccountError where it may not be read."""
    try:
        require_bootstrap(aws, project)
    except AccountError as error:
        if isinstance(error.__cause__, ClientError) and code(error.__cause__) in ("404", "NoSuchBucket"):
            return False
        raise
    return True


def is_applied(aws: Aws, project: Project, layer: Layer) -> bool:
    """Whether a layer of this environment (or the one that all share) holds resources."""
    return exists(aws, of(shared(project, layer), layer))


def exists(aws: Aws, terraform: Terraform) -> bool:
    """Whether the layer's state holds resources."""
    try:
        answer = aws.client("s3").get_object(Bucket=terraform.project.names["state_bucket"], Key=terraform.object_key)
    except ClientError as error:
        if code(error) in ("NoSuchKey", "NoSuchBucket", "404"):
            return False
        raise
    state = json.loads(answer["Body"].read() or b"{}")
    return any(item["mode"] == "managed" for item in state.get("resources", []))


def of(project: Project, layer: Layer, step: Step | None = None) -> Terraform:
    """Terraform in a layer; a layer that environments share or that has no workspaces gets its own names."""
    return Terraform(project, layer, step=step)


def require(aws: Aws, project: Project, layer: Layer) -> None:
    """Raises OpsError while a layer that this one needs is not applied."""
    require_bootstrap(aws, project)
    missing = [item for item in needs(project, layer) if not is_applied(aws, project, item)]
    if missing:
        first = missing[0]
        target = (
            "make bootstrap"
            if first is ACCOUNT
            else f"make apply LAYER={first.name}{f' ENV={project.environment}' if first.per_environment else ''}"
        )
        raise OpsError(
            f"The layer {layer.name} needs {' and '.join(item.name for item in missing)}, which is not applied.",
            next_step=f"{target}, or make up, which does all in order.",
        )


def shared(project: Project, layer: Layer) -> Project:
    """The project as a layer sees it: only some layers have temporary environments of their own."""
    if project.temporary and not layer.workspaces:
        return load(project.environment)
    return project


def of_each_account(base: Project) -> list[Project]:
    """The project as each of its accounts has it, without an environment; its own account comes first."""
    return [base, *(load(account=account) for account in base.accounts if account != base.account)]


def package(project: Project) -> str:
    """Build the role manager's package where it is missing or older than what it is made of; the result in words."""
    target = project.root / PACKAGE
    sources = [project.root / "project.yaml", Path(__file__).with_name("package.py")] + [
        path
        for path in (project.root / "role_manager").rglob("*")
        if path.is_file() and not {"dist", "tests", "__pycache__"}.intersection(path.relative_to(project.root).parts)
    ]
    if target.is_file() and all(path.stat().st_mtime <= target.stat().st_mtime for path in sources):
        return f"{PACKAGE} is newer than its sources"
    process = processes.run([sys.executable, "-m", "ops.package"], folder=project.root)
    if not process.ok or not target.is_file():
        raise OpsError(
            f"The role manager's package could not be built:\n{process.tail()}",
            next_step="Run make package by hand.",
        )
    return f"{PACKAGE} built, {target.stat().st_size // 1024} kB"


def variables(aws: Aws, project: Project, layer: Layer, image: str | None) -> dict[str, str]:
    """Values of a layer's variables, apart from `environment`.

    Without an image, a plan of the service is for the one that runs now.
    """
    if layer is not SERVICE:
        if image:
            raise WrongUse(f"IMAGE is for the layer service, not for {layer.name}.")
        return {}
    if image:
        return {"image_digest": images.resolve(aws, project, image).digest}
    digest = ecs.running_digest(aws, project)
    if digest is None:
        raise WrongUse(
            f"Nothing is deployed in {project.place} yet, so the image must be given.",
            next_step="IMAGE=sha256:… or IMAGE=<commit>, or run make up.",
        )
    return {"image_digest": digest}


def plan(
    project: Project,
    aws: Aws,
    layer: Layer,
    *,
    image: str | None = None,
    out: Path | None = None,
    lock: bool = False,
    destroy: bool = False,
    step: Step | None = None,
) -> tuple[Terraform, Plan]:
    """Plan a layer to a file, with `lock` when no other run has it. Raises OpsError when what it needs is not there."""
    step = step or Step(layer.name)
    terraform = of(project, layer, step)
    if layer is ACCOUNT:
        require_bootstrap(aws, project)
    else:
        require(aws, project, layer)
    given = {"image_digest": _any_image(aws, project)} if destroy and layer is SERVICE else None
    if given is None:
        given = variables(aws, project, layer, image)
    if layer is DATABASE:
        step.say(package(project))
    terraform.init()
    return terraform, terraform.plan(given, out=out, lock=lock, destroy=destroy)


def _any_image(aws: Aws, project: Project) -> str:
    """A digest for a plan that deletes: it must have the form, and changes nothing."""
    return ecs.running_digest(aws, project) or f"sha256:{'0' * 64}"


def apply(aws: Aws, terraform: Terraform, plan: Plan | Path) -> None:
    """Apply a saved plan. AWS deletes no profile of flags that has versions, and Terraform knows of the first alone."""
    if isinstance(plan, Plan):
        deleted = plan.deletes
    else:
        changes = terraform.planned(plan.resolve()).get("resource_changes", [])
        deleted = [item["address"] for item in changes if "delete" in item["change"]["actions"]]
    if any(address.startswith("aws_appconfig_configuration_profile.") for address in deleted):
        flags.empty(aws, terraform.project)
    terraform.apply(plan)


def apply_saved(project: Project, aws: Aws, layer: Layer, path: Path, *, step: Step | None = None) -> Terraform:
    """Apply a plan that was saved before (and perhaps reviewed)."""
    if not path.is_file():
        raise WrongUse(f"There is no plan {path}.", next_step="make plan saves one with PLAN_FILE=….")
    require_bootstrap(aws, project)
    terraform = of(project, layer, step or Step(layer.name))
    terraform.init()
    apply(aws, terraform, path)
    return terraform
