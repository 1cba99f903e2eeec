"""Which features a user has."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.appconfig import feature_flags

router = APIRouter(tags=["features"])
parts = (feature_flags,)


class Features(BaseModel):
    """Every declared feature, and whether the user has it."""

    features: dict[str, bool]


@router.get("/features")
async def features(user: Annotated[str | None, Query(min_length=1, max_length=200)] = None) -> Features:
    """Tell which features a user has; without a user, what everybody has."""
    flags = feature_flags.flags
    return Features(features={name: flags.enabled(name, user) for name in flags.names})
