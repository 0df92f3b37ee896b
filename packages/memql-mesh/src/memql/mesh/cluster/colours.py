"""One colour for each node, the same in every command and every day: a hue for its role, a shade for its number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from zlib import crc32

from memql.mesh.cluster.place import SUPERVISOR

__all__ = ["colour_of"]

_HUES: Final[Mapping[str, tuple[int, ...]]] = {
    "bff": (39, 75, 111, 33),
    "identity": (170, 176, 206, 133),
    "cognition": (78, 114, 40, 71),
    "agent": (214, 221, 208, 178),
    "planner": (105, 147, 99, 63),
    "voice": (203, 210, 167, 174),
    "workbench": (44, 80, 37, 116),
}
_OTHERS: Final = tuple(_HUES.values())
_GREY: Final = 245


def colour_of(node_id: str) -> str:
    """The name of a node's colour, as ``rich`` takes it."""
    if node_id == SUPERVISOR:
        return f"color({_GREY})"
    role, _, number = node_id.rpartition("-")
    shades = _HUES.get(role) or _OTHERS[crc32(role.encode()) % len(_OTHERS)]
    nth = int(number) if number.isdigit() else 1
    return f"color({shades[(nth - 1) % len(shades)]})"
