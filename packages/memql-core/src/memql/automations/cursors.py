"""The replay cursors that all processes of a cluster share: everything up to there is decided."""

from __future__ import annotations

from memql.graph.database import Database

__all__ = ["Cursors"]

_CREATE = """
INSERT INTO mesh_cursors (consumer_id, source, position) VALUES (%s, %s, %s)
ON CONFLICT (consumer_id, source) DO UPDATE SET position = mesh_cursors.position
RETURNING position
"""

_ADVANCE = """
UPDATE mesh_cursors SET position = greatest(position, %s), updated_at = clock_timestamp()
WHERE consumer_id = %s AND source = %s RETURNING position
"""

_LOAD = "SELECT position FROM mesh_cursors WHERE consumer_id = %s AND source = %s"


class Cursors:
    """The cursors of one consumer, one per source (``log``, ``outbox``). They never move back."""

    def __init__(self, database: Database, consumer: str) -> None:
        self._database = database
        self._consumer = consumer

    async def create(self, source: str, position: int) -> int:
        """The cursor's position; a new one begins at ``position``."""
        row = await self._database.fetch_one(_CREATE, (self._consumer, source, position))
        assert row is not None
        return int(row[0])

    async def load(self, source: str) -> int:
        """The position now; 0 when there is no such cursor."""
        row = await self._database.fetch_one(_LOAD, (self._consumer, source))
        return 0 if row is None else int(row[0])

    async def advance(self, source: str, position: int) -> int:
        """Move on, and give where the cursor is then: another process may be further."""
        row = await self._database.fetch_one(_ADVANCE, (position, self._consumer, source))
        return position if row is None else int(row[0])
