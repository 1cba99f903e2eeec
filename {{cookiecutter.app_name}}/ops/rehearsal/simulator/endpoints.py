"""VPC endpoints: which one carries a process's calls to a service, and what its policy is."""

from __future__ import annotations

from typing import Any

from moto.ec2.models import ec2_backends

from ops.rehearsal.iam.policy import Policy, read
from ops.rehearsal.simulator.identities import Place
from ops.rehearsal.simulator.requests import ApiRequest
from ops.rehearsal.simulator.state import MotoState

# The name that a request is signed for -> how its endpoint services end.
# https://docs.aws.amazon.com/vpc/latest/privatelink/aws-services-privatelink-support.html
_ENDPOINTS = {"ecr": ("ecr.api",), "appconfig": ("appconfigdata", "appconfig"), "tagging": ("tagging",)}


def endpoint_policy(state: MotoState, place: Place, request: ApiRequest) -> tuple[str, Policy] | None:
    """Return the endpoint through which a place's calls to a service go, with its policy; None for the internet."""
    names = _ENDPOINTS.get(request.service, (request.service,))
    if request.service == "appconfig":
        data = request.operation in ("StartConfigurationSession", "GetLatestConfiguration")
        names = ("appconfigdata",) if data else ("appconfig",)
    backend = ec2_backends[state.account][state.region]
    for endpoint in list(backend.vpc_end_points.values()):
        if endpoint.vpc_id != place.vpc_id or str(endpoint.state).lower() not in ("available", "pending"):
            continue
        if endpoint.service_name.partition("com.amazonaws.")[2].partition(".")[2] not in names:
            continue
        if endpoint.vpc_endpoint_type == "Gateway" and not _routed(backend, place, endpoint.route_table_ids or []):
            continue
        if endpoint.vpc_endpoint_type == "Interface" and not endpoint.private_dns_enabled:
            continue
        return endpoint.id, read(f"the policy of endpoint {endpoint.service_name}", str(endpoint.policy_document))
    return None


def _routed(backend: Any, place: Place, tables: list[str]) -> bool:
    """Tell whether one of the place's subnets has one of these route tables."""
    for table in list(backend.route_tables.values()):
        if table.id in tables and set(table._associations.values()) & set(place.subnets):
            return True
    return False
