"""What a node can do without a vendor, put together: embeddings, recall, the chat that quotes, suggestions."""

from __future__ import annotations

from memql.agent.extractive import LocalExtractive
from memql.agent.local_embedding import LocalEmbedding
from memql.agent.recall import Recall
from memql.agent.suggestions import Suggestions
from memql.errors import Code, MemqlError
from memql.server.ports import Services

__all__ = ["equip"]


def equip(services: Services) -> Suggestions:
    """Register the offline providers and the suggestion domains with the node's models.

    :raises MemqlError: ``FAILED_PRECONDITION`` on a node without an engine's parts.
    """
    models, readable, database, tools = services.models, services.readable, services.database, services.tools
    if models is None or readable is None or database is None or tools is None:
        raise MemqlError(Code.FAILED_PRECONDITION, "the agent role needs a node with an engine and a database")

    embedding = LocalEmbedding()
    recall = Recall(lambda: services.engine.catalog, readable, database, embedding)
    models.register_embedding("LocalEmbedding", embedding)
    models.register_chat("LocalExtractive", LocalExtractive(lambda: services.engine.catalog, tools, recall))
    suggestions = Suggestions(models, embedding)
    suggestions.register()
    return suggestions
