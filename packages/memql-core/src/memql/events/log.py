"""The log as events: what a node reads that was away when they were published (spec "Durable substrate")."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from memql.events.event import Event
from memql.events.graph_events import graph_events
from memql.events.horizon import Beginning, Horizon
from memql.events.masking import Mask
from memql.graph.database import Database

__all__ = ["EventLog"]

_READ = """
SELECT n.seq, n.id, n.concept, n.type, n.created_by, n.created_at, n.payload::text, n.provenance::text,
       n.deleted, n.updated,
       CASE WHEN n.updated THEN (
           SELECT (before.payload -> 'status')::text FROM memory_nodes AS before
           WHERE before.id = n.id AND before.created_at < n.created_at ORDER BY before.created_at DESC LIMIT 1
       ) END
FROM memory_nodes AS n
WHERE n.seq > %s AND n.seq <= %s"""
_OF_CONCEPTS = " AND n.concept = ANY (%s)"
_SINCE = " AND NOT (n.seq <= %s AND pg_visible_in_snapshot(n.xid, %s::pg_snapshot))"
_IN_ORDER = " ORDER BY n.seq LIMIT %s"

_decode = msgspec.json.decode


class EventLog:
    """Graph events in log order; rows of secret concepts are never among them.

    :param mask: hides the values of ``@secret`` fields, as the writer of a row does before it publishes.
    """

    def __init__(self, database: Database, mask: Mask) -> None:
        self._database = database
        self._mask = mask
        self.horizon = Horizon(database, "memory_seq")

    async def settled(self) -> int:
        """The highest position up to which nothing can commit any more."""
        return await self.horizon.settled()

    async def visible_after(self, position: int) -> frozenset[int]:
        """Positions past ``position`` that are committed already."""
        rows = await self._database.fetch("SELECT seq FROM memory_nodes WHERE seq > %s", (position,))
        return frozenset(row[0] for row in rows)

    async def oldest(self) -> int:
        """The lowest position still held; 0 when the log is empty."""
        row = await self._database.fetch_one("SELECT min(seq) FROM memory_nodes")
        return 0 if row is None or row[0] is None else int(row[0])

    async def read(
        self,
        after: int,
        upto: int,
        limit: int,
        *,
        concepts: Collection[str] | None = None,
        since: Beginning | None = None,
    ) -> Sequence[Event]:
        """The events of at most ``limit`` versions with ``after < seq <= upto``, in order.

        :param upto: a settled position; past it a later read may find more.
        :param concepts: only versions of these concepts.
        :param since: only versions that had not committed when the reader began.
        """
        statement = _READ
        params: list[Any] = [after, upto]
        if concepts is not None:
            statement += _OF_CONCEPTS
            params.append(list(concepts))
        if since is not None:
            statement += _SINCE
            params += [since.upto, since.snapshot]
        rows = await self._database.fetch(statement + _IN_ORDER, (*params, limit))
        events: list[Event] = []
        for row in rows:
            events.extend(_events(row, self._mask))
        return events


def _events(row: Sequence[Any], mask: Mask) -> tuple[Event, ...]:
    seq, node_id, concept, node_type, actor, created_at, payload, provenance, deleted, updated, status = row
    return graph_events(
        seq=seq,
        id=node_id,
        concept=concept,
        node_type=node_type,
        actor=actor,
        created_at=_instant(created_at),
        timestamp=created_at,
        payload=mask(concept, _decode(payload)),
        deleted=deleted,
        updated=updated,
        old_status=None if status is None else _decode(status),
        cause=_cause(_decode(provenance)),
    )


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _cause(provenance: Mapping[str, Any]) -> str:
    """The automations that led to a row, outermost first: what its provenance keeps of them."""
    if provenance.get("kind") != "automation":
        return ""
    return ">".join(part for part in (provenance.get("via"), provenance.get("name")) if part)
