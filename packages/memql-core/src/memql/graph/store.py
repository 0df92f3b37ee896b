"""The two pairs of tables rows live in."""

from __future__ import annotations

from enum import Enum
from typing import LiteralString

__all__ = ["Store"]


class Store(Enum):
    """Ordinary rows, or those of ``@secretStore`` concepts. Both draw their numbers from one sequence."""

    MEMORY = "memory"
    SECRET = "secret"  # noqa: S105 - the name of a store

    @property
    def log(self) -> LiteralString:
        """The table with one row per version."""
        return "memory_nodes" if self is Store.MEMORY else "secret_memory_nodes"

    @property
    def heads(self) -> LiteralString:
        """The table with the latest version of every id."""
        return "memory_heads" if self is Store.MEMORY else "secret_memory_heads"
