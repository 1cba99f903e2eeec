"""S3: lifecycle, bucket policies, delete markers, logging targets and metrics."""

from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket, FakeDeleteMarker
from moto.s3.responses import S3Response

from ops.rehearsal.iam.questions import Request, says
from ops.rehearsal.simulator.moto_additions.gaps import adds, gap, wraps


@gap(
    "aws_s3_bucket_lifecycle_configuration",
    "`newer_noncurrent_versions` is dropped, and the provider waits three minutes to see it",
)
@wraps(FakeBucket, "set_lifecycle")
def set_lifecycle(original: Any, bucket: FakeBucket, rules: list[dict[str, Any]]) -> None:
    original(bucket, rules)
    for kept, rule in zip(bucket.rules, rules, strict=True):
        expiration = rule.get("NoncurrentVersionExpiration") or {}
        kept.newer_noncurrent_versions = expiration.get("NewerNoncurrentVersions")  # type: ignore[attr-defined]


@wraps(S3Response, "get_bucket_lifecycle")
def get_bucket_lifecycle(original: Any, response: S3Response) -> Any:
    rules = response.backend.get_bucket_lifecycle(response.bucket_name)

    def serialized(answer: Any) -> Any:
        shown_rules = answer.result["Rules"] if isinstance(answer.result, dict) else []
        for shown, rule in zip(shown_rules, rules or [], strict=True):
            if newer := getattr(rule, "newer_noncurrent_versions", None):
                shown["NoncurrentVersionExpiration"]["NewerNoncurrentVersions"] = newer
        return S3Response.serialized(response, answer)

    response.serialized = serialized  # type: ignore[method-assign, assignment]
    return original(response)


@gap(
    "aws_s3_bucket_policy",
    "conditions are ignored: a statement that denies calls without TLS denies every call",
)
@wraps(FakeBucket, "get_permission")
def get_permission(_original: Any, *_: Any) -> Any:
    return PermissionResult.NEUTRAL  # decided at the door, with everything else that has a word in it: guard.py


@gap("aws_s3_bucket", "a versioned bucket with delete markers cannot be emptied (force_destroy)")
@adds(FakeDeleteMarker)
def dispose(self: FakeDeleteMarker, garbage: bool = False) -> None:
    """Free nothing: a marker has no content."""


@gap("aws_s3_bucket_logging", "a target policy with a statement for everyone breaks the call")
@wraps(FakeBucket, "_log_permissions_enabled_policy")
def log_permissions_enabled_policy(
    _original: Any, bucket: FakeBucket, *, target_bucket: FakeBucket, target_prefix: str | None
) -> bool:
    asked = Request(
        principal="logging.s3.amazonaws.com",
        action="s3:PutObject",
        resource=f"{target_bucket.arn}/{target_prefix or ''}log",
        context={
            "aws:SecureTransport": "true",
            "aws:SourceAccount": bucket.account_id,
            "aws:SourceArn": bucket.arn,
        },
    )
    return target_bucket.policy is not None and (says(target_bucket.policy.decode(), asked) == "allowed")


@gap("aws_s3_bucket_logging", "`target_object_key_format` is dropped")
@wraps(S3Response, "get_bucket_logging")
def get_bucket_logging(original: Any, response: S3Response) -> Any:
    logging = response.backend.get_bucket_logging(response.bucket_name)

    def serialized(answer: Any) -> Any:
        if logging and "TargetObjectKeyFormat" in logging:
            answer.result["LoggingEnabled"]["TargetObjectKeyFormat"] = {
                name: value or {} for name, value in logging["TargetObjectKeyFormat"].items()
            }
        return S3Response.serialized(response, answer)

    response.serialized = serialized  # type: ignore[method-assign, assignment]
    return original(response)


@gap("aws_s3_bucket_metric", "not implemented")
@wraps(S3Response, "_bucket_response")
def bucket_response(original: Any, response: S3Response, request: Any, full_url: str) -> Any:
    asked = response._get_querystring(request, full_url)
    if "metrics" not in asked:
        return original(response, request, full_url)
    bucket = response.backend.head_bucket(response.parse_bucket_name_from_url(request, full_url))
    kept: dict[str, bytes] = bucket.__dict__.setdefault("metrics", {})
    identity = asked["id"][0]
    if request.method == "PUT":
        kept[identity] = request.data
        return 200, {}, ""
    if identity not in kept:
        return 404, {}, "<Error><Code>NoSuchConfiguration</Code><Message>There is no such metric.</Message></Error>"
    if request.method == "DELETE":
        del kept[identity]
        return 204, {}, ""
    return 200, {"Content-Type": "application/xml"}, kept[identity].decode()
