"""The voice role: the voice path."""

from __future__ import annotations

from typing import ClassVar

from memql.mesh import MeshRole

__all__ = ["VoiceRole"]


class VoiceRole(MeshRole):
    """The node type ``voice``."""

    name: ClassVar[str] = "voice"
    port: ClassVar[int] = 50059
