"""AWS Backup: selections, vault policies, tags on creation."""

import json
from typing import Any
from urllib.parse import unquote

from moto.backup import urls
from moto.backup.exceptions import ResourceNotFoundException
from moto.backup.responses import BackupResponse
from moto.moto_api._internal import mock_random

from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps

for _path in (
    "/backup-vaults/(?P<name>[^/]+)/access-policy$",
    "/backup-vaults/(?P<name>[^/]+)/notification-configuration$",
    "/backup-vaults/(?P<name>[^/]+)/recovery-points/?$",
):
    urls.url_paths["{0}" + _path] = BackupResponse.dispatch


def _vault(response: BackupResponse) -> Any:
    return response.backup_backend.describe_backup_vault(unquote(response.path.split("/")[2]))


def _selections(response: BackupResponse) -> dict[str, dict[str, Any]]:
    plan_id = response.path.split("/")[3]
    plan = response.backup_backend.get_backup_plan(plan_id, None)
    return plan.__dict__.setdefault("selections", {})  # type: ignore[no-any-return]


@gap("aws_backup_selection", "not implemented")
@adds(BackupResponse)
def create_backup_selection(self: BackupResponse) -> str:
    selections = _selections(self)
    body = json.loads(self.body)
    selection = {
        "BackupPlanId": self.path.split("/")[3],
        "SelectionId": str(mock_random.uuid4()),
        "CreationDate": 0,
        "BackupSelection": body["BackupSelection"],
    }
    selections[selection["SelectionId"]] = selection
    return json.dumps(selection)


@adds(BackupResponse)
def get_backup_selection(self: BackupResponse) -> str:
    selection = _selections(self).get(self.path.rstrip("/").split("/")[-1])
    if selection is None:
        raise ResourceNotFoundException(msg="Cannot find Backup selection")
    return json.dumps(selection)


@adds(BackupResponse)
def list_backup_selections(self: BackupResponse) -> str:
    return json.dumps(
        {
            "BackupSelectionsList": [
                {key: s[key] for key in ("BackupPlanId", "SelectionId", "CreationDate")}
                | {key: s["BackupSelection"][key] for key in ("SelectionName", "IamRoleArn")}
                for s in _selections(self).values()
            ]
        }
    )


@adds(BackupResponse)
def delete_backup_selection(self: BackupResponse) -> str:
    _selections(self).pop(self.path.rstrip("/").split("/")[-1], None)
    return "{}"


@gap("aws_backup_plan", "after its deletion the plan is still found, and its update is missing")
@wraps(BackupResponse, "get_backup_plan")
def get_backup_plan(original: Any, response: BackupResponse) -> Any:
    plan = response.backup_backend.get_backup_plan(response.path.rstrip("/").split("/")[3], None)
    if plan.deletion_date is not None:
        raise ResourceNotFoundException(msg="Failed reading Backup plan with provided version")
    return original(response)


@adds(BackupResponse)
def update_backup_plan(self: BackupResponse) -> str:
    plan = self.backup_backend.get_backup_plan(self.path.rstrip("/").split("/")[-1], None)
    plan.__init__(json.loads(self.body)["BackupPlan"], plan.creator_request_id, self.backup_backend)  # type: ignore[misc]
    return json.dumps(plan.to_dict())


@gap("aws_backup_plan, aws_backup_vault", "tags are kept but not found again")
@adds(BackupResponse)
def list_tags(self: BackupResponse) -> str:
    arn = unquote(self.path).removeprefix("/tags/").rstrip("/")
    return json.dumps({"Tags": self.backup_backend.list_tags(arn)})


@gap("aws_backup_vault_policy", "not implemented")
@adds(BackupResponse)
def put_backup_vault_access_policy(self: BackupResponse) -> str:
    _vault(self).policy = json.loads(self.body)["Policy"]
    return "{}"


@adds(BackupResponse)
def get_backup_vault_access_policy(self: BackupResponse) -> str:
    vault = _vault(self)
    if getattr(vault, "policy", None) is None:
        raise ResourceNotFoundException(msg="There is no policy on this vault")
    return json.dumps(
        {
            "BackupVaultName": vault.backup_vault_name,
            "BackupVaultArn": vault.backup_vault_arn,
            "Policy": vault.policy,
        }
    )


@adds(BackupResponse)
def delete_backup_vault_access_policy(self: BackupResponse) -> str:
    _vault(self).policy = None
    return "{}"


@gap("aws_backup_vault", "force_destroy asks for recovery points, which are not implemented")
@adds(BackupResponse)
def list_recovery_points_by_backup_vault(self: BackupResponse) -> str:
    _vault(self)
    return json.dumps({"RecoveryPoints": []})
