"""Who reaches what in small networks, each with one thing that decides it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ops.rehearsal.reachability import Place, Vpc

ANY = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def tcp(port: int, *cidrs: str, groups: tuple[str, ...] = (), lists: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "IpProtocol": "tcp",
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": cidr} for cidr in cidrs],
        "UserIdGroupPairs": [{"GroupId": group} for group in groups],
        "PrefixListIds": [{"PrefixListId": name} for name in lists],
    }


def network() -> Vpc:
    """A client and a server in subnets of their own, with a route out for the client's."""
    vpc = Vpc("vpc-1", "us-east-1")
    vpc.subnets = {"a": {"CidrBlock": "10.0.0.0/24"}, "b": {"CidrBlock": "10.0.1.0/24"}}
    vpc.groups = {
        "client": {"IpPermissions": [], "IpPermissionsEgress": [ANY]},
        "server": {"IpPermissions": [tcp(5432, groups=("client",))], "IpPermissionsEgress": []},
    }
    vpc.tables = {"a": "open", "b": "closed"}
    vpc.routes = {
        "open": [{"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}],
        "closed": [],
    }
    return vpc


CLIENT, SERVER = Place("client", ("a",), ("client",)), Place("server", ("b",), ("server",))


def test_both_groups_have_to_admit_it() -> None:
    vpc = network()
    assert vpc.between(CLIENT, SERVER, 5432).reach == "yes"
    assert vpc.between(CLIENT, SERVER, 5433).reach == "no"
    assert vpc.between(SERVER, CLIENT, 5432).reach == "no"
    vpc.groups["client"]["IpPermissionsEgress"] = [tcp(5432, groups=("server",))]
    assert vpc.between(CLIENT, SERVER, 5432).reach == "yes"
    vpc.groups["client"]["IpPermissionsEgress"] = [tcp(443, "0.0.0.0/0")]
    assert "lets port 5432 out" in vpc.between(CLIENT, SERVER, 5432).because


@pytest.mark.parametrize(
    ("cidr", "reach"),
    [
        ("10.0.0.0/16", "yes"),
        ("10.0.0.0/25", "partly"),
        ("10.0.9.0/24", "no"),
        ("0.0.0.0/0", "yes"),
    ],
)
def test_a_range_admits_all_a_part_or_nothing(cidr: str, reach: str) -> None:
    vpc = network()
    vpc.groups["server"]["IpPermissions"] = [tcp(5432, cidr)]
    assert vpc.between(CLIENT, SERVER, 5432).reach == reach


def test_routes_lead_beyond_the_vpc_or_not() -> None:
    vpc = network()
    vpc.routes["closed"] = [
        {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"},
        {"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-1"},
    ]
    assert vpc.beyond("a") == ["igw-1"]
    assert vpc.beyond("b") == []
    vpc.routes["closed"].append({"DestinationCidrBlock": "192.168.0.0/16", "VpcPeeringConnectionId": "pcx-1"})
    assert vpc.beyond("b") == ["pcx-1"]


def test_a_network_acl_blocks_what_groups_admit() -> None:
    vpc = network()
    everything = {
        "RuleNumber": 100,
        "Protocol": "-1",
        "CidrBlock": "0.0.0.0/0",
        "RuleAction": "allow",
    }
    vpc.acls["b"] = [everything | {"Egress": True}, everything | {"Egress": False}]
    assert vpc.between(CLIENT, SERVER, 5432).reach == "yes"
    denied = {"PortRange": {"From": 5432, "To": 5432}, "Protocol": "6", "RuleAction": "deny"}
    vpc.acls["b"].append(everything | denied | {"RuleNumber": 50, "Egress": False})
    assert "network ACL" in vpc.between(CLIENT, SERVER, 5432).because


def test_the_internet_needs_an_address_a_route_and_a_rule() -> None:
    vpc = network()
    public = Place("web", ("a",), ("client",), public=True)
    assert vpc.from_internet(public, 443).reach == "no"
    vpc.groups["client"]["IpPermissions"] = [tcp(443, "0.0.0.0/0")]
    assert vpc.from_internet(public, 443).reach == "yes"
    assert "no public address" in vpc.from_internet(CLIENT, 443).because
    assert "no internet gateway" in vpc.from_internet(Place("web", ("b",), ("client",), public=True), 443).because
    vpc.groups["client"]["IpPermissions"] = [tcp(443, "203.0.113.0/24"), tcp(443, "8.8.8.0/24")]
    assert vpc.from_internet(public, 443).reach != "no"


def test_addresses_of_the_internet_are_admitted_all_or_not() -> None:
    vpc = network()
    public = Place("web", ("a",), ("client",), public=True)
    vpc.groups["client"]["IpPermissions"] = [tcp(443, "203.0.113.0/24"), tcp(80, "0.0.0.0/0", groups=("server",))]
    for cidr, reach in {
        "203.0.113.0/24": "yes",
        "203.0.113.7/32": "yes",
        "203.0.112.0/23": "no",
        "8.8.8.8/32": "no",
    }.items():
        assert vpc.from_internet(public, 443, ipaddress.IPv4Network(cidr)).reach == reach
    assert vpc.admitted(public, 443) == {"203.0.113.0/24"}
    assert vpc.admitted(public, 80) == {"0.0.0.0/0", "server"}


def test_the_way_out_is_a_public_address_or_a_nat_gateway_that_has_one() -> None:
    vpc = network()
    assert vpc.to_internet(CLIENT).reach == "no"  # an internet gateway without a public address
    assert vpc.to_internet(Place("web", ("a",), ("client",), public=True)).reach == "yes"
    inside = Place("inside", ("b",), ("client",))
    vpc.routes["closed"] = [{"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}]
    assert vpc.to_internet(inside).reach == "no"
    vpc.nat_subnets = {"nat-1": "a"}
    assert vpc.to_internet(inside).reach == "yes"
    vpc.groups["client"]["IpPermissionsEgress"] = [tcp(5432, "0.0.0.0/0")]
    assert vpc.to_internet(inside).reach == "no"


def test_a_service_is_reached_by_its_endpoint_or_not_at_all() -> None:
    vpc = network()
    assert "no endpoint for logs" in vpc.to_service(CLIENT, "logs").because
    vpc.endpoints = [
        {
            "VpcEndpointId": "vpce-1",
            "VpcEndpointType": "Interface",
            "ServiceName": "com.amazonaws.us-east-1.logs",
            "SubnetIds": ["b"],
            "Groups": [{"GroupId": "server"}],
            "PrivateDnsEnabled": True,
        }
    ]
    assert vpc.to_service(CLIENT, "logs").reach == "no"  # its group admits 5432 only
    vpc.groups["server"]["IpPermissions"] = [tcp(443, groups=("client",))]
    assert vpc.to_service(CLIENT, "logs").reach == "yes"
    assert vpc.services() == ["logs"]
    vpc.endpoints[0]["PrivateDnsEnabled"] = False
    assert vpc.to_service(CLIENT, "logs").reach == "no"


def test_a_gateway_endpoint_needs_its_route_and_a_rule_for_its_prefix_list() -> None:
    vpc = network()
    vpc.endpoints = [
        {
            "VpcEndpointId": "vpce-2",
            "VpcEndpointType": "Gateway",
            "ServiceName": "cn.com.amazonaws.cn-north-1.s3",
            "RouteTableIds": ["closed"],
        }
    ]
    vpc.routes["closed"] = [{"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-2"}]
    inside = Place("inside", ("b",), ("client",))
    vpc.groups["client"]["IpPermissionsEgress"] = [tcp(443, lists=("pl-1",))]
    assert vpc.to_service(inside, "s3").reach == "yes"
    assert vpc.to_service(CLIENT, "s3").reach == "no"  # its table has no route to it
    vpc.groups["client"]["IpPermissionsEgress"] = [tcp(443, lists=("pl-2",))]
    assert vpc.to_service(inside, "s3").reach == "no"
