"""The mesh: what makes nodes of several roles one system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memql.mesh.role import MeshRole

__all__ = ["MeshRole"]


def __getattr__(name: str) -> Any:
    """Import what a node needs when a node asks for it: the commands of this wheel stand below this package and start
    without."""
    if name == "MeshRole":
        from memql.mesh.role import MeshRole

        return MeshRole
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
