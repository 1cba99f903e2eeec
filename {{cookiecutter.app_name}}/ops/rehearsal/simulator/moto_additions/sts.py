"""STS: keys for who signs nothing, in the partition of this AWS."""

from typing import TYPE_CHECKING

from moto.sts.responses import TokenResponse

from ops.rehearsal.simulator.moto_additions.gaps import gap

if TYPE_CHECKING:
    from ops.rehearsal.simulator.world import World


@gap(
    "sts:AssumeRoleWithWebIdentity", "A call that is not signed names no region: its keys are of us-east-1's partition"
)
def install(world: "World") -> None:
    """Let a call without a region be one to this region's endpoint, as the SDK that made it meant."""
    TokenResponse.default_region = world.region
