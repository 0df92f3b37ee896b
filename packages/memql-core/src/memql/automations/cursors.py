"""The replay cursors that all processes of a cluster share: everything up to there is decided."""

from __future__ import annotations

from memql.events.horizon import Beginning, Horizon
from memql.graph.database import Database

__all__ = ["Cursors"]

_CREATE = """
INSERT INTO mesh_cursors (consumer_id, source, position, begun, begun_upto)
SELECT %s, %s, %s, pg_current_snapshot(), CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}
ON CONFLICT (consumer_id, source) DO UPDATE SET position = mesh_cursors.position
RETURNING position, begun::text, begun_upto
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

    async def create(self, source: str, horizon: Horizon) -> tuple[int, Beginning | None]:
        """The cursor's position, and when the cursor was made; a new one is made now.

        The position of a new cursor is settled; past it stands what had committed already. None in place of the
        beginning means that nothing past the position is to be left out.
        """
        # A statement sees the sequence as it is after its snapshot was taken: at or past all that the snapshot shows.
        statement = _CREATE.format(sequence=horizon.sequence)
        row = await self._database.fetch_one(statement, (self._consumer, source, await horizon.settled()))
        assert row is not None
        position, snapshot, upto = row
        return int(position), None if snapshot is None else Beginning(snapshot, int(upto))

    async def load(self, source: str) -> int:
        """The position now; 0 when there is no such cursor."""
        row = await self._database.fetch_one(_LOAD, (self._consumer, source))
        return 0 if row is None else int(row[0])

    async def advance(self, source: str, position: int) -> int:
        """Move on, and give where the cursor is then: another process may be further."""
        row = await self._database.fetch_one(_ADVANCE, (position, self._consumer, source))
        return position if row is None else int(row[0])
