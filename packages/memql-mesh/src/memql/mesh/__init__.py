"""The mesh: what makes nodes of several roles one system."""

from __future__ import annotations

from memql.mesh.role import MeshRole

__all__ = ["MeshRole"]
