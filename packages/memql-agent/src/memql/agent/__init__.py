"""The agent role: task execution, model calls and tools."""

from __future__ import annotations

from typing import ClassVar

from memql.mesh import MeshRole

__all__ = ["AgentRole"]


class AgentRole(MeshRole):
    """The node type ``agent``."""

    name: ClassVar[str] = "agent"
    port: ClassVar[int] = 50055
