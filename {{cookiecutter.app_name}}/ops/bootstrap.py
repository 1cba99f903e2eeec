"""The account layer from nothing: made with a local state, which is then moved into the bucket it made.

It can be interrupted at any point, also by a crash or the loss of the local state, and run again:
- what was made and is in no state is adopted by its name, where it carries this project's tag or can be nobody
  else's;
- the local state is deleted only after the bucket's was read back and is the same.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops import layers
from ops.aws import Aws, code
from ops.errors import AccountError, OpsError, StateLocked
from ops.output import Step, confirm, say
from ops.project import Project
from ops.terraform import ACCOUNT, Plan, Terraform

_PROBE = "ops-lock-check"  # operation in the lock that is planted to see that it is respected


def run(project: Project, aws: Aws, *, yes: bool, dry_run: bool = False) -> None:
    """Bring the account layer to what the code says, from whatever state it is in."""
    _refuse_neighbours(project, aws)
    remote = Terraform(project, ACCOUNT, step=step_of(project))
    local_state = state_file(project)
    if layers.exists(aws, remote):
        if not dry_run:
            _remove_probes(remote, aws)
        remote.init()
        if local_state.exists():
            _finish_move(remote, local_state)
        terraform = remote
        plan = terraform.plan(lock=True)
        planned = [] if plan.empty else _resources(terraform, plan)
    else:
        terraform = local_terraform(project)
        terraform.init()
        plan, planned = _plan(terraform, aws)
    _tell(project, plan, planned)
    if dry_run:
        return
    if not plan.empty:
        confirm(f"Make this in account {project.account}, region {project.region}?", yes=yes)
        terraform.apply(plan)
        step_of(project).say("applied")
    if terraform is not remote:
        _move(remote, local_state)
    _verify_lock(remote, aws)
    here = project.accounts[project.account]["environments"]
    say(f"Account {project.account} is ready." + (f" Next: make up ENV={here[0]}" if here else ""))


def _refuse_neighbours(project: Project, aws: Aws) -> None:
    """Raises AccountError where another application of the account has a name that begins like this one's names.

    shop with an environment dev owns what begins with shop-dev-, and so would what an application shop-dev has.
    """
    for bucket in aws.client("s3").list_buckets()["Buckets"]:
        found = re.fullmatch(rf"(.+)-tfstate-{project.account}-[a-z0-9-]+", bucket["Name"])
        other = found[1] if found else project.app
        shorter, longer = sorted((other, project.app), key=len)
        if longer.startswith(f"{shorter}-"):
            raise AccountError(
                f"The account has an application {other}: its names and those of {project.app} would overlap.",
                next_step="Choose an app_name of which neither is the beginning of the other, or another account.",
            )


def step_of(project: Project) -> Step:
    """The step of an account's layer: with its number where that is not the project's own."""
    return Step("account" if project.home else f"account {project.account}")


# ---------------------------------------------------------------------- local state


def state_file(project: Project) -> Path:
    """Where the local state is while there is no bucket (any more)."""
    return project.scratch("bootstrap", *([] if project.home else [project.account]), "account.tfstate")


def local_terraform(project: Project) -> Terraform:
    """Terraform on a copy of the account layer whose backend is a local file.

    The copy keeps the code that is under version control untouched, whenever this is interrupted.
    """
    copy = state_file(project).with_name("code")
    shutil.rmtree(copy, ignore_errors=True)
    ignore = shutil.ignore_patterns(".terraform", "tests", "*.tfstate*")
    for folder in ("account", "config", "modules"):
        if (project.root / "infra" / folder).is_dir():
            shutil.copytree(project.root / "infra" / folder, copy / "infra" / folder, ignore=ignore)
    shutil.copy(project.root / "project.yaml", copy)
    # https://developer.hashicorp.com/terraform/language/files/override
    (copy / "infra/account/backend_override.tf").write_text('terraform {\n  backend "local" {}\n}\n', encoding="utf-8")
    return Terraform(
        project,
        ACCOUNT,
        step=step_of(project),
        directory=copy / "infra/account",
        backend={"path": str(state_file(project))},
    )


def _move(remote: Terraform, local_state: Path) -> None:
    """Store the local state in the bucket, read it back, and delete the local one."""
    step = Step("move state")
    remote.init()
    remote.push(local_state)
    _finish_move(remote, local_state)
    step.done(f"state is in {remote.backend['bucket']}, encrypted with the project's key")


def _finish_move(remote: Terraform, local_state: Path) -> None:
    """Delete the local state where the bucket's holds all that it does.

    Their lineages are no help: Terraform gives a state that is pushed to an empty place a new one.
    """
    try:
        local = _instances(json.loads(local_state.read_text(encoding="utf-8")))
    except json.JSONDecodeError:
        local = {}  # a crash while it was written; the bucket's is whole
    if not local.items() <= _instances(json.loads(remote.pull())).items():
        raise OpsError(
            f"{local_state} holds resources that the state in {remote.backend['bucket']} does not.",
            next_step="Compare both (terraform show), and delete the local one if the bucket's is right.",
        )
    for path in local_state.parent.glob("account.tfstate*"):
        path.unlink()
    shutil.rmtree(local_state.parent / "code", ignore_errors=True)


def _instances(state: dict[str, Any]) -> dict[str, str]:
    """Identifiers by address of what a state holds."""
    return {
        f"{item.get('module', '')} {item['type']}.{item['name']}[{instance.get('index_key', '')}]": str(
            instance["attributes"].get("id", "")
        )
        for item in state.get("resources", [])
        if item["mode"] == "managed"
        for instance in item["instances"]
    }


# ---------------------------------------------------------------------- plan


def _plan(terraform: Terraform, aws: Aws) -> tuple[Plan, list[dict[str, Any]]]:
    """Plan the first apply, and what it makes; what an interrupted run made and no state holds is adopted by it."""
    imports = terraform.directory / "adopted.tf"
    imports.unlink(missing_ok=True)
    plan = terraform.plan()
    planned = [] if plan.empty else _resources(terraform, plan)
    found = dict(_orphans(terraform.project, plan, planned, aws))
    if not found:
        return plan, planned
    for identifier in found.values():
        step_of(terraform.project).say(f"adopting {identifier}, which an interrupted run made")
    # https://developer.hashicorp.com/terraform/language/import
    imports.write_text(
        "".join(f"import {{\n  to = {address}\n  id = {json.dumps(name)}\n}}\n" for address, name in found.items()),
        encoding="utf-8",
    )
    return terraform.plan(), planned


def _tell(project: Project, plan: Plan, planned: Sequence[dict[str, Any]]) -> None:
    if plan.empty:
        say(f"Everything of the account layer is there ({project.account}, {project.region}).")
        return
    say(f"In account {project.account}, region {project.region}: {plan}.")
    keys = ("bucket", "name", "alias", "url")
    named = {
        item["address"]: str(next((item["values"][key] for key in keys if item["values"].get(key)), ""))
        for item in planned
    }
    for action, address in sorted(plan.changes, key=lambda change: change[1]):
        if action in ("create", "update", "delete", "replace"):
            name = named.get(address, "")
            say(f"  {action:8}{address}{f'  {name}' if name else ''}")


def _resources(terraform: Terraform, plan: Plan) -> list[dict[str, Any]]:
    """Every resource with its values after a plan."""
    found = []
    pending = [terraform.planned(plan.path)["planned_values"]["root_module"]]
    while pending:
        module = pending.pop()
        pending += module.get("child_modules", [])
        found += [item | {"values": item.get("values", {})} for item in module.get("resources", [])]
    return found


# ---------------------------------------------------------------------- what an interrupted run left


def _orphans(project: Project, plan: Plan, planned: Sequence[dict[str, Any]], aws: Aws) -> Iterator[tuple[str, str]]:
    """(address, import identifier) of what the plan would create and what an interrupted run made."""
    created = {address for action, address in plan.changes if action == "create"}
    for item in planned:
        finder = _FINDERS.get(item["type"])
        if item["address"] in created and finder:
            identifier = finder(aws, project, item["values"])
            if identifier:
                yield item["address"], identifier


def _key(aws: Aws, project: Project, values: dict[str, Any]) -> str | None:
    """A key has no name of its own: ours has the project's tag and the description that is planned."""
    pages = aws.client("resourcegroupstaggingapi").get_paginator("get_resources")
    tags = [{"Key": "application", "Values": [project.app]}]
    for page in pages.paginate(TagFilters=tags, ResourceTypeFilters=["kms"]):
        for item in page["ResourceTagMappingList"]:
            if ":key/" in item["ResourceARN"]:
                key = aws.client("kms").describe_key(KeyId=item["ResourceARN"])["KeyMetadata"]
                if key["Description"] == values["description"] and key["KeyState"] == "Enabled":
                    return str(key["KeyId"])
    return None


def _bucket(aws: Aws, project: Project, values: dict[str, Any]) -> str | None:
    try:
        aws.client("s3").head_bucket(Bucket=values["bucket"], ExpectedBucketOwner=project.account)
    except ClientError as error:
        if code(error) == "403":
            raise AccountError(
                f"The bucket {values['bucket']} exists and belongs to another account, or may not be read.",
                next_step="Use credentials that may read it, or choose another app_name.",
            ) from error
        return None
    return str(values["bucket"])


def _table(aws: Aws, _project: Project, values: dict[str, Any]) -> str | None:
    return _found(lambda: aws.client("dynamodb").describe_table(TableName=values["name"]), values["name"])


def _alias(aws: Aws, _project: Project, values: dict[str, Any]) -> str | None:
    return _found(lambda: aws.client("kms").describe_key(KeyId=values["name"]), values["name"])


def _role(aws: Aws, project: Project, values: dict[str, Any]) -> str | None:
    def tags() -> Any:
        return aws.client("iam").list_role_tags(RoleName=values["name"])["Tags"]

    return _tagged(tags, project, "role", values["name"], values["name"])


def _policy(aws: Aws, project: Project, values: dict[str, Any]) -> str | None:
    arn = f"arn:{project.partition}:iam::{project.account}:policy{values.get('path') or '/'}{values['name']}"
    return _tagged(
        lambda: aws.client("iam").list_policy_tags(PolicyArn=arn)["Tags"],
        project,
        "policy",
        values["name"],
        arn,
    )


def _oidc_provider(aws: Aws, project: Project, values: dict[str, Any]) -> str | None:
    host = values["url"].removeprefix("https://")
    arn = f"arn:{project.partition}:iam::{project.account}:oidc-provider/{host}"
    try:
        tags = aws.client("iam").list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"]
    except ClientError as error:
        if code(error) == "NoSuchEntity":
            return None
        raise
    if _is_ours(tags, project):
        return arn
    raise AccountError(
        f"The account has an OIDC provider {host} already, and can have one only.",
        next_step="Set account_settings: existing in project.yaml"
        + ("" if project.home else ", for the environments of that account")
        + ", then run make bootstrap again.",
    )


def _found(look: Callable[[], Any], identifier: str) -> str | None:
    try:
        look()
    except ClientError as error:
        if code(error) in ("ResourceNotFoundException", "NotFoundException"):
            return None
        raise
    return identifier


def _tagged(look: Callable[[], Any], project: Project, kind: str, name: str, identifier: str) -> str | None:
    try:
        tags = look()
    except ClientError as error:
        if code(error) == "NoSuchEntity":
            return None
        raise
    if not _is_ours(tags, project):
        raise AccountError(
            f"The account has a {kind} {name} that is not of this project.",
            next_step="Rename or delete it, or choose another app_name.",
        )
    return identifier


def _is_ours(tags: list[dict[str, str]], project: Project) -> bool:
    return {"Key": "application", "Value": project.app} in tags


_FINDERS: dict[str, Callable[[Aws, Project, dict[str, Any]], str | None]] = {
    "aws_s3_bucket": _bucket,
    "aws_dynamodb_table": _table,
    "aws_kms_key": _key,
    "aws_kms_alias": _alias,
    "aws_iam_role": _role,
    "aws_iam_policy": _policy,
    "aws_iam_openid_connect_provider": _oidc_provider,
}


# ---------------------------------------------------------------------- locks


def _verify_lock(remote: Terraform, aws: Aws) -> None:
    """Plant a lock where each kind keeps its own, and see that Terraform is refused."""
    step = Step("locks")
    kinds = [("S3 lock file", _plant_in_bucket)]
    if "dynamodb_table" in remote.backend:
        kinds.append(("DynamoDB table", _plant_in_table))
    for kind, plant in kinds:
        identifier = str(uuid.uuid4())
        with plant(remote, aws, identifier):
            try:
                remote.plan(refresh=False, lock=True, wait=False).path.unlink(missing_ok=True)
            except StateLocked as error:
                if identifier not in error.message:
                    raise
                continue
        raise OpsError(
            f"Terraform took no notice of a lock in the {kind}: two runs at once could damage the state.",
            next_step="Check the table, the bucket's policy, and that Terraform is 1.11 or newer.",
        )
    step.done(f"respected: {' and '.join(kind for kind, _ in kinds)}")


def _lock_info(remote: Terraform, identifier: str) -> str:
    return json.dumps(
        {
            "ID": identifier,
            "Operation": _PROBE,
            "Info": "",
            "Who": _PROBE,
            "Version": "",
            "Created": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "Path": f"{remote.backend['bucket']}/{remote.state_key}",
        }
    )


@contextlib.contextmanager
def _plant_in_bucket(remote: Terraform, aws: Aws, identifier: str) -> Iterator[None]:
    client = aws.client("s3")
    place = {"Bucket": remote.backend["bucket"], "Key": f"{remote.state_key}.tflock"}
    try:
        client.put_object(**place, Body=_lock_info(remote, identifier).encode(), IfNoneMatch="*")
    except ClientError as error:
        if code(error) == "PreconditionFailed":
            raise _locked(remote, _lock_in_bucket(remote, aws)) from error
        raise
    try:
        yield
    finally:
        client.delete_object(**place)


@contextlib.contextmanager
def _plant_in_table(remote: Terraform, aws: Aws, identifier: str) -> Iterator[None]:
    client = aws.client("dynamodb")
    place = {"TableName": remote.backend["dynamodb_table"]}
    key = _lock_key(remote)
    try:
        client.put_item(
            **place,
            Item=key | {"Info": {"S": _lock_info(remote, identifier)}},
            ConditionExpression="attribute_not_exists(LockID)",
        )
    except ClientError as error:
        if code(error) == "ConditionalCheckFailedException":
            raise _locked(remote, _lock_in_table(remote, aws)) from error
        raise
    try:
        yield
    finally:
        client.delete_item(**place, Key=key)


def _lock_key(remote: Terraform) -> dict[str, dict[str, str]]:
    return {"LockID": {"S": f"{remote.backend['bucket']}/{remote.state_key}"}}


def _lock_in_bucket(remote: Terraform, aws: Aws) -> dict[str, str]:
    try:
        answer = aws.client("s3").get_object(Bucket=remote.backend["bucket"], Key=f"{remote.state_key}.tflock")
    except ClientError as error:
        if code(error) == "NoSuchKey":
            return {}
        raise
    return _parsed(answer["Body"].read().decode())


def _lock_in_table(remote: Terraform, aws: Aws) -> dict[str, str]:
    answer = aws.client("dynamodb").get_item(
        TableName=remote.backend["dynamodb_table"], Key=_lock_key(remote), ConsistentRead=True
    )
    return _parsed(answer.get("Item", {}).get("Info", {}).get("S", "{}"))


def _parsed(text: str) -> dict[str, str]:
    try:
        return dict(json.loads(text))
    except (json.JSONDecodeError, TypeError):
        return {"Who": "unknown"}


def _remove_probes(remote: Terraform, aws: Aws) -> None:
    """Remove the locks that an interrupted check of ours planted, and no others."""
    if _lock_in_bucket(remote, aws).get("Operation") == _PROBE:
        aws.client("s3").delete_object(Bucket=remote.backend["bucket"], Key=f"{remote.state_key}.tflock")
    if "dynamodb_table" in remote.backend and _lock_in_table(remote, aws).get("Operation") == _PROBE:
        aws.client("dynamodb").delete_item(TableName=remote.backend["dynamodb_table"], Key=_lock_key(remote))


def _locked(remote: Terraform, held: dict[str, str]) -> StateLocked:
    return StateLocked(
        f"The state of {remote.label} is locked by {held.get('Who', 'unknown')} since"
        f" {held.get('Created', 'unknown')} (lock {held.get('ID', 'unknown')}).",
        next_step="Wait until that run is over, then run make bootstrap again.",
    )
