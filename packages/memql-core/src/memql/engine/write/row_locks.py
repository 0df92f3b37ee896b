"""Turns within this process for rows that several tasks change at once.

The database decides between processes; this only keeps the tasks of one process from queueing for a row while each
holds a pooled connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

__all__ = ["RowLocks"]


@dataclass(slots=True)
class _Turn:
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    users: int = 0


class RowLocks:
    """A lock per contended row id, kept only while somebody uses it."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def hold(self, node_id: str) -> AsyncIterator[None]:
        """Wait for the row's turn and keep it for the block; first come, first served."""
        turn = self._turns.setdefault(node_id, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[node_id]

    def __len__(self) -> int:
        return len(self._turns)
