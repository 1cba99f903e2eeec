"""How the service is."""

import asyncio

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel

from app.parts import NotReady, Part

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

    async def ask(part: Part) -> tuple[bool, str]:
        try:
            return True, await part.ready()
        except NotReady as reason:
            return False, str(reason)

    answers = await asyncio.gather(*(ask(part) for part in parts))
    components = {part.name: words for part, (_ok, words) in zip(parts, answers, strict=True)}
    if not all(ok for ok, _words in answers):
        reasons = "; ".join(f"{name}: {words}" for name, words in components.items())
        raise HTTPException(503, f"Not ready. {reasons}", {"Retry-After": "5"})
    return Readiness(components=components)
