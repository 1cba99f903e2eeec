"""The network layer: tiers of subnets, and endpoints for exactly what is needed."""

from __future__ import annotations

from ops.rehearsal.claims.claim import Context, Result, rows
from ops.rehearsal.deployed import Platform
from ops.rehearsal.iam.policy import as_list, statements
from ops.rehearsal.iam.questions import Request, says


def network(context: Context, result: Result) -> None:
    """Three tiers of subnets over the zones, flow logs, a default group that admits nothing."""
    platform = context.platform
    vpc, zones = platform.vpc, int(platform.project.environment_settings["network"]["zones"])
    tiers: dict[str, set[str]] = {}
    for subnet in vpc.subnets.values():
        tier = rows(subnet.get("Tags", []), "Key").get("tier", "?")
        tiers.setdefault(str(tier), set()).add(subnet["AvailabilityZone"])
    for tier in ("public", "private", *(["database"] if platform.project.database else [])):
        found = tiers.get(tier, set())
        result.claim(
            f"{tier} subnets in {zones} zones",
            len(found) == zones,
            ", ".join(sorted(found)) or "none",
        )
    # A route to a NAT gateway is all that a private subnet may have, and a database subnet none.
    through = "nat-" if platform.project.settings["internet_egress"] == "nat-gateway" else None
    for tier, allowed in (("private", through), ("database", None)):
        ways = {
            way
            for subnet in vpc.subnets.values()
            if rows(subnet.get("Tags", []), "Key").get("tier") == tier
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
    wanted = int(platform.project.environment_settings["network"].get("nat_gateways", 0))
    wanted = wanted if platform.project.settings["internet_egress"] == "nat-gateway" else 0
    result.claim(f"{wanted} NAT gateway(s)", len(vpc.nat_subnets) == wanted, len(vpc.nat_subnets))


def needed_services(platform: Platform) -> dict[str, list[str]]:
    """Return which AWS services must be reached from where without the internet, by place."""
    needed: dict[str, set[str]] = {"service": set(), "role manager": set()}
    if platform.project.settings["internet_egress"] == "none":
        needed["service"] |= {"ecr.api", "ecr.dkr", "s3", "logs"}
        if platform.service.get("enableExecuteCommand"):
            # The session's messages; its key, when sessions are encrypted.
            needed["service"] |= {"ssmmessages", "kms"}
        if platform.project.settings["feature_flags"] != "none":
            needed["service"].add("appconfigdata")
        if platform.project.workers:
            needed["service"].add("sqs")
        definition = platform.task_definition(platform.service["taskDefinition"])
        for secret in definition["containerDefinitions"][0].get("secrets", []):
            needed["service"].add("secretsmanager" if ":secretsmanager:" in secret["valueFrom"] else "ssm")
    if platform.project.database:
        needed["role manager"].add("secretsmanager")
    return {place: sorted(services) for place, services in needed.items()}


def endpoints(context: Context, result: Result) -> None:
    """Everything that is needed is reached without the internet, and nothing is there without use."""
    platform = context.platform
    vpc, needed = platform.vpc, needed_services(context.platform)
    places = {"service": platform.service_place}
    if platform.project.database:
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
