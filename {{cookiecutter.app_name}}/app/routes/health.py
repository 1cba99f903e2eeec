"""How the service is."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.parts import Part

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process is alive."""

    status: str = "ok"


class Readiness(BaseModel):
    """How each part is, in words."""

    status: str = "ready"
    components: dict[str, str]


@router.get("/health")
async def health() -> Health:
    """Tell the load balancer and the container's health check that the process is alive; touches nothing else."""
    return Health()


@router.get("/ready")
async def ready(request: Request) -> Readiness:
    """Tell how each part is, by asking what it needs: 503 when one can not work."""
    parts: list[Part] = request.app.state.parts
    return Readiness(components={part.name: await part.ready() for part in parts})
