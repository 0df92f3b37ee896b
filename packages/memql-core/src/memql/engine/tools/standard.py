"""The executors that every node has, under ``core.``: pure host code that a tree may front with a builtin."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from memql.engine.context import RequestContext
from memql.engine.tools.builtins import Builtins

__all__ = ["STANDARD_EXECUTORS", "register_standard"]

_EARTH_RADIUS_KM = 6371.0088


async def geo_distance(args: Mapping[str, Any], ctx: RequestContext) -> dict[str, float]:
    """The great-circle distance between two places.

    Takes ``fromLatitude``, ``fromLongitude``, ``toLatitude``, ``toLongitude`` in degrees; gives ``kilometres`` and
    ``nauticalMiles``.
    """
    from_latitude, from_longitude, to_latitude, to_longitude = (
        math.radians(float(args[name])) for name in ("fromLatitude", "fromLongitude", "toLatitude", "toLongitude")
    )
    half_latitude = math.sin((to_latitude - from_latitude) / 2) ** 2
    half_longitude = math.sin((to_longitude - from_longitude) / 2) ** 2
    chord = half_latitude + math.cos(from_latitude) * math.cos(to_latitude) * half_longitude
    kilometres = 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))
    return {"kilometres": round(kilometres, 1), "nauticalMiles": round(kilometres / 1.852, 1)}


STANDARD_EXECUTORS = {"core.geo.distance": geo_distance}


def register_standard(builtins: Builtins) -> None:
    """Add the standard executors to a registry."""
    for name, executor in STANDARD_EXECUTORS.items():
        builtins.register(name, executor)
