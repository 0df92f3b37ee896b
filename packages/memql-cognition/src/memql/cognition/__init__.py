"""The cognition role: routing of conversations."""

from __future__ import annotations

from typing import ClassVar

from memql.mesh import MeshRole

__all__ = ["CognitionRole"]


class CognitionRole(MeshRole):
    """The node type ``cognition``."""

    name: ClassVar[str] = "cognition"
    port: ClassVar[int] = 50054
