"""The bff role: the mesh's hub and what browsers talk to."""

from __future__ import annotations

from typing import ClassVar

from memql.mesh import MeshRole

__all__ = ["BffRole"]


class BffRole(MeshRole):
    """The node type ``bff``."""

    name: ClassVar[str] = "bff"
    port: ClassVar[int] = 50058
