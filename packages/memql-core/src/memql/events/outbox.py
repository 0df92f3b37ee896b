"""The outbox: events that are no graph rows, kept so that a node that was away can still read them (spec
"Durable substrate")."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from memql.errors import Code, MemqlError
from memql.events.event import Event, to_micros
from memql.events.horizon import Beginning, Horizon
from memql.graph.database import Database

__all__ = ["Outbox"]

_APPEND = """
INSERT INTO event_outbox (event_id, topic, kind, payload, origin_node, actor, cause)
VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s)
ON CONFLICT (event_id) DO NOTHING
"""

_PRUNE = "DELETE FROM event_outbox WHERE created_at < clock_timestamp() - %s OR expires_at < clock_timestamp()"


_READ = """
SELECT seq, event_id, topic, kind, payload::text, created_at, actor, cause FROM event_outbox
WHERE seq > %s AND seq <= %s AND routing_key IS NULL"""
_SINCE = " AND NOT (seq <= %s AND pg_visible_in_snapshot(xid, %s::pg_snapshot))"
_IN_ORDER = " ORDER BY seq LIMIT %s"


class Outbox:
    """The outbox as one node writes and reads it.

    :param node: the id of this node, recorded as the origin.
    """

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self._node = node
        self.horizon = Horizon(database, "event_outbox_seq_seq")

    async def append(self, event: Event, connection: AsyncConnection[Any] | None = None) -> None:
        """Keep an event, in the caller's transaction if a connection is given; one already kept stays as it
        is.

        :raises MemqlError: ``INVALID_ARGUMENT`` when the payload has no JSON form, ``UNAVAILABLE`` when the
            database cannot be reached.
        """
        event.kept = True
        params = (event.id, event.topic, event.kind, _json(event), self._node, event.actor, event.cause)
        if connection is None:
            await self._database.execute(_APPEND, params)
        else:
            await connection.execute(_APPEND, params)

    async def settled(self) -> int:
        """The highest position up to which nothing can commit any more."""
        return await self.horizon.settled()

    async def read(
        self, after: int, upto: int, limit: int, *, since: Beginning | None = None
    ) -> Sequence[tuple[int, Event]]:
        """At most ``limit`` kept events with ``after < position <= upto``, in order, each with its position.

        Deliverables for one receiver (rows with a routing key) are not among them.

        :param since: only events that had not committed when the reader began.
        """
        if since is None:
            rows = await self._database.fetch(_READ + _IN_ORDER, (after, upto, limit))
        else:
            params = (after, upto, since.upto, since.snapshot, limit)
            rows = await self._database.fetch(_READ + _SINCE + _IN_ORDER, params)
        return [(row[0], _event(row)) for row in rows]

    async def prune(self, retention: float) -> int:
        """Drop what is older than ``retention`` seconds or has expired; gives how many went."""
        return await self._database.execute(_PRUNE, (timedelta(seconds=retention),))


def _event(row: Sequence[Any]) -> Event:
    _, event_id, topic, kind, payload, created_at, actor, cause = row
    return Event(
        id=event_id,
        topic=topic,
        kind=kind,
        body=payload.encode(),
        micros=to_micros(created_at),
        actor=actor,
        cause=cause,
    )


def _json(event: Event) -> str:
    try:
        return event.json.decode()
    except (TypeError, ValueError) as error:
        raise MemqlError(
            Code.INVALID_ARGUMENT, f"the payload of event {event.topic} has no JSON form: {error}"
        ) from error
