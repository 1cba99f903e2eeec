"""What must be true of the deployed platform, component by component, read from the API.

An empty plan proves little: a provider sees only what it asks for. Each function here states claims about
one of the fifteen components of docs/system-architecture.md and its neighbours; a claim that does not hold
names what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.rehearsal.deployed import Platform
from ops.rehearsal.iam.policy import as_list, everything_on_everything, statements
from ops.rehearsal.iam.questions import Request, log_key, log_refusal, publish_refusal, says
from ops.rehearsal.iam.roles import Role
from ops.rehearsal.reachability import Place, Verdict
from ops.rehearsal.receiver import Mailbox

DELIVERY_SECONDS = 10


@dataclass(frozen=True)
class Claim:
    """A sentence and whether it holds; `detail` is what was found, or what is wrong."""

    text: str
    holds: bool
    detail: str = ""


@dataclass
class Result:
    """The claims of one component; `chosen` is False for one that this project does not have."""

    component: str
    chosen: bool = True
    claims: list[Claim] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    def claim(self, text: str, holds: object, detail: object = "") -> None:
        """Add a claim."""
        self.claims.append(Claim(text, bool(holds), str(detail)))


@dataclass
class Context:
    """What proofs work with: the platform, where alarms arrive, and the files of the run."""

    platform: Platform
    mailbox: Mailbox
    directory: Path


Proof = Callable[[Context, Result], None]
PROOFS: dict[str, tuple[Callable[[Platform], bool], Proof]] = {}


def proof(component: str, when: Callable[[Platform], bool] = lambda _: True) -> Callable[[Proof], Proof]:
    """Register the proof of a component."""

    def register(function: Proof) -> Proof:
        PROOFS[component] = (when, function)
        return function

    return register


def prove(context: Context, only: Iterable[str] | None = None) -> list[Result]:
    """Run the proofs; what a proof stumbles over is a claim that does not hold."""
    results = []
    for component, (when, function) in PROOFS.items():
        if only is not None and component not in only:
            continue
        result = Result(component, chosen=when(context.platform))
        if result.chosen:
            try:
                function(context, result)
            except Exception as error:  # noqa: BLE001 - missing things are findings
                result.claim("can be read", False, f"{type(error).__name__}: {error}")
        results.append(result)
    return results


# Helpers.


def _bucket_policy(platform: Platform, bucket: str) -> str | None:
    s3 = platform.client("s3")
    try:
        return str(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucketPolicy":
            return None
        raise


def _tls_only(policy: str | None, arn: str) -> bool:
    asked = Request("arn:aws:iam::0:user/x", "s3:GetObject", f"{arn}/x", {"aws:SecureTransport": "false"})
    return policy is not None and says(policy, asked) == "denied"


def _public_access_blocked(platform: Platform, bucket: str) -> bool:
    block = platform.client("s3").get_public_access_block(Bucket=bucket)
    return all(block["PublicAccessBlockConfiguration"].values())


def _encryption(platform: Platform, bucket: str) -> dict[str, Any]:
    found = platform.client("s3").get_bucket_encryption(Bucket=bucket)
    rule = found["ServerSideEncryptionConfiguration"]["Rules"][0]
    return dict(rule["ApplyServerSideEncryptionByDefault"])


def _rows(pairs: Iterable[dict[str, Any]], key: str = "Name", value: str = "Value") -> dict[str, Any]:
    return {pair[key]: pair.get(value) for pair in pairs}


# The fifteen components.


@proof("Access logs")
def access_logs(context: Context, result: Result) -> None:
    """The load balancer writes access and connection logs to a bucket that takes them."""
    platform = context.platform
    bucket = platform.names["log_bucket"]
    arn = f"arn:{platform.partition}:s3:::{bucket}"
    attributes = platform.load_balancer["Attributes"]
    policy = _bucket_policy(platform, bucket)
    for kind in ("access", "connection"):
        on = attributes.get(f"{kind}_logs.s3.enabled") == "true"
        goes_to = attributes.get(f"{kind}_logs.s3.bucket")
        result.claim(f"the load balancer writes {kind} logs to it", on and goes_to == bucket, goes_to)
        prefix = attributes.get(f"{kind}_logs.s3.prefix") or ""
        refusal = log_refusal(
            policy,
            arn,
            log_key(prefix, platform.account) + "x.gz",
            platform.load_balancer["LoadBalancerArn"],
        )
        result.claim(f"the bucket policy admits {kind} logs", refusal is None, refusal or "")
    result.claim("the bucket policy refuses calls without TLS", _tls_only(policy, arn))
    algorithm = _encryption(platform, bucket)["SSEAlgorithm"]
    result.claim("SSE-S3, the only encryption log delivery takes", algorithm == "AES256", algorithm)
    result.claim("public access is blocked", _public_access_blocked(platform, bucket))
    rules = platform.client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    result.claim("logs expire", any("Expiration" in rule for rule in rules))
    keys = platform.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    arrived = [key["Key"] for key in keys if "/AWSLogs/" in f"/{key['Key']}"]
    result.claim("the load balancer's test file arrived", arrived, arrived[0] if arrived else "")


@proof("Alarms SNS topic")
def alarms_topic(context: Context, result: Result) -> None:
    """The topic takes what alarms and failed deployments say."""
    platform = context.platform
    topic = platform.topic
    key = topic.get("KmsMasterKeyId")
    customer = platform.is_customer_key(key)
    result.claim("encrypted with a customer key", customer, key or "no key")
    policy = None if not key else platform.key_policy(key) if customer else ""
    alarm = next(iter(platform.alarms.values()), {}).get("AlarmArn", "")
    rule = platform.client("events").describe_rule(Name=platform.names["failed_deployments"])["Arn"]
    for principal, source in (("cloudwatch.amazonaws.com", alarm), ("events.amazonaws.com", rule)):
        refusal = publish_refusal(topic["TopicArn"], topic["Policy"], policy, principal, source)
        result.claim(f"{principal} can publish to it", refusal is None, refusal or "")
    targets = platform.client("events").list_targets_by_rule(Rule=platform.names["failed_deployments"])
    arns = [target["Arn"] for target in targets["Targets"]]
    result.claim("failed deployments are told to it", topic["TopicArn"] in arns, arns)


@proof("Application Load Balancer")
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
    protected = bool(platform.environment_settings["protected"])
    result.claim(
        f"deletion protection is {'on' if protected else 'off'}",
        (attributes.get("deletion_protection.enabled") == "true") == protected,
    )
    listeners = {
        listener["Port"]: listener
        for listener in client.describe_listeners(LoadBalancerArn=found["LoadBalancerArn"])["Listeners"]
    }
    if platform.host:
        redirect = listeners[80]["DefaultActions"][0]
        result.claim("port 80 redirects to HTTPS", redirect["Type"] == "redirect", redirect["Type"])
        listener = listeners[443]
        policy = str(listener.get("SslPolicy"))
        result.claim("TLS 1.2 or newer", "TLS13" in policy or "TLS-1-2" in policy, policy)
        arn = listener["Certificates"][0]["CertificateArn"]
        certificate = platform.client("acm").describe_certificate(CertificateArn=arn)["Certificate"]
        result.claim(
            f"its certificate is for {platform.host}",
            certificate["DomainName"] == platform.host and certificate["Status"] == "ISSUED",
            certificate["DomainName"],
        )
        result.claim(f"{platform.host} leads to it", _alias(platform, found["DNSName"]))
    else:
        listener = listeners[80]
    forward = listener["DefaultActions"][-1]
    result.claim("the listener forwards to the target group", forward["Type"] == "forward", forward["Type"])
    group = client.describe_target_groups(Names=[platform.names["service"]])["TargetGroups"][0]
    result.claim("targets are checked at /health", group["HealthCheckPath"] == "/health")
    health = client.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
    states = [t["TargetHealth"]["State"] for t in health["TargetHealthDescriptions"]]
    result.claim(
        "its targets are healthy",
        states and set(states) == {"healthy"},
        ", ".join(states) or "none",
    )
    firewall = bool(platform.environment_settings["service"].get("web_application_firewall"))
    waf = platform.client("wafv2").get_web_acl_for_resource(ResourceArn=found["LoadBalancerArn"])
    result.claim(
        f"{'with' if firewall else 'without'} a web application firewall",
        ("WebACL" in waf and waf["WebACL"] is not None) == firewall,
    )


def _alias(platform: Platform, dns_name: str) -> bool:
    route53 = platform.client("route53")
    domain = str(platform.settings["domain_name"]).rstrip(".") + "."
    zone = next(z for z in route53.list_hosted_zones()["HostedZones"] if z["Name"] == domain)
    records = route53.list_resource_record_sets(HostedZoneId=zone["Id"])["ResourceRecordSets"]
    return any(
        record["Name"].rstrip(".") == platform.host
        and record.get("AliasTarget", {}).get("DNSName", "").rstrip(".").endswith(dns_name)
        for record in records
    )


@proof("Aurora PostgreSQL database", lambda p: p.has_database)
def database(context: Context, result: Result) -> None:
    """Serverless, encrypted, private, with IAM authentication and backups."""
    platform = context.platform
    cluster, wanted = platform.cluster, platform.environment_settings["database"]
    rds = platform.client("rds")
    result.claim("Aurora PostgreSQL", cluster["Engine"] == "aurora-postgresql",
                 f"{cluster['Engine']} {cluster['EngineVersion']}")  # fmt: skip
    scaling = cluster.get("ServerlessV2ScalingConfiguration", {})
    result.claim(
        f"capacity {wanted['min_capacity']} to {wanted['max_capacity']} ACU",
        (scaling.get("MinCapacity"), scaling.get("MaxCapacity")) == (wanted["min_capacity"], wanted["max_capacity"]),
        scaling,
    )
    result.claim("IAM authentication", cluster.get("IAMDatabaseAuthenticationEnabled"))
    result.claim(
        "encrypted with a customer key",
        cluster.get("StorageEncrypted") and platform.is_customer_key(cluster.get("KmsKeyId")),
        cluster.get("KmsKeyId", ""),
    )
    secret = cluster.get("MasterUserSecret", {})
    result.claim(
        "AWS keeps the master password, under a customer key",
        platform.is_customer_key(secret.get("KmsKeyId")),
        secret.get("SecretArn", "no secret"),
    )
    parameters = rds.describe_db_cluster_parameters(DBClusterParameterGroupName=cluster["DBClusterParameterGroup"])[
        "Parameters"
    ]
    force = _rows(parameters, "ParameterName", "ParameterValue").get("rds.force_ssl")
    result.claim("refuses connections without TLS (rds.force_ssl)", force == "1", force)
    result.claim(
        f"backups for {wanted['backup_retention_days']} days",
        cluster["BackupRetentionPeriod"] == wanted["backup_retention_days"],
        cluster["BackupRetentionPeriod"],
    )
    protected = bool(platform.environment_settings["protected"])
    result.claim(
        f"deletion protection is {'on' if protected else 'off'}",
        bool(cluster.get("DeletionProtection")) == protected,
    )
    instances = [
        instance
        for instance in rds.describe_db_instances()["DBInstances"]
        if instance.get("DBClusterIdentifier") == cluster["DBClusterIdentifier"]
    ]
    result.claim(f"{wanted['instances']} instance(s)", len(instances) == wanted["instances"], len(instances))
    result.claim("no public address", not any(i.get("PubliclyAccessible") for i in instances))
    tiers = {_rows(platform.vpc.subnets[s].get("Tags", []), "Key").get("tier") for s in platform.database_place.subnets}
    result.claim("in database subnets only", tiers == {"database"}, tiers)


@proof("Build repository")
def build_repository(context: Context, result: Result) -> None:
    """Immutable tags, scans, customer key; what runs is in it."""
    platform = context.platform
    ecr, name = platform.client("ecr"), platform.names["build_repository"]
    repository = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    result.claim("immutable tags", repository["imageTagMutability"].startswith("IMMUTABLE"))
    result.claim("scans on push", repository["imageScanningConfiguration"]["scanOnPush"])
    encryption = repository["encryptionConfiguration"]
    result.claim(
        "encrypted with a customer key",
        encryption["encryptionType"] == "KMS" and platform.is_customer_key(encryption.get("kmsKey")),
        encryption.get("kmsKey", encryption["encryptionType"]),
    )
    rules = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])["rules"]
    result.claim("old images are deleted", rules, f"{len(rules)} rules")
    image = platform.task_definition(platform.service["taskDefinition"])["containerDefinitions"][0]["image"]
    digest = image.partition("@")[2]
    digests = {i.get("imageDigest") for i in ecr.list_images(repositoryName=name)["imageIds"]}
    result.claim("the service runs one of its images, by digest", digest in digests, digest or image)


# What has to be watched: a word of the metric's name -> what it is called.
WATCHED = {
    "5XX": "errors",
    "TargetResponseTime": "latency",
    "UnHealthyHostCount": "unhealthy hosts",
    "CPUUtilization": "CPU",
    "MemoryUtilization": "memory",
    "RunningTaskCount": "running tasks",
    "TriggeredRules": "failed deployments",
}
WATCHED_DATABASE = {
    "ACUUtilization": "database capacity",
    "DatabaseConnections": "database connections",
    "MaximumUsedTransactionIDs": "age of transaction ids",
    "Errors": "role manager errors",
}


@proof("CloudWatch alarms")
def alarms(context: Context, result: Result) -> None:
    """Every number that matters is watched, and every alarm tells the topic."""
    platform = context.platform
    topic = platform.topic["TopicArn"]
    for word, what in (WATCHED | (WATCHED_DATABASE if platform.has_database else {})).items():
        found = [name for name, alarm in platform.alarms.items() if _watches(alarm, word)]
        result.claim(f"{what} are watched", found, ", ".join(found) or f"no alarm on {word}")
    for name, alarm in platform.alarms.items():
        tells = topic in alarm.get("AlarmActions", []) and alarm.get("ActionsEnabled", True)
        result.claim(
            f"{name} tells the topic",
            tells,
            "" if tells else f"{name} has no alarm action for {topic}",
        )
        result.claim(f"{name} says what to do", len(alarm.get("AlarmDescription") or "") > 20)
    problems = [problem for alarm in platform.alarms.values() for problem in _dimensions(platform, alarm)]
    result.claim("alarms watch things that exist", not problems, "; ".join(problems))


def _metrics(alarm: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    metrics = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    metrics += [alarm] if alarm.get("MetricName") else []
    return [(m["MetricName"], _rows(m.get("Dimensions", []))) for m in metrics]


def _watches(alarm: dict[str, Any], word: str) -> bool:
    return any(name == word or (word == "5XX" and word in name) for name, _ in _metrics(alarm))


def _dimensions(platform: Platform, alarm: dict[str, Any]) -> list[str]:
    names = platform.names
    expected = {
        "ClusterName": names["service"],
        "ServiceName": names["service"],
        "LoadBalancer": platform.load_balancer["LoadBalancerArn"].partition(":loadbalancer/")[2],
        "DBClusterIdentifier": names["database_cluster"],
        "FunctionName": names["role_manager"],
        "RuleName": names["failed_deployments"],
    }
    return [
        f"{alarm['AlarmName']} watches {dimension} {value}, not {expected[dimension]}"
        for _, dimensions in _metrics(alarm)
        for dimension, value in dimensions.items()
        if dimension in expected and value != expected[dimension]
    ]


@proof("Feature flags", lambda p: p.has_flags)
def feature_flags(context: Context, result: Result) -> None:
    """Deployed, and rolled back by the alarms that callers notice."""
    platform, names = context.platform, context.platform.names
    client = platform.client("appconfig")

    def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
        return next(item for item in items if item["Name"] == name)

    application = named(client.list_applications()["Items"], names["flags_application"])["Id"]
    environment = named(client.list_environments(ApplicationId=application)["Items"], names["flags_environment"])
    profile = named(
        client.list_configuration_profiles(ApplicationId=application)["Items"],
        names["flags_profile"],
    )
    result.claim(
        "the profile is of feature flags",
        profile["Type"] == "AWS.AppConfig.FeatureFlags",
        profile["Type"],
    )
    deployments = client.list_deployments(ApplicationId=application, EnvironmentId=environment["Id"])["Items"]
    state = deployments[0]["State"] if deployments else "none"
    result.claim("a version is deployed", state == "COMPLETE", state)
    monitors = [m["AlarmArn"].rpartition(":alarm:")[2] for m in environment.get("Monitors", [])]
    missing = [name for name in monitors if name not in platform.alarms]
    result.claim("alarms roll a launch back", monitors, ", ".join(monitors) or "no monitor")
    result.claim("those alarms exist", not missing, ", ".join(missing))
    for monitor in environment.get("Monitors", []):
        role = platform.role(monitor["AlarmRoleArn"])
        may = role.may("cloudwatch:DescribeAlarms", "*") or role.may("cloudwatch:DescribeAlarms", monitor["AlarmArn"])
        result.claim(f"AppConfig may look at {monitor['AlarmArn'].rpartition(':')[2]}", may, role.name)


@proof("Database role manager", lambda p: p.has_database)
def role_manager(context: Context, result: Result) -> None:
    """It runs in the VPC, its check passes, and each role can do its job and no more."""
    platform = context.platform
    function = platform.role_manager
    result.claim(
        "Python 3.13 or newer",
        function["Runtime"] in ("python3.13", "python3.14"),
        function["Runtime"],
    )
    architecture = function["Architectures"][0]
    result.claim(
        "on the chosen processor",
        architecture == platform.settings["cpu_architecture"],
        architecture,
    )
    secret = platform.cluster["MasterUserSecret"]["SecretArn"]
    role = platform.role(function["Role"])
    result.claim(
        "may read the master password",
        role.may("secretsmanager:GetSecretValue", secret),
        role.name,
    )
    other = secret.rpartition(":")[0] + ":another-secret"
    result.claim("and no other secret", not role.may("secretsmanager:GetSecretValue", other))
    group = function.get("LoggingConfig", {}).get("LogGroup")
    groups = platform.client("logs").describe_log_groups(logGroupNamePrefix=group or "?")["logGroups"]
    kept = [g for g in groups if g["logGroupName"] == group]
    result.claim("its log group has a retention", kept and kept[0].get("retentionInDays"), group)
    answer = platform.client("lambda").invoke(
        FunctionName=platform.names["role_manager"], Payload=json.dumps({"action": "check"})
    )
    body = answer["Payload"].read().decode()
    good = "FunctionError" not in answer and json.loads(body).get("ok", True) is not False
    result.claim("its check passes on the deployed database", good, "" if good else body[:600])
    rules = platform.client("events").list_rule_names_by_target(TargetArn=function["FunctionArn"])
    result.claim("the check runs by itself", rules["RuleNames"], ", ".join(rules["RuleNames"]))


# What each profile can do to the owner's table in the schema, in the order in which it is tried.
CAN = {
    "owner": ("create", "write", "read"),
    "read-write": ("write", "read"),
    "read-only": ("read",),
}


@proof("Database roles", lambda p: p.has_database)
def database_roles(context: Context, result: Result) -> None:
    """Each role logs in with a token, does its job in the schema, and can do no more."""
    roles = context.platform.settings_of_roles
    schema = roles["schemas"][0]
    owner = next((n for n, role in roles["roles"].items() if role["profile"] == "owner"), None)
    result.claim("one role owns the schema", owner, owner or "no role has the profile owner")
    names = context.platform.names
    if context.platform.service:
        for family in (names["service"], names["migrate"]):
            container = context.platform.task_definition(family)["containerDefinitions"][0]
            user = str(_rows(container["environment"], "name", "value").get("DB_USER"))
            refused = _try(context, user, "SELECT 1")
            result.claim(f"{family} logs in as {user}", refused is None, refused or "")
    table = f'"{schema}"."rehearsal_probe"'
    tries = {
        "create": f"CREATE TABLE {table} (id int)",
        "write": f"INSERT INTO {table} VALUES (1)",  # noqa: S608 - this project's own schema
        "read": f"SELECT count(*) FROM {table}",  # noqa: S608
    }
    ordered = sorted(roles["roles"].items(), key=lambda item: item[1]["profile"] != "owner")
    try:
        for name, role in ordered:
            if role.get("login") != "iam" or role["profile"] not in CAN:
                continue
            for what, statement in tries.items():
                can = what in CAN[role["profile"]]
                if what == "create" and not can:
                    statement = statement.replace("rehearsal_probe", "rehearsal_probe_too")
                refused = _try(context, name, statement)
                text = f"{name} can {'' if can else 'not '}{what}"
                result.claim(text, (refused is None) == can, refused or "")
                if what == "create" and can and refused is not None:
                    return  # without a table there is nothing to try
    finally:
        if owner is not None:
            _try(context, owner, f"DROP TABLE IF EXISTS {table}")


def _try(context: Context, user: str, statement: str) -> str | None:
    """Run a statement as a role that logs in with an IAM token; returns why it was refused."""
    import ssl

    import pg8000.native

    platform = context.platform
    cluster = platform.cluster
    note = json.loads((context.directory / "databases.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    token = platform.client("rds").generate_db_auth_token(
        DBHostname=cluster["Endpoint"],
        Port=cluster["Port"],
        DBUsername=user,
        Region=platform.region,
    )
    trust = ssl.create_default_context(cafile=note["ca_file"])
    trust.check_hostname = False  # the service verifies the name; this goes to the address
    try:
        with pg8000.native.Connection(
            user,
            host="127.0.0.1",
            port=note["port"],
            database=cluster["DatabaseName"],
            password=token,
            ssl_context=trust,
        ) as connection:
            connection.run(statement)
    except (pg8000.native.DatabaseError, pg8000.native.InterfaceError) as error:
        details = error.args[0]
        return str(details.get("M", details)) if isinstance(details, dict) else str(details)
    return None


@proof("GitHub")
def github(context: Context, result: Result) -> None:
    """Jobs sign in by OIDC with exact subjects, and plan cannot change anything."""
    platform, names = context.platform, context.platform.names
    providers = platform.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    issuer = "token.actions.githubusercontent.com"
    provider = next((p["Arn"] for p in providers if p["Arn"].endswith(issuer)), None)
    result.claim("GitHub is an identity provider of the account", provider, provider or "no OIDC provider")
    prefix = str(platform.settings["github_oidc_subject_prefix"])
    wanted = "sts.amazonaws.com" + (".cn" if platform.partition == "aws-cn" else "")
    for name in (names["plan_role"], names["build_role"], names["apply_role"]):
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
        ("iam:CreateRole", f"arn:{platform.partition}:iam::{platform.account}:role/x"),
        ("s3:DeleteBucket", f"arn:{platform.partition}:s3:::{names['state_bucket']}"),
    ):
        result.claim(f"{plan.name} may not {action}", not plan.may(action, resource))


@proof("Incident management service", lambda p: p.settings["incident_management"] != "none")
def incident_management(context: Context, result: Result) -> None:
    """A test alarm goes the whole way: alarm, topic, subscription, receiver."""
    platform, mailbox = context.platform, context.mailbox
    ssm, sns = platform.client("ssm"), platform.client("sns")
    name = platform.names["incident_url_parameter"]
    parameter = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    result.claim("its URL is an encrypted parameter", parameter["Type"] == "SecureString", parameter["Type"])
    found = sns.list_subscriptions_by_topic(TopicArn=platform.topic["TopicArn"])["Subscriptions"]
    mine = [s for s in found if s["Endpoint"] == parameter["Value"]]
    result.claim("it is subscribed to the topic", mine, f"{len(found)} subscription(s)")
    confirmed = [
        s
        for s in mine
        if sns.get_subscription_attributes(SubscriptionArn=s["SubscriptionArn"])["Attributes"]["PendingConfirmation"]
        == "false"
    ]
    result.claim("it confirmed the subscription", confirmed)
    errors = [name for name, alarm in platform.alarms.items() if _watches(alarm, "5XX")]
    if not errors:
        result.claim("a test alarm arrives", False, "there is no alarm on errors")
        return
    cloudwatch = platform.client("cloudwatch")
    before = len(mailbox.messages())
    cloudwatch.set_alarm_state(AlarmName=errors[0], StateValue="ALARM", StateReason="rehearsal")
    try:
        message = mailbox.wait_for(errors[0], DELIVERY_SECONDS, after=before)
    finally:
        cloudwatch.set_alarm_state(AlarmName=errors[0], StateValue="OK", StateReason="rehearsal")
    detail = f"at {message.host}" if message else _last_delivery(context, errors[0])
    result.claim(f"a test alarm ({errors[0]}) arrives", message is not None, detail)


def _last_delivery(context: Context, alarm: str) -> str:
    file = context.directory / "deliveries.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lost = [json.loads(line)["outcome"] for line in lines]
    return next((o for o in reversed(lost) if alarm in o), lost[-1] if lost else "nothing was sent")


@proof("Service")
def service(context: Context, result: Result) -> None:
    """It runs as many tasks as it should, locked down, and goes back by itself."""
    platform, names = context.platform, context.platform.names
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
            n for n in rollback.get("alarmNames", []) if n in platform.alarms and _watches(platform.alarms[n], word)
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
    families = [found["taskDefinition"], *([names["migrate"]] if platform.has_database else [])]
    for family in families:
        _task(platform, platform.task_definition(family), result)
    scaling = platform.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[f"service/{names['service']}/{names['service']}"]
    )["ScalableTargets"]
    wanted = platform.environment_settings["service"]
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
                 processor.lower() == platform.settings["cpu_architecture"], processor)  # fmt: skip
    group = container["logConfiguration"]["options"]["awslogs-group"]
    groups = platform.client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    kept = [g for g in groups if g["logGroupName"] == group]
    result.claim(
        f"{name}: its log is encrypted and kept for a time",
        kept and kept[0].get("retentionInDays") and platform.is_customer_key(kept[0].get("kmsKeyId")),
        group,
    )
    variables = _rows(container.get("environment", []), "name", "value")
    if platform.has_database:
        role = platform.role(definition["taskRoleArn"])
        cluster = platform.cluster["DbClusterResourceId"]
        resource = f"arn:{platform.partition}:rds-db:{platform.region}:{platform.account}:dbuser:{cluster}/"
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


@proof("Terraform backend bucket")
def backend_bucket(context: Context, result: Result) -> None:
    """Versioned, encrypted, closed; holds a state for each layer."""
    platform = context.platform
    s3, bucket = platform.client("s3"), platform.names["state_bucket"]
    arn = f"arn:{platform.partition}:s3:::{bucket}"
    result.claim("versioned", s3.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled")
    encryption = _encryption(platform, bucket)
    result.claim(
        "encrypted with a customer key",
        platform.is_customer_key(encryption.get("KMSMasterKeyID")),
        encryption,
    )
    result.claim("refuses calls without TLS", _tls_only(_bucket_policy(platform, bucket), arn))
    result.claim("public access is blocked", _public_access_blocked(platform, bucket))
    keys = {o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])}
    environment = platform.environment
    expected = ["account.tfstate", "build-repository.tfstate", f"network/{environment}.tfstate",
                f"service/{environment}.tfstate"]  # fmt: skip
    expected += [f"database/{environment}.tfstate"] if platform.has_database else []
    for key in expected:
        if key not in keys:
            result.claim(f"holds {key}", False, ", ".join(sorted(keys)))
            continue
        head = s3.head_object(Bucket=bucket, Key=key)
        used = head.get("ServerSideEncryption") == "aws:kms" and platform.is_customer_key(head.get("SSEKMSKeyId"))
        result.claim(f"holds {key}, encrypted with the customer key", used, head.get("ServerSideEncryption"))
    result.claim("no lock is left", not [k for k in keys if k.endswith(".tflock")])


@proof("Terraform locks", lambda p: p.settings["terraform_state_locks"] == "dynamodb")
def locks(context: Context, result: Result) -> None:
    """The DynamoDB table that locks states."""
    platform = context.platform
    dynamodb, name = platform.client("dynamodb"), platform.names["locks_table"]
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


def needed_services(platform: Platform) -> dict[str, list[str]]:
    """Return which AWS services must be reached from where without the internet, by place."""
    needed: dict[str, set[str]] = {"service": set(), "role manager": set()}
    if platform.settings["internet_egress"] == "none":
        needed["service"] |= {"ecr.api", "ecr.dkr", "s3", "logs"}
        if platform.service.get("enableExecuteCommand"):
            # The session's messages; its key, when sessions are encrypted.
            needed["service"] |= {"ssmmessages", "kms"}
        if platform.has_flags:
            needed["service"].add("appconfigdata")
        definition = platform.task_definition(platform.service["taskDefinition"])
        for secret in definition["containerDefinitions"][0].get("secrets", []):
            needed["service"].add("secretsmanager" if ":secretsmanager:" in secret["valueFrom"] else "ssm")
    if platform.has_database:
        needed["role manager"].add("secretsmanager")
    return {place: sorted(services) for place, services in needed.items()}


@proof("VPC endpoints", lambda p: p.has_database or p.settings["internet_egress"] == "none")
def endpoints(context: Context, result: Result) -> None:
    """Everything that is needed is reached without the internet, and nothing is there without use."""
    platform = context.platform
    vpc, needed = platform.vpc, needed_services(context.platform)
    places = {"service": platform.service_place}
    if platform.has_database:
        places["role manager"] = platform.role_manager_place
    for name, services in needed.items():
        for wanted in services:
            verdict = vpc.to_service(places[name], wanted)
            result.claim(f"{name} reaches {wanted}", verdict.reach == "yes", verdict.because)
    used = {wanted for services in needed.values() for wanted in services}
    unused = set(vpc.services()) - used - {"s3", "dynamodb"}
    result.claim("every endpoint is used", not unused, ", ".join(sorted(unused)))
    interfaces = [e for e in vpc.endpoints if e["VpcEndpointType"] == "Interface"]
    result.claim("interface endpoints answer to the services' own names",
                 all(e["PrivateDnsEnabled"] for e in interfaces), f"{len(interfaces)} endpoints")  # fmt: skip
    # Stolen keys of another account would carry data out through an endpoint that takes them.
    found = platform.client("ec2").describe_vpc_endpoint_services(ServiceNames=[e["ServiceName"] for e in interfaces])[
        "ServiceDetails"
    ]
    with_policy = {s["ServiceName"] for s in found if s["VpcEndpointPolicySupported"]}
    for endpoint in interfaces:
        if endpoint["ServiceName"] in with_policy:
            taken = sorted(_for_strangers(endpoint["PolicyDocument"]))
            name = vpc.endpoint_place(endpoint).name
            result.claim(f"{name} refuses other accounts", not taken, ", ".join(taken))


def _for_strangers(policy: str) -> set[str]:
    """Return the actions that a policy allows an identity of another account."""
    account = "000000000000"
    stranger, context = f"arn:aws:iam::{account}:user/x", {"aws:PrincipalAccount": account}
    return {
        str(action)
        for statement in statements(policy)
        for action in as_list(statement.get("Action", []))
        for resource in as_list(statement.get("Resource", []))
        if says(policy, Request(stranger, action, resource, context)) == "allowed"
    }


@proof("VPC network")
def network(context: Context, result: Result) -> None:
    """Three tiers of subnets over the zones, flow logs, a default group that admits nothing."""
    platform = context.platform
    vpc, zones = platform.vpc, int(platform.environment_settings["network"]["zones"])
    tiers: dict[str, set[str]] = {}
    for subnet in vpc.subnets.values():
        tier = _rows(subnet.get("Tags", []), "Key").get("tier", "?")
        tiers.setdefault(str(tier), set()).add(subnet["AvailabilityZone"])
    for tier in ("public", "private", *(["database"] if platform.has_database else [])):
        found = tiers.get(tier, set())
        result.claim(
            f"{tier} subnets in {zones} zones",
            len(found) == zones,
            ", ".join(sorted(found)) or "none",
        )
    # A route to a NAT gateway is all that a private subnet may have, and a database subnet none.
    through = "nat-" if platform.settings["internet_egress"] == "nat-gateway" else None
    for tier, allowed in (("private", through), ("database", None)):
        ways = {
            way
            for subnet in vpc.subnets.values()
            if _rows(subnet.get("Tags", []), "Key").get("tier") == tier
            for way in vpc.beyond(subnet["SubnetId"])
            if allowed is None or not way.startswith(allowed)
        }
        only = " but to NAT gateways" if allowed else ""
        if tier in tiers:
            result.claim(
                f"{tier} subnets have no route out of the VPC{only}",
                not ways,
                ", ".join(sorted(ways)),
            )
    default = [g for g in vpc.groups.values() if g["GroupName"] == "default"]
    result.claim("the default security group admits nothing",
                 not any(g["IpPermissions"] or g["IpPermissionsEgress"] for g in default))  # fmt: skip
    ec2 = platform.client("ec2")
    flows = [f for f in ec2.describe_flow_logs()["FlowLogs"] if f["ResourceId"] == vpc.vpc_id]
    result.claim("flow logs are written", flows and flows[0]["TrafficType"] == "ALL")
    wanted = int(platform.environment_settings["network"].get("nat_gateways", 0))
    wanted = wanted if platform.settings["internet_egress"] == "nat-gateway" else 0
    result.claim(f"{wanted} NAT gateway(s)", len(vpc.nat_subnets) == wanted, len(vpc.nat_subnets))


# Across components.


@proof("Who can reach what")
def reachability(context: Context, result: Result) -> None:
    """Only the declared ways are open."""
    for row in reachable(context.platform):
        if row.wanted is not None:
            text = f"{row.source} {'reaches' if row.wanted else 'does not reach'} {row.target}"
            holds = row.verdict.reach == ("yes" if row.wanted else "no")
            result.claim(text, holds, row.verdict.because)


@dataclass(frozen=True)
class Row:
    """A row of the reachability table; `wanted` is None where either is well."""

    source: str
    target: str
    verdict: Verdict
    wanted: bool | None


def reachable(platform: Platform) -> list[Row]:
    """Compute the reachability table."""
    vpc = platform.vpc
    balancer, tasks = platform.load_balancer_place, platform.service_place
    open_egress = platform.settings["internet_egress"] != "none"
    port = int(platform.service["loadBalancers"][0]["containerPort"])
    others = tuple(s for s in vpc.subnets if s in tasks.subnets)
    # Something else in the VPC: its group may open any connection, and nobody's rules name it.
    stranger = Place("another machine in the VPC", others, ("stranger",))
    vpc.groups["stranger"] = {
        "GroupName": "stranger",
        "IpPermissions": [],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }
    rows = []

    def add(source: str, target: str, verdict: Verdict, wanted: bool | None) -> None:
        rows.append(Row(source, target, verdict, wanted))

    for public in (80, 443) if platform.host else (80,):
        add("internet", f"load balancer:{public}", vpc.from_internet(balancer, public), True)
    add("internet", f"service:{port}", vpc.from_internet(tasks, port), False)
    add("load balancer", f"service:{port}", vpc.between(balancer, tasks, port), True)
    add(stranger.name, f"service:{port}", vpc.between(stranger, tasks, port), False)
    add("service", "internet:443", vpc.to_internet(tasks), open_egress)
    if platform.has_database:
        target, manager = platform.database_place, platform.role_manager_place
        sql = int(platform.cluster["Port"])
        name = f"database:{sql}"
        add("internet", name, vpc.from_internet(target, sql), False)
        add("load balancer", name, vpc.between(balancer, target, sql), False)
        add("service", name, vpc.between(tasks, target, sql), True)
        add("role manager", name, vpc.between(manager, target, sql), True)
        add(stranger.name, name, vpc.between(stranger, target, sql), False)
        add("role manager", "internet:443", vpc.to_internet(manager), False)
        add("role manager", f"service:{port}", vpc.between(manager, tasks, port), False)
        add("role manager", "load balancer:80", vpc.between(manager, balancer, 80), False)
        add("database", "internet:443", vpc.to_internet(target), False)
        add("service", "role manager:443", vpc.between(tasks, manager, 443), False)
    needed = needed_services(platform)
    for wanted in sorted({*vpc.services(), *needed["service"]}):
        must = True if wanted in needed["service"] else None
        add("service", f"AWS {wanted}", vpc.to_service(tasks, wanted), must)
        if platform.has_database:
            # Only what it needs: nothing else may carry its data out.
            must = wanted in needed["role manager"]
            add("role manager", f"AWS {wanted}", vpc.to_service(manager, wanted), must)
    for endpoint in vpc.endpoints:
        if endpoint["VpcEndpointType"] == "Interface":
            place = vpc.endpoint_place(endpoint)
            add(stranger.name, place.name, vpc.between(stranger, place, 443), None)
    return rows


@proof("Least privilege")
def least_privilege(context: Context, result: Result) -> None:
    """No policy of this project allows everything on everything."""
    platform = context.platform
    iam, app = platform.client("iam"), str(platform.settings["app_name"])
    roles = [
        role["RoleName"]
        for page in iam.get_paginator("list_roles").paginate()
        for role in page["Roles"]
        if role["RoleName"].startswith(f"{app}-")
    ]
    result.claim("the project has roles", roles, len(roles))
    # Roles of the environment's layers, which apply roles make: IAM lets them make no others.
    github = {platform.names[key] for key in ("plan_role", "build_role")}
    own = [n for n in roles if n not in github and not n.startswith(f"{app}-github-apply-")]
    for name in roles:
        role = platform.role(name)
        wide = [f"{policy}: {sid}" for policy, text in role.policies.items() for sid in everything_on_everything(text)]
        result.claim(f"{name} has no * on *", not wide, "; ".join(wide))
        if name in own:
            _bounded(result, role)
        trusts_all = [s for s in statements(role.trust) if s.get("Principal") in ("*", {"AWS": "*"})]
        result.claim(f"{name} does not trust everybody", not trusts_all)


def _bounded(result: Result, role: Role) -> None:
    """What the boundary does not have, a role's policy gives in vain."""
    boundary = role.boundary
    result.claim(f"{role.name} carries the permissions boundary", boundary is not None)
    if boundary is None:
        return
    lacking = sorted(
        {
            f"{action} on {resource}"
            for policy in role.policies.values()
            for statement in statements(policy)
            if statement["Effect"] == "Allow"
            for action in as_list(statement.get("Action", []))
            for resource in as_list(statement.get("Resource", []))
            if says(boundary, role.request(action, resource)) != "allowed"
        }
    )
    result.claim(f"the boundary lets {role.name} do what its policies say", not lacking, "; ".join(lacking))


# AWS's limits on names, from each service's documentation of its Create call.
LIMITS = {
    "service": 32,  # load balancers and target groups; ECS allows 255
    "log_bucket": 63,
    "state_bucket": 63,
    "state_log_bucket": 63,
    "database_cluster": 63,
    "database_name": 63,
    "role_manager": 64,
    "role_manager_check": 64,
    "failed_deployments": 64,
    "alarms_topic": 256,
    "build_repository": 256,
    "locks_table": 255,
    "flags_application": 64,
    "flags_environment": 64,
    "flags_profile": 128,
}
ROLE_LIMIT, ALIAS_LIMIT, GROUP_LIMIT = 64, 256, 255


@proof("Names")
def names(context: Context, result: Result) -> None:
    """Every name fits AWS's limit."""
    for key, name in context.platform.names.items():
        limit = LIMITS.get(key)
        if limit is None:
            limit = (
                ROLE_LIMIT if key.endswith("_role") else
                ALIAS_LIMIT if key.endswith("_key") else
                GROUP_LIMIT if key.endswith("_security_group") else 512
            )  # fmt: skip
        if len(name) > limit:
            result.claim(f"{key} fits {limit} characters", False, f"{name}: {len(name)}")
    if not result.claims:
        result.claim("every name fits its limit", True, f"{len(context.platform.names)} names")
