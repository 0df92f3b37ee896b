"""The outbox: events that are no graph rows, kept so that a node that was away can still read them (spec
"Durable substrate")."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.graph.database import Database

__all__ = ["Outbox"]

_APPEND = """
INSERT INTO event_outbox (event_id, topic, kind, payload, origin_node, actor, cause)
VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s)
ON CONFLICT (event_id) DO NOTHING
"""

_PRUNE = "DELETE FROM event_outbox WHERE created_at < clock_timestamp() - %s OR expires_at < clock_timestamp()"


class Outbox:
    """Writes events of one node.

    :param node: the id of this node, recorded as the origin.
    """

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self._node = node

    async def append(self, event: Event, connection: AsyncConnection[Any] | None = None) -> None:
        """Keep an event, in the caller's transaction if a connection is given; one already kept stays as it
        is.

        :raises MemqlError: ``INVALID_ARGUMENT`` when the payload has no JSON form, ``UNAVAILABLE`` when the
            database cannot be reached.
        """
        params = (event.id, event.topic, event.kind, _json(event), self._node, event.actor, event.cause)
        if connection is None:
            await self._database.execute(_APPEND, params)
        else:
            await connection.execute(_APPEND, params)

    async def prune(self, retention: float) -> int:
        """Drop what is older than ``retention`` seconds or has expired; gives how many went."""
        return await self._database.execute(_PRUNE, (timedelta(seconds=retention),))


def _json(event: Event) -> str:
    try:
        return msgspec.json.encode(event.payload).decode()
    except (TypeError, ValueError) as error:
        raise MemqlError(
            Code.INVALID_ARGUMENT, f"the payload of event {event.topic} has no JSON form: {error}"
        ) from error
