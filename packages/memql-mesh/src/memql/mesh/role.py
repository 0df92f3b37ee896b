"""What the roles of the mesh have in common."""

from __future__ import annotations

from typing import ClassVar

from memql.node.roles import Role

__all__ = ["MeshRole"]


class MeshRole(Role):
    """A role whose nodes join the mesh as workers: every one but identity, which issues the tokens they join with."""

    mesh_worker: ClassVar[bool] = True
