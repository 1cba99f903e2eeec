"""The build repository: what runs is in it, and stays what it was."""

from __future__ import annotations

import json

from ops.rehearsal.claims.claim import Context, Result


def build_repository(context: Context, result: Result) -> None:
    """Immutable tags, scans, customer key; what runs is in it."""
    platform = context.platform
    registry, name = platform.registry, platform.project.names["build_repository"]
    ecr = registry.client("ecr")
    repository = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    result.claim("immutable tags", repository["imageTagMutability"].startswith("IMMUTABLE"))
    result.claim("scans on push", repository["imageScanningConfiguration"]["scanOnPush"])
    encryption = repository["encryptionConfiguration"]
    result.claim(
        "encrypted with a customer key",
        encryption["encryptionType"] == "KMS" and registry.is_customer_key(encryption.get("kmsKey")),
        encryption.get("kmsKey", encryption["encryptionType"]),
    )
    rules = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])["rules"]
    result.claim("old images are deleted", rules, f"{len(rules)} rules")
    image = platform.task_definition(platform.service["taskDefinition"])["containerDefinitions"][0]["image"]
    digest = image.partition("@")[2]
    digests = {i.get("imageDigest") for i in ecr.list_images(repositoryName=name)["imageIds"]}
    result.claim("the service runs one of its images, by digest", digest in digests, digest or image)
