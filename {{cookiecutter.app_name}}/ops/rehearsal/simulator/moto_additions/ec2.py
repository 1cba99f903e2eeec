"""EC2: descriptions of security group rules, endpoint services by filter."""

import inspect
from typing import Any

from moto.ec2.models.security_groups import SecurityGroupRule
from moto.ec2.models.vpcs import VPCBackend

from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps


@gap(
    "aws_vpc_security_group_ingress_rule, aws_vpc_security_group_egress_rule",
    "the description is lost when the rule names a group or a prefix list",
)
@wraps(SecurityGroupRule, "__init__")
def remember_description(original: Any, rule: SecurityGroupRule, *args: Any, **kwargs: Any) -> None:
    original(rule, *args, **kwargs)
    bound = inspect.signature(original).bind(rule, *args, **kwargs)
    prefix_list = bound.arguments.get("prefix_list_id") or {}
    rule.__dict__["other_description"] = prefix_list.get("Description")


def _description(rule: SecurityGroupRule) -> str | None:
    return (
        rule.ip_range.get("Description") or rule.source_group.get("Description") or rule.__dict__["other_description"]
    )


SecurityGroupRule.description = property(_description)  # type: ignore[assignment]


@gap("aws_vpc_endpoint_service", "the values of a filter are looked for under `Value`")
@wraps(VPCBackend, "describe_vpc_endpoint_services")
def read_filters(original: Any, backend: VPCBackend, *, filters: Any, **kwargs: Any) -> Any:
    filters = [{**item, "Value": item.get("Values", [])} for item in filters]
    return original(backend, filters=filters, **kwargs)
