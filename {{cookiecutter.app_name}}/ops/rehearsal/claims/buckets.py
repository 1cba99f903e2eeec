"""What buckets have in common."""

from __future__ import annotations

from typing import Any

from ops.rehearsal.deployed import Platform
from ops.rehearsal.iam.questions import Request, says


def policy(platform: Platform, bucket: str) -> str | None:
    """Return a bucket's policy, or None where it has none."""
    s3 = platform.client("s3")
    try:
        return str(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucketPolicy":
            return None
        raise


def tls_only(policy: str | None, arn: str) -> bool:
    """Tell whether a policy refuses what does not come over TLS."""
    asked = Request("arn:aws:iam::0:user/x", "s3:GetObject", f"{arn}/x", {"aws:SecureTransport": "false"})
    return policy is not None and says(policy, asked) == "denied"


def public_access_blocked(platform: Platform, bucket: str) -> bool:
    """Tell whether nothing in a bucket can be made public."""
    block = platform.client("s3").get_public_access_block(Bucket=bucket)
    return all(block["PublicAccessBlockConfiguration"].values())


def encryption(platform: Platform, bucket: str) -> dict[str, Any]:
    """Return how a bucket encrypts what names no key of its own."""
    found = platform.client("s3").get_bucket_encryption(Bucket=bucket)
    rule = found["ServerSideEncryptionConfiguration"]["Rules"][0]
    return dict(rule["ApplyServerSideEncryptionByDefault"])
