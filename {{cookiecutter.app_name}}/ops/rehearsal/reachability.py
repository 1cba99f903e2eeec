"""Computes who can reach what from security groups, routes and endpoints, read through the API.

Nothing is tried out: a simulator has no packets. The rules are AWS's own: a packet needs an egress rule of
a group of its sender, an ingress rule of a group of its receiver (groups are stateful, so the answer
needs none), network ACLs in both directions and a route. Inside a VPC there always is a route; a public
service is reached through an interface endpoint with private DNS, else through a gateway endpoint, else
through the internet, which takes an internet gateway and a public address, or a NAT gateway. IPv4 only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Network = ipaddress.IPv4Network
Reach = Literal["yes", "partly", "no"]

INTERNET = ipaddress.IPv4Network("0.0.0.0/0")
# Ports from which answers to a client come back in, as far as network ACLs are concerned.
EPHEMERAL = 32768


@dataclass(frozen=True)
class Place:
    """Something with network interfaces: its subnets, its security groups, whether it has public addresses."""

    name: str
    subnets: tuple[str, ...]
    groups: tuple[str, ...]
    public: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether one place reaches another, and by what or why not."""

    reach: Reach
    because: str


@dataclass
class Vpc:
    """One VPC's subnets, groups, routes, ACLs and endpoints; `read` fills it from the API."""

    vpc_id: str
    region: str
    subnets: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    acls: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    nat_subnets: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, ec2: Any, vpc_id: str) -> Vpc:
        """Read a VPC with a boto3 EC2 client."""
        only = [{"Name": "vpc-id", "Values": [vpc_id]}]
        vpc = cls(vpc_id, ec2.meta.region_name)
        vpc.subnets = {s["SubnetId"]: s for s in _all(ec2, "describe_subnets", "Subnets", Filters=only)}
        if any(subnet.get("Ipv6CidrBlockAssociationSet") for subnet in vpc.subnets.values()):
            raise ValueError(f"{vpc_id} has IPv6 subnets: ops/rehearsal/reachability.py computes IPv4 only")
        vpc.groups = {g["GroupId"]: g for g in _all(ec2, "describe_security_groups", "SecurityGroups", Filters=only)}
        tables = _all(ec2, "describe_route_tables", "RouteTables", Filters=only)
        main = ""
        for table in tables:
            vpc.routes[table["RouteTableId"]] = table["Routes"]
            for association in table["Associations"]:
                if association.get("Main"):
                    main = table["RouteTableId"]
                elif "SubnetId" in association:
                    vpc.tables[association["SubnetId"]] = table["RouteTableId"]
        for subnet in vpc.subnets:
            vpc.tables.setdefault(subnet, main)
        for acl in _all(ec2, "describe_network_acls", "NetworkAcls", Filters=only):
            for association in acl["Associations"]:
                vpc.acls[association["SubnetId"]] = acl["Entries"]
        vpc.endpoints = [
            endpoint
            for endpoint in _all(ec2, "describe_vpc_endpoints", "VpcEndpoints", Filters=only)
            if endpoint.get("State", "available").lower() in ("available", "pending")
        ]
        vpc.nat_subnets = {
            nat["NatGatewayId"]: nat["SubnetId"]
            for nat in _all(ec2, "describe_nat_gateways", "NatGateways", Filter=only)
            if nat["State"] in ("available", "pending")
        }
        return vpc

    def between(self, source: Place, target: Place, port: int) -> Verdict:
        """Say whether `source` opens TCP connections to `port` of `target` in this VPC."""
        pairs = [(a, b) for a in source.subnets for b in target.subnets]
        if not pairs:
            return Verdict("no", f"{source.name if not source.subnets else target.name} has no subnet")
        verdicts = [self._pair(source, a, target, b, port) for a, b in pairs]
        for wanted in ("no", "partly"):
            for verdict in verdicts:
                if verdict.reach == wanted:
                    some = any(v.reach != "no" for v in verdicts)
                    return Verdict("partly" if some else "no", verdict.because)
        return verdicts[0]

    def from_internet(self, target: Place, port: int, source: Network = INTERNET) -> Verdict:
        """Say whether anybody on the internet, or of its addresses in `source` all, opens TCP connections to `port`."""
        reasons = [self._from_internet(target, subnet, port, source) for subnet in target.subnets]
        open_subnets = reasons.count(None)
        if reasons and open_subnets == len(reasons):
            return Verdict("yes", f"public address, route and group admit port {port}")
        blocked = next((reason for reason in reasons if reason is not None), "it has no subnet")
        return Verdict("partly" if open_subnets else "no", blocked)

    def admitted(self, target: Place, port: int) -> set[str]:
        """Return whom the groups of `target` let in to `port`: addresses, groups and lists of addresses."""
        rules = [rule for group in target.groups for rule in self.groups[group]["IpPermissions"] if _port(rule, port)]
        keys = {
            "IpRanges": "CidrIp",
            "Ipv6Ranges": "CidrIpv6",
            "UserIdGroupPairs": "GroupId",
            "PrefixListIds": "PrefixListId",
        }
        return {str(peer[name]) for rule in rules for key, name in keys.items() for peer in rule.get(key, [])}

    def to_internet(self, source: Place, port: int = 443) -> Verdict:
        """Say whether `source` opens TCP connections to `port` of hosts on the internet."""
        ways = [self._way_out(source, subnet) for subnet in source.subnets]
        if not any(ways):
            return Verdict("no", "its subnets have no route to the internet")
        if self._rule(source.groups, "IpPermissionsEgress", port, INTERNET, ()) == "no":
            return Verdict("no", f"none of its groups lets port {port} out")
        if not all(self._acl(s, INTERNET, port, egress=True) for s in source.subnets):
            return Verdict("no", "a network ACL is in the way")
        return Verdict("yes" if all(ways) else "partly", next(w for w in ways if w) or "")

    def to_service(self, source: Place, service: str) -> Verdict:
        """Say whether `source` reaches an AWS service, such as `secretsmanager` or `ecr.api`."""
        for endpoint in self._endpoints(service, "Interface"):
            if endpoint.get("PrivateDnsEnabled"):
                # Private DNS leads every call to the endpoint: when that is closed, nothing else is tried.
                verdict = self.between(source, self.endpoint_place(endpoint), 443)
                return Verdict(
                    verdict.reach,
                    "interface endpoint" if verdict.reach == "yes" else f"endpoint: {verdict.because}",
                )
        for endpoint in self._endpoints(service, "Gateway"):
            if (through := self._gateway(source, endpoint)) is not None:
                return through
        verdict = self.to_internet(source)
        if verdict.reach == "no":
            return Verdict("no", f"no endpoint for {service}, and {verdict.because}")
        return Verdict(verdict.reach, f"through the internet, {verdict.because}")

    def beyond(self, subnet: str) -> list[str]:
        """Return where a subnet's routes lead outside the VPC and its endpoints, such as `igw-1`."""
        targets = (
            str(target)
            for route in self.routes.get(self.tables[subnet], [])
            for key, target in route.items()
            if key.endswith("Id") and key != "DestinationPrefixListId"
        )
        return [target for target in targets if target != "local" and target[:5] != "vpce-"]

    def services(self) -> list[str]:
        """Return the services that have an endpoint here, such as `logs`."""
        return sorted({_service_name(endpoint["ServiceName"]) for endpoint in self.endpoints})

    def endpoint_place(self, endpoint: dict[str, Any]) -> Place:
        """Return an interface endpoint as a place."""
        return Place(
            f"endpoint {_service_name(endpoint['ServiceName'])}",
            tuple(endpoint["SubnetIds"]),
            tuple(group["GroupId"] for group in endpoint.get("Groups", [])),
        )

    def _endpoints(self, service: str, kind: str) -> Iterable[dict[str, Any]]:
        return (
            endpoint
            for endpoint in self.endpoints
            if endpoint["VpcEndpointType"] == kind and _service_name(endpoint["ServiceName"]) == service
        )

    def _gateway(self, source: Place, endpoint: dict[str, Any]) -> Verdict | None:
        routed = [self.tables[subnet] in endpoint["RouteTableIds"] for subnet in source.subnets]
        if not any(routed):
            return None
        # The prefix list's addresses are public ones, so a rule for 0.0.0.0/0 admits them as well.
        lists = tuple(
            route["DestinationPrefixListId"]
            for routes in self.routes.values()
            for route in routes
            if route.get("GatewayId") == endpoint["VpcEndpointId"] and "DestinationPrefixListId" in route
        )
        if self._rule(source.groups, "IpPermissionsEgress", 443, INTERNET, (), lists) == "no":
            return Verdict("no", "gateway endpoint, but none of the groups lets port 443 out to it")
        return Verdict("yes" if all(routed) else "partly", "gateway endpoint")

    def _pair(self, source: Place, from_subnet: str, target: Place, to_subnet: str, port: int) -> Verdict:
        sender, receiver = self._cidr(from_subnet), self._cidr(to_subnet)
        out = self._rule(source.groups, "IpPermissionsEgress", port, receiver, target.groups)
        if out == "no":
            return Verdict("no", f"no group of {source.name} lets port {port} out to {target.name}")
        into = self._rule(target.groups, "IpPermissions", port, sender, source.groups)
        if into == "no":
            return Verdict("no", f"no group of {target.name} lets port {port} in from {source.name}")
        if from_subnet != to_subnet and not (
            self._acl(from_subnet, receiver, port, egress=True)
            and self._acl(to_subnet, sender, port, egress=False)
            and self._acl(to_subnet, sender, EPHEMERAL, egress=True)
            and self._acl(from_subnet, receiver, EPHEMERAL, egress=False)
        ):
            return Verdict("no", f"a network ACL between {source.name} and {target.name} is in the way")
        if "partly" in (out, into):
            return Verdict("partly", f"rules admit port {port} for a part of the addresses")
        return Verdict("yes", f"security groups admit port {port}")

    def _from_internet(self, target: Place, subnet: str, port: int, source: Network) -> str | None:
        if not target.public:
            return f"{target.name} has no public address"
        if self._way_out(target, subnet) != "internet gateway":
            return f"a subnet of {target.name} has no internet gateway"
        admitted = self._rule(target.groups, "IpPermissions", port, source, ())
        if admitted == "no" or (admitted == "partly" and source != INTERNET):
            return (
                f"no group of {target.name} lets port {port} in from {'the internet' if source == INTERNET else source}"
            )
        if not self._acl(subnet, source, port, egress=False):
            return "a network ACL is in the way"
        return None

    def _way_out(self, source: Place, subnet: str) -> str | None:
        for route in self.routes.get(self.tables[subnet], []):
            if route.get("DestinationCidrBlock") != str(INTERNET):
                continue
            if str(route.get("GatewayId", "")).startswith("igw-"):
                return "internet gateway" if source.public else None
            nat = route.get("NatGatewayId")
            # A NAT gateway works only where it has a way out itself.
            if nat in self.nat_subnets and self._routes_to_gateway(self.nat_subnets[nat]):
                return "NAT gateway"
        return None

    def _routes_to_gateway(self, subnet: str) -> bool:
        return any(
            str(route.get("GatewayId", "")).startswith("igw-")
            for route in self.routes.get(self.tables[subnet], [])
            if route.get("DestinationCidrBlock") == str(INTERNET)
        )

    def _cidr(self, subnet: str) -> Network:
        return ipaddress.IPv4Network(self.subnets[subnet]["CidrBlock"])

    def _rule(
        self,
        groups: Iterable[str],
        direction: str,
        port: int,
        peer: Network,
        peer_groups: Iterable[str],
        lists: Iterable[str] = (),
    ) -> Reach:
        """Say whether rules of the groups admit a peer, all or a part of its addresses."""
        found = {
            _peer(rule, peer, set(peer_groups), set(lists))
            for group in groups
            for rule in self.groups[group][direction]
            if _port(rule, port)
        }
        return "yes" if "yes" in found else "partly" if "partly" in found else "no"

    def _acl(self, subnet: str, peer: Network, port: int, *, egress: bool) -> bool:
        entries = self.acls.get(subnet)
        if entries is None:
            return True
        for entry in sorted(entries, key=lambda entry: int(entry["RuleNumber"])):
            if entry["Egress"] is not egress or "CidrBlock" not in entry:
                continue
            ports = entry.get("PortRange")
            if str(entry["Protocol"]) not in ("-1", "6", "tcp"):
                continue
            if ports and ports.get("From") is not None and not ports["From"] <= port <= ports["To"]:
                continue
            if ipaddress.IPv4Network(entry["CidrBlock"]).overlaps(peer):
                return bool(entry["RuleAction"] == "allow")
        return False


def _all(client: Any, call: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
    return [item for page in client.get_paginator(call).paginate(**arguments) for item in page[key]]


def _service_name(endpoint_service: str) -> str:
    # com.amazonaws.us-east-1.ecr.api, cn.com.amazonaws.cn-north-1.ecr.api
    after = endpoint_service.partition("com.amazonaws.")[2]
    return after.partition(".")[2]


def _port(rule: dict[str, Any], port: int) -> bool:
    if str(rule["IpProtocol"]) == "-1":
        return True
    if str(rule["IpProtocol"]) not in ("tcp", "6"):
        return False
    low, high = int(rule.get("FromPort", 0)), int(rule.get("ToPort", 65535))
    return low <= port <= high


def _peer(rule: dict[str, Any], peer: Network, groups: set[str], lists: set[str]) -> Reach:
    if any(pair["GroupId"] in groups for pair in rule.get("UserIdGroupPairs", [])):
        return "yes"
    if any(entry["PrefixListId"] in lists for entry in rule.get("PrefixListIds", [])):
        return "yes"
    ranges = [ipaddress.IPv4Network(r["CidrIp"], strict=False) for r in rule.get("IpRanges", [])]
    if any(r.supernet_of(peer) for r in ranges):
        return "yes"
    if peer == INTERNET:
        return "partly" if any(not r.is_private for r in ranges) else "no"
    return "partly" if any(r.overlaps(peer) for r in ranges) else "no"
