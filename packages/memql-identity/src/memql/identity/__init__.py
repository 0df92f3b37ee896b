"""The identity role: who one is: it issues tokens and keys."""

from __future__ import annotations

from typing import ClassVar

from memql.node.roles import Role

__all__ = ["IdentityRole"]


class IdentityRole(Role):
    """The node type ``identity``."""

    name: ClassVar[str] = "identity"
    port: ClassVar[int] = 50061
    mesh_worker: ClassVar[bool] = False
