"""Elastic Load Balancing: the write test that AWS makes when access logs are turned on."""

from typing import Any

from moto.elbv2.exceptions import InvalidConfigurationRequest
from moto.elbv2.models import ELBv2Backend
from moto.s3.models import s3_backends
from moto.utilities.utils import get_partition

from ops.rehearsal.iam.questions import log_key, log_refusal
from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps


@gap("aws_lb", "without a scheme it has none; on AWS it faces the internet")
@wraps(ELBv2Backend, "create_load_balancer")
def create_load_balancer(original: Any, backend: ELBv2Backend, *args: Any, **kwargs: Any) -> Any:
    balancer = original(backend, *args, **kwargs)
    balancer.scheme = balancer.scheme or "internet-facing"
    return balancer


@gap("aws_lb", "logs are turned on although the bucket refuses them; AWS writes a test file first")
@wraps(ELBv2Backend, "modify_load_balancer_attributes")
def modify_load_balancer_attributes(original: Any, backend: ELBv2Backend, arn: str, attrs: dict[str, Any]) -> Any:
    for kind in ("access_logs", "connection_logs"):
        if attrs.get(f"{kind}.s3.enabled") == "true":
            _write_test_file(backend, arn, attrs[f"{kind}.s3.bucket"], attrs.get(f"{kind}.s3.prefix") or "")
    return original(backend, arn, attrs)


def _write_test_file(backend: ELBv2Backend, arn: str, bucket_name: str, prefix: str) -> None:
    s3 = s3_backends[backend.account_id][get_partition(backend.region_name)]
    bucket = s3.buckets.get(bucket_name)
    key = log_key(prefix, backend.account_id) + "ELBAccessLogTestFile"
    if bucket is None:
        reason: str | None = "it does not exist"
    elif "aws:kms" in str(bucket.encryption):
        reason = "load balancers cannot write to a bucket that is encrypted with a KMS key"
    else:
        policy = bucket.policy.decode() if bucket.policy else None
        reason = log_refusal(policy, bucket.arn, key, arn)
    if reason:
        raise InvalidConfigurationRequest(
            f"Access Denied for bucket: {bucket_name}. Please check S3bucket permission ({reason})",
        )
    s3.put_object(bucket_name, key, b"Enable AccessLog for ELB")
