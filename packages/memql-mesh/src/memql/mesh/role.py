"""What the roles of the mesh have in common."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar

from memql.node.roles import Companion, Role

if TYPE_CHECKING:
    from memql.mesh.routing import Rule
    from memql.node.node import Node
    from memql.server.ports import Services

__all__ = ["MeshRole"]


class MeshRole(Role):
    """A role whose nodes join the mesh as workers: every one but identity, which issues the credentials they join with.

    Override :meth:`capabilities` and :meth:`routing_rules` to add to what the mesh knows of such nodes.
    """

    mesh_worker: ClassVar[bool] = True

    def capabilities(self, services: Services) -> Iterable[str]:
        """What its nodes can do for others, by name; told to every peer."""
        return ()

    def routing_rules(self) -> Iterable[Rule]:
        """Events that leave its nodes beside those of the core's rules."""
        return ()

    def companion(self, node: Node) -> AbstractAsyncContextManager[Companion] | None:
        """The mesh, for as long as the node lives."""
        from memql.mesh.mesh import open_mesh

        return open_mesh(node, self)
