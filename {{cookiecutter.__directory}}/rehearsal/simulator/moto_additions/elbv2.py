"""Elastic Load Balancing: the write test that AWS makes when access logs are turned on."""

from typing import Any

from moto.elbv2.exceptions import InvalidConfigurationRequest
from moto.elbv2.models import ELBv2Backend
from moto.s3.models import FakeBucket, s3_backends
from moto.utilities.utils import get_partition

from rehearsal.policies import Request, decide
from rehearsal.simulator.moto_additions.gaps import gap, wraps

# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
DELIVERY = "logdelivery.elasticloadbalancing.amazonaws.com"


@gap("aws_lb", "logs are turned on although the bucket refuses them; AWS writes a test file first")
@wraps(ELBv2Backend, "modify_load_balancer_attributes")
def modify_load_balancer_attributes(
    original: Any, backend: ELBv2Backend, arn: str, attrs: dict[str, Any]
) -> Any:
    for kind in ("access_logs", "connection_logs"):
        if attrs.get(f"{kind}.s3.enabled") == "true":
            _write_test_file(
                backend, arn, attrs[f"{kind}.s3.bucket"], attrs.get(f"{kind}.s3.prefix") or ""
            )
    return original(backend, arn, attrs)


def log_key(prefix: str, account_id: str) -> str:
    """Return the key under which a load balancer's logs of one prefix begin."""
    return f"{prefix}/AWSLogs/{account_id}/".lstrip("/")


def refusal(bucket: FakeBucket | None, load_balancer_arn: str, key: str) -> str | None:
    """Say why a bucket does not take a load balancer's logs, or None when it does."""
    if bucket is None:
        return "it does not exist"
    if "aws:kms" in str(bucket.encryption):
        return "load balancers cannot write to a bucket that is encrypted with a KMS key"
    asked = Request(
        principal=DELIVERY,
        action="s3:PutObject",
        resource=f"{bucket.arn}/{key}",
        context={
            "aws:SecureTransport": "true",
            "aws:SourceAccount": bucket.account_id,
            "aws:SourceArn": load_balancer_arn,
        },
    )
    if bucket.policy is None or decide(bucket.policy.decode(), asked) != "allowed":
        return f"its policy does not let {DELIVERY} put {key}"
    return None


def _write_test_file(backend: ELBv2Backend, arn: str, bucket_name: str, prefix: str) -> None:
    s3 = s3_backends[backend.account_id][get_partition(backend.region_name)]
    key = log_key(prefix, backend.account_id) + "ELBAccessLogTestFile"
    if reason := refusal(s3.buckets.get(bucket_name), arn, key):
        raise InvalidConfigurationRequest(
            f"Access Denied for bucket: {bucket_name}. Please check S3bucket permission ({reason})",
        )
    s3.put_object(bucket_name, key, b"Enable AccessLog for ELB")
