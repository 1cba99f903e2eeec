"""GuardDuty: plans that protect a bucket from malware, and the scan of what is put into it, with the role of its plan."""

import json
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from moto.core.exceptions import JsonRESTError
from moto.guardduty import urls
from moto.guardduty.models import GuardDutyBackend, guardduty_backends
from moto.guardduty.responses import GuardDutyResponse
from moto.moto_api._internal import mock_random
from moto.s3.models import S3Backend

from ops.rehearsal.simulator import events
from ops.rehearsal.simulator.identities import RefusedError
from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

SERVICE = "malware-protection-plan.guardduty.amazonaws.com"
# What every scanner takes for malware, and nothing is harmed by: https://www.eicar.org. In parts, so that none finds it here.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"

for _path in ("/malware-protection-plan$", "/malware-protection-plan/(?P<id>[^/]+)$", "/tags/(?P<arn>.+)$"):
    urls.url_paths["{0}" + _path] = GuardDutyResponse.dispatch


def _plans(backend: GuardDutyBackend) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = backend.__dict__.setdefault("plans", {})
    return found


def _plan(response: GuardDutyResponse) -> dict[str, Any]:
    parts = urllib.parse.unquote(response.uri.partition("?")[0]).rstrip("/")
    try:
        return _plans(response.guardduty_backend)[parts.rpartition("/")[2]]
    except KeyError:
        raise JsonRESTError("ResourceNotFoundException", "There is no such plan.") from None


@gap("aws_guardduty_malware_protection_plan", "not implemented")
@adds(GuardDutyResponse)
def create_malware_protection_plan(self: GuardDutyResponse) -> str:
    backend = self.guardduty_backend
    identity = mock_random.get_random_hex(32)
    bucket = self._get_param("protectedResource")["s3Bucket"]
    _plans(backend)[identity] = {
        "id": identity,
        "arn": f"arn:{backend.partition}:guardduty:{backend.region_name}:{backend.account_id}:malware-protection-plan/{identity}",
        "role": self._get_param("role"),
        "bucket": bucket["bucketName"],
        "prefixes": bucket.get("objectPrefixes") or [],
        "actions": self._get_param("actions") or {},
        "tags": self._get_param("tags") or {},
    }
    return json.dumps({"malwareProtectionPlanId": identity})


@adds(GuardDutyResponse)
def get_malware_protection_plan(self: GuardDutyResponse) -> str:
    plan = _plan(self)
    tagging = (plan["actions"].get("tagging") or {}).get("status", "DISABLED")
    return json.dumps(
        {
            "arn": plan["arn"],
            "role": plan["role"],
            "protectedResource": {"s3Bucket": {"bucketName": plan["bucket"], "objectPrefixes": plan["prefixes"]}},
            "actions": {"tagging": {"status": tagging}},
            "status": "ACTIVE",
            "tags": plan["tags"],
        }
    )


@adds(GuardDutyResponse)
def list_malware_protection_plans(self: GuardDutyResponse) -> str:
    return json.dumps(
        {"malwareProtectionPlans": [{"malwareProtectionPlanId": name} for name in _plans(self.guardduty_backend)]}
    )


@adds(GuardDutyResponse)
def delete_malware_protection_plan(self: GuardDutyResponse) -> str:
    del _plans(self.guardduty_backend)[_plan(self)["id"]]
    return "{}"


@adds(GuardDutyResponse)
def list_tags_for_resource(self: GuardDutyResponse) -> str:
    return json.dumps({"tags": _plan(self)["tags"]})


def install(world: "World") -> None:
    """Scan what is put into a protected bucket, as GuardDuty does: with the plan's role, and a word to EventBridge."""

    @wraps(S3Backend, "put_object")
    def put_object(original: Any, backend: S3Backend, bucket_name: str, key_name: str, *more: Any, **named: Any) -> Any:
        stored = original(backend, bucket_name, key_name, *more, **named)
        owner = backend.get_bucket(bucket_name).account_id
        for plan in list(_plans(guardduty_backends[owner][world.region]).values()):
            if plan["bucket"] == bucket_name:
                threading.Thread(target=_scan, args=(world, plan, key_name), daemon=True).start()
        return stored


def _scan(world: "World", plan: dict[str, Any], name: str) -> None:
    place = {"Bucket": plan["bucket"], "Key": name}
    try:
        s3 = world.client("s3", world.identities.for_service(SERVICE, plan["role"], plan["arn"], "scan"))
        bad = EICAR in s3.get_object(**place)["Body"].read()
        status = "THREATS_FOUND" if bad else "NO_THREATS_FOUND"
        s3.put_object_tagging(**place, Tagging={"TagSet": [{"Key": "GuardDutyMalwareScanStatus", "Value": status}]})
    except (ClientError, RefusedError) as error:
        world.note("scans", uploaded=name, failed=str(error))
        return
    world.note("scans", uploaded=name, status=status)
    # https://docs.aws.amazon.com/guardduty/latest/ug/monitor-with-eventbridge-s3-malware-protection.html
    events.send(
        world,
        "aws.guardduty",
        "GuardDuty Malware Protection Object Scan Result",
        [plan["arn"]],
        {
            "schemaVersion": "1.0",
            "scanStatus": "COMPLETED",
            "resourceType": "S3_OBJECT",
            "s3ObjectDetails": {"bucketName": plan["bucket"], "objectKey": name},
            "scanResultDetails": {
                "scanResultStatus": status,
                "threats": [{"name": "EICAR-Test-File (not a virus)"}] if bad else None,
            },
        },
    )
