"""ECS: what moto drops of a service."""

from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.ecs.responses import EC2ContainerServiceResponse

from ops.rehearsal.simulator.moto_additions.gaps import gap, wraps

KEPT = (
    "deploymentConfiguration",
    "enableExecuteCommand",
    "enableECSManagedTags",
    "healthCheckGracePeriodSeconds",
    "availabilityZoneRebalancing",
    "capacityProviderStrategy",
)


@gap(
    "aws_ecs_service",
    "deployment configuration, exec, managed tags, grace period and zone rebalancing are dropped",
)
@wraps(EC2ContainerServiceResponse, "create_service")
def create_service(original: Any, response: EC2ContainerServiceResponse) -> ActionResult:
    answer: ActionResult = original(response)
    service = answer.result["service"]  # type: ignore[index]
    for name in KEPT:
        value = response._get_param(name)
        if value is not None:
            setattr(service, camelcase_to_underscores(name), value)
    return answer
