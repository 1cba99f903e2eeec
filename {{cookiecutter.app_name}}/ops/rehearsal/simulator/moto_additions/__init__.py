"""Everything that moto 5.2.5 lacks for this platform, one module for each of its services.

Each addition names its gap (`gaps.gap`). The second half of each module's work is to behave as AWS does
where moto accepts what AWS refuses, so that a mistake shows in the rehearsal and not in the account.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World

MODULES = (
    "s3",
    "guardduty",
    "sts",
    "ec2",
    "backup",
    "rds",
    "awslambda",
    "elbv2",
    "sns",
    "sqs",
    "cloudwatch",
    "ecr",
    "ecs",
    "applicationautoscaling",
    "appconfig",
)


def install(world: "World") -> None:
    """Change moto's classes: call it before the server starts."""
    for name in MODULES:
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "install"):
            module.install(world)
