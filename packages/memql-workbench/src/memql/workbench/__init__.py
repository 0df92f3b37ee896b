"""The workbench role: the sandbox of a plan."""

from __future__ import annotations

from typing import ClassVar

from memql.mesh import MeshRole

__all__ = ["WorkbenchRole"]


class WorkbenchRole(MeshRole):
    """The node type ``workbench``."""

    name: ClassVar[str] = "workbench"
    port: ClassVar[int] = 50060
