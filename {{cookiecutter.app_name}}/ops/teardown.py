"""`down` deletes an environment, `destroy` everything: in the right order, and what must be emptied is emptied."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError

from ops import flags, incident, layers, releases, secret_values, waiting
from ops.aws import Aws, code
from ops.bootstrap import local_terraform, state_file, step_of
from ops.errors import OpsError, WrongUse
from ops.output import Step, say
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

TABLE_SECONDS = 5 * 60  # for the locks table to be updated
POLL_SECONDS = 2.0
_KEEP_DAYS = 30  # until a deleted state key is gone for good; AWS's longest


def refuse_protected(project: Project, aws: Aws) -> None:
    """Raises WrongUse while the environment is protected, in project.yaml or still in AWS."""
    if project.protected:
        raise WrongUse(
            f"{project.environment} is protected.",
            next_step=f"Set environments.{project.environment}.protected: false in project.yaml, apply that"
            f" (make apply LAYER=service ENV={project.environment}, and database), then repeat the command.",
        )
    held = [*_held(project, aws)]
    if held:
        raise WrongUse(
            f"project.yaml says that {project.place} is not protected, but in AWS it still is: {', '.join(held)}.",
            next_step="; ".join(f"make apply LAYER={name} ENV={project.environment}" for name in sorted(set(held)))
            + "; then repeat the command.",
        )


def refuse_any_protected(project: Project, connections: Mapping[str, Aws]) -> None:
    """Raises WrongUse while any environment that is deployed is protected. `connections` are by account."""
    for name in project.environments:
        environment = load(name)
        if _deployed(environment, connections[environment.account]):
            refuse_protected(environment, connections[environment.account])


def _held(project: Project, aws: Aws) -> Iterator[str]:
    """Layers that AWS would refuse to delete."""
    if project.database and not project.temporary:
        try:
            found = aws.client("rds").describe_db_clusters(DBClusterIdentifier=project.names["database_cluster"])
        except ClientError as error:
            if code(error) != "DBClusterNotFoundFault":
                raise
        else:
            if any(cluster.get("DeletionProtection") for cluster in found["DBClusters"]):
                yield DATABASE.name
    client = aws.client("elbv2")
    try:
        found = client.describe_load_balancers(Names=[project.names["service"]])
    except ClientError as error:
        if code(error) != "LoadBalancerNotFound":
            raise
        return
    for balancer in found["LoadBalancers"]:
        attributes = client.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])
        if {"Key": "deletion_protection.enabled", "Value": "true"} in attributes["Attributes"]:
            yield SERVICE.name


def environment_layers(project: Project) -> list[Layer]:
    """The layers of an environment, in the order in which they are deleted."""
    return [
        layer
        for layer in reversed(LAYERS)
        if layer.per_environment
        and (layer.workspaces or not project.temporary)
        and (project.root / "infra" / layer.name).is_dir()
    ]


def tell(project: Project, aws: Aws) -> list[str]:
    """What `down` deletes, in words."""
    found = [layer.name for layer in environment_layers(project) if layers.exists(aws, layers.of(project, layer))]
    files = [f"every file in {project.names['files_bucket']}, with its older versions"] if project.files else []
    return [f"{project.place}: {', '.join([*found, *files]) if found else 'nothing is deployed'}"]


def temporary_environments(project: Project, aws: Aws) -> list[str]:
    """Names of the temporary environments beside an environment, from the states in the bucket."""
    suffix = f"/{Terraform(project, SERVICE).temporary_key}"
    pages = aws.client("s3").get_paginator("list_objects_v2")
    try:
        keys = [
            item["Key"]
            for page in pages.paginate(Bucket=project.names["state_bucket"], Prefix="env:/")
            for item in page.get("Contents", [])
        ]
    except ClientError as error:
        if code(error) == "NoSuchBucket":
            return []
        raise
    return sorted(key.removeprefix("env:/").removesuffix(suffix) for key in keys if key.endswith(suffix))


def down(project: Project, aws: Aws) -> None:
    """Delete an environment: service, database, network. What it left behind is removed by the next call."""
    if not project.temporary:
        beside = temporary_environments(project, aws)
        if beside:
            raise WrongUse(
                f"{project.environment} still has temporary environments: {', '.join(beside)}.",
                next_step="; ".join(f"make down ENV={project.environment} WORKSPACE={name}" for name in beside),
            )
    if project.settings["feature_flags"] != "none":
        flags.empty(aws, project)
    _destroy_layers(project, aws, environment_layers(project))
    step = Step("records")
    _deregister(project, aws)
    releases.delete(aws, project)
    if not project.temporary:
        secret_values.delete(aws, project)
    left = _delete_log_groups(project, aws)
    step.done(f"task definitions and the record of deployments are removed{f', and {left}' if left else ''}")
    if project.temporary:
        terraform = Terraform(project, SERVICE, step=Step(SERVICE.name))
        terraform.init()
        terraform.delete_workspace()


def _delete_log_groups(project: Project, aws: Aws) -> str:
    """Delete log groups that a service made again after Terraform had deleted them; their names.

    Container Insights and RDS write their last lines when what they tell about is gone already, and Terraform would
    find the group there when it makes the next environment of this name.
    """
    client = aws.client("logs")
    own = [name for key, name in project.names.items() if key.endswith("_log_group")]
    if not project.temporary:
        own.append(f"{project.names['database_log_groups']}/")
    else:
        own = [name for name in own if name not in load(project.environment).names.values()]
    found = [
        group["logGroupName"]
        for name in own
        for page in client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
        for group in page["logGroups"]
        if group["logGroupName"] == name or name.endswith("/")
    ]
    for name in found:
        client.delete_log_group(logGroupName=name)
    return ", ".join(found)


def _destroy_layers(project: Project, aws: Aws, doomed: list[Layer]) -> None:
    """Delete layers one after another; the plan of the next is made while one is being deleted."""
    with ThreadPoolExecutor(1) as ahead:
        plans = [ahead.submit(_plan_destruction, project, aws, layer) for layer in doomed]
        try:
            for layer, plan in zip(doomed, plans, strict=True):
                _destroy_layer(project, aws, layer, plan.result())
        finally:
            ahead.shutdown(cancel_futures=True)
            for plan in plans:
                if not plan.cancelled() and not plan.exception() and (made := plan.result()):
                    made.path.unlink(missing_ok=True)


def _plan_destruction(project: Project, aws: Aws, layer: Layer) -> Plan | None:
    """Plan that nothing of a layer is left; None where nothing is there."""
    terraform = Terraform(project, layer)
    if not layers.exists(aws, terraform):
        return None
    terraform.init()
    digest = {"image_digest": f"sha256:{'0' * 64}"} if layer is SERVICE else {}
    return terraform.plan(digest, destroy=True, lock=True)


def _destroy_layer(project: Project, aws: Aws, layer: Layer, plan: Plan | None) -> None:
    step = Step(layer.name)
    if plan is None:
        step.done("nothing is there")
        return
    step.say(str(plan))
    layers.apply(aws, Terraform(project, layer, step=step), plan)
    step.done(f"{plan.remove} removed")


def _deregister(project: Project, aws: Aws) -> None:
    """Deregister the task definitions that a rollback would have needed."""
    client = aws.client("ecs")
    families = [project.names["service"], project.names["migrate"]]
    # Of jobs and workers, those that project.yaml no longer has too.
    for kind in ("job", "worker"):
        pages = client.get_paginator("list_task_definition_families").paginate(
            familyPrefix=f"{project.names[kind]}-", status="ACTIVE"
        )
        families += [family for page in pages for family in page["families"]]
    for family in families:
        pages = client.get_paginator("list_task_definitions").paginate(familyPrefix=family, status="ACTIVE")
        for arn in [arn for page in pages for arn in page["taskDefinitionArns"]]:
            # The prefix of a family is also the prefix of the families of temporary environments.
            if arn.rsplit("/", 1)[-1].rsplit(":", 1)[0] == family:
                client.deregister_task_definition(taskDefinition=arn)


def destroy(accounts: Sequence[Project], connections: Mapping[str, Aws]) -> None:
    """Delete every environment, the build repository and the account layer of each account, state last.

    `accounts` are without an environment, the project's own first; `connections` are by account. Raises WrongUse, before anything is deleted, while an
    environment is protected.
    """
    project = accounts[0]
    refuse_any_protected(project, connections)
    environments = [load(name) for name in project.environments]
    for environment in environments:
        aws = connections[environment.account]
        for workspace in temporary_environments(environment, aws):
            say(f"--- {environment.environment}/{workspace}")
            down(load(environment.environment, workspace), aws)
        say(f"--- {environment.environment}")
        down(environment, aws)
        incident.delete(aws, environment)
    say("--- shared")
    aws = connections[project.account]
    _empty_repository(project, aws)
    _destroy_layers(project, aws, [BUILD_REPOSITORY])
    for account in reversed(accounts):
        _destroy_account(account, connections[account.account])
    shutil.rmtree(project.scratch(), ignore_errors=True)


def _deployed(project: Project, aws: Aws) -> bool:
    return any(layers.exists(aws, Terraform(project, layer)) for layer in (NETWORK, SERVICE))


def _empty_repository(project: Project, aws: Aws) -> None:
    client = aws.client("ecr")
    name = project.names["build_repository"]
    step = Step("images")
    count = 0
    try:
        for page in client.get_paginator("list_images").paginate(repositoryName=name):
            for start in range(0, len(page["imageIds"]), 100):
                batch = page["imageIds"][start : start + 100]
                client.batch_delete_image(repositoryName=name, imageIds=batch)
                count += len(batch)
    except ClientError as error:
        if code(error) != "RepositoryNotFoundException":
            raise
    step.done(f"{count} images removed")


def _destroy_account(project: Project, aws: Aws) -> None:
    """Delete the account layer: what Terraform may delete by Terraform, and the state's own home after it.

    The state moves to a local file first, because the bucket that holds it goes too.
    """
    step = step_of(project)
    remote = Terraform(project, ACCOUNT, step=step)
    state = state_file(project)
    if layers.exists(aws, remote):
        remote.init()
        state.write_text(remote.pull(), encoding="utf-8")
        state.chmod(0o600)
    elif not state.exists():
        step.done("nothing is there")
        return
    terraform = local_terraform(project)
    terraform.init()
    # Terraform refuses to delete these (prevent_destroy): they go by name, below.
    kept = ("aws_s3_bucket", "aws_kms_", "aws_dynamodb_table.")
    if spared := [address for address in terraform.resources() if address.startswith(kept)]:
        terraform.forget(*spared)
    plan = terraform.plan(destroy=True)
    step.say(str(plan))
    terraform.apply(plan)
    _delete_table(project, aws)
    for name in ("state_bucket", "state_log_bucket"):
        _delete_bucket(aws, project.names[name])
    _delete_key(project, aws)
    state.unlink(missing_ok=True)
    step.done(f"{plan.remove} removed, then the locks table, the state's buckets and (in {_KEEP_DAYS} days) its key")


def _delete_table(project: Project, aws: Aws) -> None:
    client = aws.client("dynamodb")
    name = project.names["locks_table"]
    try:
        client.update_table(TableName=name, DeletionProtectionEnabled=False)
        # While it is being updated, AWS refuses to delete it.
        # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_DeleteTable.html
        waiting.until(
            lambda: client.describe_table(TableName=name)["Table"]["TableStatus"] == "ACTIVE",
            TABLE_SECONDS,
            every=POLL_SECONDS,
        )
        client.delete_table(TableName=name)
    except ClientError as error:
        if code(error) != "ResourceNotFoundException":
            raise


def _delete_bucket(aws: Aws, name: str) -> None:
    """Empty a versioned bucket and delete it."""
    client = aws.client("s3")
    try:
        # No log arrives while it is emptied.
        client.put_bucket_logging(Bucket=name, BucketLoggingStatus={})
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            found = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            ]
            if found:
                answer = client.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True})
                if answer.get("Errors"):
                    first = answer["Errors"][0]
                    raise OpsError(f"{first['Key']} in {name} could not be deleted: {first.get('Message')}")
        client.delete_bucket(Bucket=name)
    except ClientError as error:
        if code(error) not in ("NoSuchBucket", "404"):
            raise


def _delete_key(project: Project, aws: Aws) -> None:
    client = aws.client("kms")
    alias = project.names["state_key"]
    try:
        key = client.describe_key(KeyId=alias)["KeyMetadata"]
    except ClientError as error:
        if code(error) == "NotFoundException":
            return
        raise
    if key["KeyState"] != "PendingDeletion":
        client.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=_KEEP_DAYS)
    client.delete_alias(AliasName=alias)
