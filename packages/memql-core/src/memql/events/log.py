"""The log as events: what a node reads that was away when they were published (spec "Durable substrate")."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from memql.events.event import Event, from_micros
from memql.events.graph_events import graph_event, graph_events
from memql.events.horizon import Beginning, Horizon
from memql.events.masking import SecretMask
from memql.graph.database import Database

__all__ = ["EventLog"]

# What an event says is put together from the texts that PostgreSQL has: most readers hand it on or pass over it unread.
_READ = """
SELECT n.seq, n.id, n.concept, n.type, n.created_by, memql_moment(n.created_at),
       round(date_part('epoch', n.created_at) * 1000000)::bigint, n.deleted, n.updated,
       CASE WHEN n.provenance ->> 'kind' = 'automation' THEN
           concat_ws('>', nullif(n.provenance ->> 'via', ''), nullif(n.provenance ->> 'name', ''))
       END,
       n.payload::text,
       n.payload ?| '{id,nodeId,concept,actor,nodeType,createdAt,payload,oldStatus}',
       CASE WHEN n.updated THEN (
           SELECT (before.payload -> 'status')::text FROM memory_nodes AS before
           WHERE before.id = n.id AND before.created_at < n.created_at ORDER BY before.created_at DESC LIMIT 1
       ) END
FROM memory_nodes AS n
WHERE n.seq > %s AND n.seq <= %s"""
_OF_CONCEPTS = " AND n.concept = ANY (%s)"
_SINCE = " AND NOT (n.seq <= %s AND pg_visible_in_snapshot(n.xid, %s::pg_snapshot))"
_IN_ORDER = " ORDER BY n.seq LIMIT %s"

_WINDOW = 4
"""How many times as many positions as versions are wanted one statement looks through, and then by how much more: while
PostgreSQL does not know how many there are it sorts all that it is shown."""

_SLICE = 16
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class EventLog:
    """Graph events in log order; rows of secret concepts are never among them.

    :param mask: hides the values of ``@secret`` fields, as the writer of a row does before it publishes; None for a log
        without any.
    """

    def __init__(self, database: Database, mask: SecretMask | None = None) -> None:
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
        params: list[Any] = []
        if concepts is not None:
            statement += _OF_CONCEPTS
            params.append(list(concepts))
        if since is not None:
            statement += _SINCE
            params += [since.upto, since.snapshot]
        events: list[Event] = []
        begin, window, left = after, _WINDOW * limit, limit
        while True:
            end = min(upto, begin + window)
            rows = await self._database.fetch(statement + _IN_ORDER, (begin, end, *params, left))
            for number, row in enumerate(rows, 1):
                events.extend(_events(_Row(*row), self._mask))
                if number % _SLICE == 0:
                    # Whoever reads much must not hold up what happens meanwhile.
                    await asyncio.sleep(0)
            left -= len(rows)
            if left <= 0 or end >= upto:
                return events
            begin, window = end, window * _WINDOW


class _Row(NamedTuple):
    """A version as it is read. ``shadows`` is whether its payload has members that an event's own hide."""

    seq: int
    id: str
    concept: str
    node_type: str
    actor: str
    created_at: str
    micros: int
    deleted: bool
    updated: bool
    cause: str | None
    payload: str
    shadows: bool
    old_status: str | None


def _events(row: _Row, mask: SecretMask | None) -> Iterator[Event]:
    if row.shadows or (mask is not None and mask.hides(row.concept)):
        yield from _read_events(row, mask)
        return
    said = _said(row)
    yield _event("deleted" if row.deleted else "created", row, said.encode())
    if row.updated and not row.deleted:
        changed = said if row.old_status in (None, "null") else f'{said[:-1]},"oldStatus":{row.old_status}}}'
        yield _event("updated", row, changed.encode())


def _event(action: str, row: _Row, body: bytes) -> Event:
    return graph_event(
        action,
        body,
        seq=row.seq,
        concept=row.concept,
        actor=row.actor,
        micros=row.micros,
        cause=row.cause or "",
    )


def _said(row: _Row) -> str:
    """What an event says, as :func:`graph_events` has it, from texts."""
    own, payload = _quoted(row.id), row.payload
    return (
        f'{payload[:-1]}{"," if len(payload) > len("{}") else ""}"id":{own},"nodeId":{own},'
        f'"concept":{_quoted(row.concept)},"actor":{_quoted(row.actor)},"nodeType":{_quoted(row.node_type)},'
        f'"createdAt":"{row.created_at}","payload":{payload}}}'
    )


def _quoted(text: str) -> str:
    return _encode(text).decode()


def _read_events(row: _Row, mask: SecretMask | None) -> tuple[Event, ...]:
    """The events of a row that has to be looked into."""
    payload = _decode(row.payload)
    return graph_events(
        seq=row.seq,
        id=row.id,
        concept=row.concept,
        node_type=row.node_type,
        actor=row.actor,
        created_at=row.created_at,
        timestamp=from_micros(row.micros),
        payload=payload if mask is None else mask(row.concept, payload),
        deleted=row.deleted,
        updated=row.updated,
        old_status=None if row.old_status is None else msgspec.json.decode(row.old_status),
        cause=row.cause or "",
    )
