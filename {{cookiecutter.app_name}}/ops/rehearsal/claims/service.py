"""The service layer, as requests pass through it: load balancer, its logs, tasks."""

from __future__ import annotations

from typing import Any

from ops.rehearsal.claims import buckets
from ops.rehearsal.claims.alarms import watches
from ops.rehearsal.claims.claim import Context, Result, rows
from ops.rehearsal.deployed import Platform
from ops.rehearsal.iam.questions import log_key, log_refusal


def load_balancer(context: Context, result: Result) -> None:
    """It faces the internet, in more than one zone, and forwards to the service."""
    platform = context.platform
    found, client = platform.load_balancer, platform.client("elbv2")
    attributes = found["Attributes"]
    zones = {zone["ZoneName"] for zone in found["AvailabilityZones"]}
    result.claim("active and internet-facing", found["State"]["Code"] == "active" and
                 found["Scheme"] == "internet-facing", found["Scheme"])  # fmt: skip
    result.claim("in two zones or more", len(zones) > 1, ", ".join(sorted(zones)))
    result.claim(
        "drops invalid headers",
        attributes.get("routing.http.drop_invalid_header_fields.enabled") == "true",
    )
    protected = bool(platform.project.environment_settings["protected"])
    result.claim(
        f"deletion protection is {'on' if protected else 'off'}",
        (attributes.get("deletion_protection.enabled") == "true") == protected,
    )
    listeners = {
        listener["Port"]: listener
        for listener in client.describe_listeners(LoadBalancerArn=found["LoadBalancerArn"])["Listeners"]
    }
    if platform.project.host:
        redirect = listeners[80]["DefaultActions"][0]
        result.claim("port 80 redirects to HTTPS", redirect["Type"] == "redirect", redirect["Type"])
        listener = listeners[443]
        policy = str(listener.get("SslPolicy"))
        result.claim("TLS 1.2 or newer", "TLS13" in policy or "TLS-1-2" in policy, policy)
        arn = listener["Certificates"][0]["CertificateArn"]
        certificate = platform.client("acm").describe_certificate(CertificateArn=arn)["Certificate"]
        result.claim(
            f"its certificate is for {platform.project.host}",
            certificate["DomainName"] == platform.project.host and certificate["Status"] == "ISSUED",
            certificate["DomainName"],
        )
        result.claim(f"{platform.project.host} leads to it", _alias(platform, found["DNSName"]))
    else:
        listener = listeners[80]
    forward = listener["DefaultActions"][-1]
    result.claim("the listener forwards to the target group", forward["Type"] == "forward", forward["Type"])
    group = client.describe_target_groups(Names=[platform.project.names["service"]])["TargetGroups"][0]
    result.claim("targets are checked at /health", group["HealthCheckPath"] == "/health")
    health = client.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
    states = [t["TargetHealth"]["State"] for t in health["TargetHealthDescriptions"]]
    result.claim(
        "its targets are healthy",
        states and set(states) == {"healthy"},
        ", ".join(states) or "none",
    )
    firewall = bool(platform.project.environment_settings["service"].get("web_application_firewall"))
    waf = platform.client("wafv2").get_web_acl_for_resource(ResourceArn=found["LoadBalancerArn"])
    result.claim(
        f"{'with' if firewall else 'without'} a web application firewall",
        ("WebACL" in waf and waf["WebACL"] is not None) == firewall,
    )


def _alias(platform: Platform, dns_name: str) -> bool:
    route53 = platform.client("route53")
    domain = str(platform.project.settings["domain_name"]).rstrip(".") + "."
    zone = next(z for z in route53.list_hosted_zones()["HostedZones"] if z["Name"] == domain)
    records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    return any(
        record["Name"].rstrip(".") == platform.project.host
        and record.get("AliasTarget", {}).get("DNSName", "").rstrip(".").endswith(dns_name)
        for record in records
    )


def access_logs(context: Context, result: Result) -> None:
    """The load balancer writes access and connection logs to a bucket that takes them."""
    platform = context.platform
    bucket = platform.project.names["log_bucket"]
    arn = f"arn:{platform.project.partition}:s3:::{bucket}"
    attributes = platform.load_balancer["Attributes"]
    policy = buckets.policy(platform, bucket)
    for kind in ("access", "connection"):
        on = attributes.get(f"{kind}_logs.s3.enabled") == "true"
        goes_to = attributes.get(f"{kind}_logs.s3.bucket")
        result.claim(f"the load balancer writes {kind} logs to it", on and goes_to == bucket, goes_to)
        prefix = attributes.get(f"{kind}_logs.s3.prefix") or ""
        refusal = log_refusal(
            policy,
            arn,
            log_key(prefix, platform.project.account) + "x.gz",
            platform.load_balancer["LoadBalancerArn"],
        )
        result.claim(f"the bucket policy admits {kind} logs", refusal is None, refusal or "")
    result.claim("the bucket policy refuses calls without TLS", buckets.tls_only(policy, arn))
    algorithm = buckets.encryption(platform, bucket)["SSEAlgorithm"]
    result.claim("SSE-S3, the only encryption log delivery takes", algorithm == "AES256", algorithm)
    result.claim("public access is blocked", buckets.public_access_blocked(platform, bucket))
    rules = platform.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    result.claim("logs expire", any("Expiration" in rule for rule in rules))
    keys = platform.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    arrived = [key["Key"] for key in keys if "/AWSLogs/" in f"/{key['Key']}"]
    result.claim("the load balancer's test file arrived", arrived, arrived[0] if arrived else "")


def service(context: Context, result: Result) -> None:
    """It runs as many tasks as it should, locked down, and goes back by itself."""
    platform, names = context.platform, context.platform.project.names
    found = platform.service
    result.claim(
        "as many tasks run as are wanted",
        found["runningCount"] == found["desiredCount"] > 0,
        f"{found['runningCount']} of {found['desiredCount']}",
    )
    configuration = found.get("deploymentConfiguration", {})
    breaker = configuration.get("deploymentCircuitBreaker", {})
    result.claim("a failed deployment is rolled back (circuit breaker)",
                 breaker.get("enable") and breaker.get("rollback"), breaker)  # fmt: skip
    rollback = configuration.get("alarms", {})
    for word, what in (("5XX", "errors"), ("TargetResponseTime", "latency")):
        names_of = [
            n for n in rollback.get("alarmNames", []) if n in platform.alarms and watches(platform.alarms[n], word)
        ]
        result.claim(
            f"the alarm on {what} rolls a deployment back",
            names_of and rollback.get("enable") and rollback.get("rollback"),
            ", ".join(names_of) or f"no rollback alarm on {what} among {rollback.get('alarmNames', [])}",
        )
    network = found["networkConfiguration"]["awsvpcConfiguration"]
    result.claim(
        "no public address",
        network.get("assignPublicIp") == "DISABLED",
        network.get("assignPublicIp"),
    )
    families = [found["taskDefinition"], *([names["migrate"]] if platform.project.database else [])]
    for family in families:
        _task(platform, platform.task_definition(family), result)
    scaling = platform.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[f"service/{names['service']}/{names['service']}"]
    )["ScalableTargets"]
    wanted = platform.project.environment_settings["service"]
    result.claim(
        f"scales from {wanted['min_tasks']} to {wanted['max_tasks']} tasks",
        scaling
        and (scaling[0]["MinCapacity"], scaling[0]["MaxCapacity"]) == (wanted["min_tasks"], wanted["max_tasks"]),
    )


def _task(platform: Platform, definition: dict[str, Any], result: Result) -> None:
    name = definition["family"]
    container = definition["containerDefinitions"][0]
    result.claim(f"{name}: read-only root filesystem", container.get("readonlyRootFilesystem"))
    user = str(container.get("user") or "root")
    result.claim(f"{name}: not root", user not in ("root", "0"), user)
    result.claim(f"{name}: image by digest", "@sha256:" in container["image"], container["image"])
    processor = definition.get("runtimePlatform", {}).get("cpuArchitecture", "X86_64")
    result.claim(f"{name}: on the chosen processor",
                 processor.lower() == platform.project.settings["cpu_architecture"], processor)  # fmt: skip
    group = container["logConfiguration"]["options"]["awslogs-group"]
    groups = platform.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    kept = [g for g in groups if g["logGroupName"] == group]
    result.claim(
        f"{name}: its log is encrypted and kept for a time",
        kept and kept[0].get("retentionInDays") and platform.is_customer_key(kept[0].get("kmsKeyId")),
        group,
    )
    variables = rows(container.get("environment", []), "name", "value")
    wanted = platform.project.environment_settings["service"].get("variables", {})
    if wanted:
        lacks = sorted(key for key in wanted if variables.get(key) != wanted[key])
        result.claim(f"{name}: is given project.yaml's variables", not lacks, ", ".join(lacks or sorted(wanted)))
    if platform.project.database:
        role = platform.role(definition["taskRoleArn"])
        cluster = platform.cluster["DbClusterResourceId"]
        resource = f"arn:{platform.project.partition}:rds-db:{platform.project.region}:{platform.project.account}:dbuser:{cluster}/"
        result.claim(f"{name}: DB_HOST is the cluster", variables.get("DB_HOST") == platform.cluster["Endpoint"],
                     variables.get("DB_HOST", "DB_HOST is not set"))  # fmt: skip
        user = str(variables.get("DB_USER"))
        result.claim(
            f"{name}: its role may log in as {user}",
            role.may("rds-db:connect", resource + user),
            role.name,
        )
        result.claim(
            f"{name}: and as nobody else",
            not role.may("rds-db:connect", resource + "somebody-else"),
        )
