"""The database layer: the cluster, the role manager, and the roles that it made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ops.rehearsal.claims.claim import Context, Result, rows


def aurora(context: Context, result: Result) -> None:
    """Serverless, encrypted, private, with IAM authentication and backups."""
    platform = context.platform
    cluster, wanted = platform.cluster, platform.project.environment_settings["database"]
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
    force = rows(parameters, "ParameterName", "ParameterValue").get("rds.force_ssl")
    result.claim("refuses connections without TLS (rds.force_ssl)", force == "1", force)
    result.claim(
        f"backups for {wanted['backup_retention_days']} days",
        cluster["BackupRetentionPeriod"] == wanted["backup_retention_days"],
        cluster["BackupRetentionPeriod"],
    )
    protected = bool(platform.project.environment_settings["protected"])
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
    tiers = {rows(platform.vpc.subnets[s].get("Tags", []), "Key").get("tier") for s in platform.database_place.subnets}
    result.claim("in database subnets only", tiers == {"database"}, tiers)


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
        architecture == platform.project.settings["cpu_architecture"],
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
        FunctionName=platform.project.names["role_manager"], Payload=json.dumps({"action": "check"})
    )
    body = answer["Payload"].read().decode()
    _checked(
        platform.project.database_roles or {}, None if "FunctionError" in answer else json.loads(body), body, result
    )
    rules = platform.client("events").list_rule_names_by_target(TargetArn=function["FunctionArn"])
    result.claim("the check runs by itself", rules["RuleNames"], ", ".join(rules["RuleNames"]))


def _checked(declared: Mapping[str, Any], report: Mapping[str, Any] | None, said: str, result: Result) -> None:
    """What the report of a check must say: see role_manager/report.py. `report` is None when the invocation failed."""
    passed = report is not None and report.get("result") == "passed"
    result.claim("its check passes on the deployed database", passed, "" if passed else said[:600])
    proven = {
        proof["role"]
        for proof in (report or {}).get("proofs", [])
        if proof["method"] == "login" and proof["proven"] and not proof["problems"]
    }
    wanted = {name for name, role in declared["roles"].items() if role.get("login") == "iam"}
    missing = sorted(wanted - proven)
    result.claim(
        "it proves by logging in what each role can do",
        wanted and not missing,
        f"not proven: {', '.join(missing)}" if missing else f"{len(wanted)} roles",
    )


# What each profile can do to the owner's table in the schema, in the order in which it is tried.
CAN = {
    "owner": ("create", "write", "read"),
    "read-write": ("write", "read"),
    "read-only": ("read",),
}


def database_roles(context: Context, result: Result) -> None:
    """Each role logs in with a token, does its job in the schema, and can do no more."""
    roles = context.platform.project.database_roles or {}
    schema = roles["schemas"][0]
    owner = next((n for n, role in roles["roles"].items() if role["profile"] == "owner"), None)
    result.claim("one role owns the schema", owner, owner or "no role has the profile owner")
    names = context.platform.project.names
    if context.platform.service:
        for family in (names["service"], names["migrate"]):
            container = context.platform.task_definition(family)["containerDefinitions"][0]
            user = str(rows(container["environment"], "name", "value").get("DB_USER"))
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
        Region=platform.project.region,
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
