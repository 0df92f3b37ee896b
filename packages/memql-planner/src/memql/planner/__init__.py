"""The planner role: plans."""

from __future__ import annotations

from typing import ClassVar

from memql.mesh import MeshRole

__all__ = ["PlannerRole"]


class PlannerRole(MeshRole):
    """The node type ``planner``."""

    name: ClassVar[str] = "planner"
    port: ClassVar[int] = 50056
