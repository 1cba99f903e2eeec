"""Who can reach what, computed from routes, security groups and endpoints."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from ops.rehearsal.claims.claim import Context, Result
from ops.rehearsal.claims.network import needed_services
from ops.rehearsal.deployed import Platform
from ops.rehearsal.reachability import INTERNET, Place, Verdict


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


def callers(platform: Platform) -> list[str]:
    """Return who may call the service: addresses, or 0.0.0.0/0 for everybody."""
    return [str(cidr) for cidr in platform.project.environment_settings["ingress"]["cidrs"]]


def reachable(platform: Platform) -> list[Row]:
    """Compute the reachability table."""
    vpc = platform.vpc
    balancer, tasks = platform.load_balancer_place, platform.service_place
    open_egress = platform.project.settings["internet_egress"] != "none"
    port = int(platform.service["loadBalancers"][0]["containerPort"])
    beside = tuple(s for s in vpc.subnets if s in tasks.subnets)
    # Something else in the VPC: its group may open any connection, and nobody's rules name it.
    stranger = Place("another machine in the VPC", beside, ("stranger",))
    vpc.groups["stranger"] = {
        "GroupName": "stranger",
        "IpPermissions": [],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }
    rows = []

    def add(source: str, target: str, verdict: Verdict, wanted: bool | None) -> None:
        rows.append(Row(source, target, verdict, wanted))

    for public in (80, 443) if platform.project.host else (80,):
        for cidr in callers(platform):
            name = "internet" if ipaddress.IPv4Network(cidr) == INTERNET else cidr
            verdict = vpc.from_internet(balancer, public, ipaddress.IPv4Network(cidr))
            add(name, f"load balancer:{public}", verdict, True)
        others = vpc.admitted(balancer, public) - set(callers(platform))
        if others:
            add(", ".join(sorted(others)), f"load balancer:{public}", Verdict("yes", "a group admits it"), False)
    add("internet", f"service:{port}", vpc.from_internet(tasks, port), False)
    add("load balancer", f"service:{port}", vpc.between(balancer, tasks, port), True)
    add(stranger.name, f"service:{port}", vpc.between(stranger, tasks, port), False)
    add("service", "internet:443", vpc.to_internet(tasks), open_egress)
    if platform.project.database:
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
        if platform.project.database:
            # Only what it needs: nothing else may carry its data out.
            must = wanted in needed["role manager"]
            add("role manager", f"AWS {wanted}", vpc.to_service(manager, wanted), must)
    for endpoint in vpc.endpoints:
        if endpoint["VpcEndpointType"] == "Interface":
            place = vpc.endpoint_place(endpoint)
            add(stranger.name, place.name, vpc.between(stranger, place, 443), None)
    return rows
