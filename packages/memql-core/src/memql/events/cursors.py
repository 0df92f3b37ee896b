"""Cursors over the log and the outbox (spec "Durable substrate"): of a role, how far all its processes together have
decided; of a single node, how far it has published.

``caught_up_at`` is an instant of the database's clock: whatever was drawn by then is decided and will not be read
again, so that claims which ended before are not needed any more. A cursor that nobody has moved for too long lapses; it
must not keep claims for ever. Its role begins anew when it returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from memql.events.event import Event
from memql.events.horizon import Beginning, Horizon
from memql.graph.database import Database

__all__ = ["Begun", "Cursors", "Laggard", "Looked"]

_ROLES = "starts_with(consumer_id, 'role:') AND source IN ('log', 'outbox') AND lapsed_at IS NULL"

_LAPSED = """
SELECT lapsed_at IS NOT NULL, extract(epoch FROM clock_timestamp() - updated_at)::float
FROM mesh_cursors WHERE consumer_id = %s AND source = %s FOR UPDATE
"""

# now() is when the transaction began, before any snapshot of it was taken.
_CREATE = """
INSERT INTO mesh_cursors AS known (consumer_id, source, position, begun, begun_upto, caught_up_at)
SELECT %s, %s, %s, pg_current_snapshot(), CASE WHEN is_called THEN last_value ELSE 0 END, now() FROM {sequence}
ON CONFLICT (consumer_id, source) DO UPDATE
SET updated_at = clock_timestamp(), lapsed_at = NULL,
    position = CASE WHEN known.lapsed_at IS NULL THEN known.position
                    ELSE greatest(known.position, EXCLUDED.position) END,
    begun = CASE WHEN known.lapsed_at IS NULL THEN known.begun ELSE EXCLUDED.begun END,
    begun_upto = CASE WHEN known.lapsed_at IS NULL THEN known.begun_upto ELSE EXCLUDED.begun_upto END,
    caught_up_at = CASE WHEN known.lapsed_at IS NULL THEN known.caught_up_at ELSE EXCLUDED.caught_up_at END
RETURNING position, begun::text, begun_upto
"""

_ADVANCE = """
UPDATE mesh_cursors
SET position = greatest(position, %s), caught_up_at = greatest(caught_up_at, %s), updated_at = clock_timestamp()
WHERE consumer_id = %s AND source = %s AND lapsed_at IS NULL RETURNING position
"""

_LOOK = """
SELECT clock_timestamp(), (SELECT position FROM mesh_cursors
                           WHERE consumer_id = %s AND source = %s AND lapsed_at IS NULL)
"""

# What had committed when the cursor began is not for its role, though the position may be below it.
_PASSED = """
SELECT reader.lapsed_at IS NOT NULL OR EXISTS (
    SELECT FROM {events} AS event WHERE event.{identity} = %s AND (
        event.seq <= reader.position
        OR event.seq <= reader.begun_upto AND pg_visible_in_snapshot(event.xid, reader.begun)
    )
) FROM mesh_cursors AS reader WHERE reader.consumer_id = %s AND reader.source = %s
"""
_PASSED_LOG = _PASSED.format(events="memory_nodes", identity="seq")
_PASSED_OUTBOX = _PASSED.format(events="event_outbox", identity="event_id")

_LAGGARDS = f"""
SELECT consumer_id, source, extract(epoch FROM clock_timestamp() - caught_up_at)::float FROM mesh_cursors
WHERE {_ROLES} AND coalesce(caught_up_at, '-infinity') < clock_timestamp() - %s ORDER BY consumer_id, source
"""

_UNUSED = f"""
SELECT consumer_id, source, updated_at FROM mesh_cursors
WHERE {_ROLES} AND consumer_id <> %s AND updated_at < clock_timestamp() - %s
"""

_FORGET = """
DELETE FROM mesh_cursors WHERE NOT starts_with(consumer_id, 'role:') AND source IN ('log', 'outbox')
AND updated_at < clock_timestamp() - %s
"""

_LAPSE = """
UPDATE mesh_cursors AS known SET lapsed_at = clock_timestamp()
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) AS unused (consumer, origin, since)
WHERE known.consumer_id = unused.consumer AND known.source = unused.origin AND known.updated_at = unused.since
  AND known.lapsed_at IS NULL
RETURNING known.consumer_id, known.source
"""


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a reader begins. ``since`` leaves out what had happened when the cursor was made; None for nothing.
    ``gap`` tells that the cursor had lapsed: events may have passed that the role never saw. ``age`` is for
    how many seconds the cursor was not written, 0 for a new one."""

    position: int
    since: Beginning | None
    gap: bool
    age: float


class Looked(NamedTuple):
    """A look at a cursor: the database's clock, and the position; None when the cursor has lapsed or is gone."""

    at: datetime
    position: int | None


class Laggard(NamedTuple):
    """A role that has not caught up; ``behind`` is seconds, None when it never said."""

    role: str
    source: str
    behind: float | None


class Cursors:
    """The cursors of one role or node, one per source (``log``, ``outbox``). They never move back.

    :param consumer: ``role:<node type>``, or a node's id.
    """

    def __init__(self, database: Database, consumer: str) -> None:
        self._database = database
        self._consumer = consumer
        self._unused: dict[tuple[str, str], datetime] = {}

    async def begin(self, source: str, horizon: Horizon) -> Begun:
        """Find the cursor; a new one, or one that had lapsed, begins now.

        The position of a new cursor is settled; past it stands what had committed already.
        """
        settled = await horizon.settled()

        async def work(connection: AsyncConnection[Any]) -> Begun:
            cursor = await connection.execute(_LAPSED, (self._consumer, source))
            lapsed, age = await cursor.fetchone() or (False, 0.0)
            # A statement sees the sequence as it is after its snapshot was taken: at or past all that the snapshot
            # shows.
            statement = _CREATE.format(sequence=horizon.sequence)
            cursor = await connection.execute(statement.encode(), (self._consumer, source, settled))
            row = await cursor.fetchone()
            assert row is not None
            position, snapshot, upto = row
            since = None if snapshot is None else Beginning(snapshot, int(upto))
            return Begun(int(position), since, lapsed, age)

        return await self._database.transaction(work)

    async def look(self, source: str) -> Looked:
        """Where the cursor is now, and what the database's clock says."""
        row = await self._database.fetch_one(_LOOK, (self._consumer, source))
        assert row is not None
        return Looked(*row)

    async def advance(self, source: str, position: int, caught_up_at: datetime | None) -> int:
        """Move on, and give where the cursor is then: another process may be further.

        :param caught_up_at: whatever was drawn by then is not past ``position``.
        """
        row = await self._database.fetch_one(_ADVANCE, (position, caught_up_at, self._consumer, source))
        return position if row is None else int(row[0])

    async def passed(self, event: Event) -> bool:
        """Whether the cursor is past an event, so that some process of this role has decided about it; also when the
        cursor has lapsed or is gone, because then the role begins anew."""
        if event.log_seq is not None:
            row = await self._database.fetch_one(_PASSED_LOG, (event.log_seq, self._consumer, "log"))
        else:
            row = await self._database.fetch_one(_PASSED_OUTBOX, (event.id, self._consumer, "outbox"))
        return row is None or bool(row[0])

    async def laggards(self, age: float) -> list[Laggard]:
        """The roles that have not decided what was drawn ``age`` seconds ago."""
        return [Laggard(*row) for row in await self._database.fetch(_LAGGARDS, (timedelta(seconds=age),))]

    async def forget(self, age: float) -> int:
        """Drop the cursors of single nodes that were not written for ``age`` seconds; gives how many went."""
        return await self._database.execute(_FORGET, (timedelta(seconds=age),))

    async def lapse(self, age: float) -> list[tuple[str, str]]:
        """Let the cursors of other roles lapse that were found unused for ``age`` seconds twice in a row.

        Twice, because after everything was asleep for long all cursors are old, until their roles have woken up too.
        """
        suspects = self._unused
        rows = await self._database.fetch(_UNUSED, (self._consumer, timedelta(seconds=age)))
        self._unused = {(consumer, source): updated_at for consumer, source, updated_at in rows}
        lapsing = [(*key, at) for key, at in self._unused.items() if suspects.get(key) == at]
        if not lapsing:
            return []
        columns = [list(column) for column in zip(*lapsing, strict=True)]
        return [(role, source) for role, source in await self._database.fetch(_LAPSE, columns)]
