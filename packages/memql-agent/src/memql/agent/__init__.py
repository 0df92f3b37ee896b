"""The agent role: task execution, model calls and tools."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from memql.mesh import MeshRole

if TYPE_CHECKING:
    from memql.engine.ports import BuiltinExecutor
    from memql.server.ports import Services
    from memql.server.routing import Route

__all__ = ["AgentRole"]


class AgentRole(MeshRole):
    """The node type ``agent``."""

    name: ClassVar[str] = "agent"
    port: ClassVar[int] = 50055

    def executors(self, services: Services) -> Mapping[str, BuiltinExecutor]:
        """``embedText`` and ``similarTexts``. Registers the providers that need no vendor, too."""
        from memql.agent.offline import equip

        suggestions = equip(services)
        return {
            "integration.si.embedText": suggestions.embed_text,
            "integration.si.similarTexts": suggestions.similar_texts,
        }

    def payloads(self, services: Services) -> Iterable[Route]:
        """``si_chat`` and ``si_suggest``."""
        from memql.agent.handlers import ROUTES

        return ROUTES
