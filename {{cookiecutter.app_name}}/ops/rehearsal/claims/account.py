"""The account layer: state bucket, locks table, and who may sign in from GitHub."""

from __future__ import annotations

from ops.rehearsal.claims import buckets
from ops.rehearsal.claims.claim import Context, Result
from ops.rehearsal.iam.policy import statements


def state_bucket(context: Context, result: Result) -> None:
    """Versioned, encrypted, closed; holds a state for each layer."""
    platform = context.platform
    s3, bucket = platform.client("s3"), platform.project.names["state_bucket"]
    arn = f"arn:{platform.project.partition}:s3:::{bucket}"
    result.claim("versioned", s3.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled")
    encryption = buckets.encryption(platform, bucket)
    result.claim(
        "encrypted with a customer key",
        platform.is_customer_key(encryption.get("KMSMasterKeyID")),
        encryption,
    )
    result.claim("refuses calls without TLS", buckets.tls_only(buckets.policy(platform, bucket), arn))
    result.claim("public access is blocked", buckets.public_access_blocked(platform, bucket))
    keys = {o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}
    environment = platform.project.environment
    expected = ["account.tfstate", f"network/{environment}.tfstate", f"service/{environment}.tfstate"]
    expected += ["build-repository.tfstate"] if platform.project.home else []
    expected += [f"database/{environment}.tfstate"] if platform.project.database else []
    for key in expected:
        if key not in keys:
            result.claim(f"holds {key}", False, ", ".join(sorted(keys)))
            continue
        head = s3.head_object(Bucket=bucket, Key=key)
        used = head.get("ServerSideEncryption") == "aws:kms" and platform.is_customer_key(head.get("SSEKMSKeyId"))
        result.claim(f"holds {key}, encrypted with the customer key", used, head.get("ServerSideEncryption"))
    result.claim("no lock is left", not [k for k in keys if k.endswith(".tflock")])


def locks(context: Context, result: Result) -> None:
    """The DynamoDB table that locks states."""
    platform = context.platform
    dynamodb, name = platform.client("dynamodb"), platform.project.names["locks_table"]
    table = dynamodb.describe_table(TableName=name)["Table"]
    keys = [key["AttributeName"] for key in table["KeySchema"]]
    result.claim("its key is LockID", keys == ["LockID"], keys)
    result.claim("pay per request", table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST")
    result.claim("deletion protection", table.get("DeletionProtectionEnabled"))
    key = table.get("SSEDescription", {}).get("KMSMasterKeyArn")
    result.claim("encrypted with a customer key", platform.is_customer_key(key), key)
    items = dynamodb.scan(TableName=name)["Items"]
    held = [item["LockID"]["S"] for item in items if not item["LockID"]["S"].endswith("-md5")]
    result.claim(
        "used by the states, and no lock is left",
        items and not held,
        ", ".join(held) or f"{len(items)} states",
    )


def github(context: Context, result: Result) -> None:
    """Jobs sign in by OIDC with exact subjects, and plan cannot change anything."""
    platform, names = context.platform, context.platform.project.names
    providers = platform.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    issuer = "token.actions.githubusercontent.com"
    provider = next((p["Arn"] for p in providers if p["Arn"].endswith(issuer)), None)
    result.claim("GitHub is an identity provider of the account", provider, provider or "no OIDC provider")
    prefix = str(platform.project.settings["github_oidc_subject_prefix"])
    wanted = "sts.amazonaws.com" + (".cn" if platform.project.partition == "aws-cn" else "")
    builds = [names["build_role"]] if platform.project.home else []
    for name in (names["plan_role"], *builds, names["apply_role"]):
        role = platform.role(name)
        for statement in statements(role.trust):
            conditions = statement.get("Condition", {})
            subjects = conditions.get("StringEquals", {}).get(f"{issuer}:sub", [])
            subjects = [subjects] if isinstance(subjects, str) else subjects
            exact = subjects and all(s.startswith(f"{prefix}:") and "*" not in s for s in subjects)
            result.claim(f"{name} trusts exact subjects", exact, ", ".join(subjects) or "any subject")
            audience = conditions.get("StringEquals", {}).get(f"{issuer}:aud")
            result.claim(
                f"{name} takes tokens for AWS only",
                audience in (wanted, [wanted]),
                audience,
            )
    plan = platform.role(names["plan_role"])
    for action, resource in (
        ("ec2:CreateVpc", "*"),
        ("iam:CreateRole", f"arn:{platform.project.partition}:iam::{platform.project.account}:role/x"),
        ("s3:DeleteBucket", f"arn:{platform.project.partition}:s3:::{names['state_bucket']}"),
    ):
        result.claim(f"{plan.name} may not {action}", not plan.may(action, resource))
