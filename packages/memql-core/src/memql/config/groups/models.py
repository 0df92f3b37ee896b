"""Settings of model calls (spec "SI layer")."""

from __future__ import annotations

from memql.config.groups.declaration import Group, setting

__all__ = ["ModelSettings"]


class ModelSettings(Group):
    """Which provider or routing policy answers when a call names none; a global variable of the same name wins."""

    default_chat_provider: str = setting(
        "MEMQL_DEFAULT_CHAT_PROVIDER",
        "MEMQL_DEFAULT_PROVIDER",
        default="",
        doc="provider or policy of chats that name none; the tree's @default, else the first with a key, unless set",
    )
    default_embedding_provider: str = setting(
        "MEMQL_DEFAULT_EMBEDDING_PROVIDER",
        default="",
        doc="the same for embeddings",
    )
