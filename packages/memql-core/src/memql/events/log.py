"""The log as events: what a node reads that was away when they were published (spec "Durable substrate")."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from memql.events.event import Event
from memql.events.graph_events import event_id, event_said, heading
from memql.events.horizon import Beginning, Horizon
from memql.events.masking import SecretMask
from memql.graph.database import Database

__all__ = ["EventLog"]

# PostgreSQL builds what an event says, as its writer did; most readers hand it on or pass over it unread.
_READ = """
SELECT n.seq, n.concept, n.created_by, round(date_part('epoch', n.created_at) * 1000000)::bigint, n.deleted, n.updated,
       CASE WHEN n.provenance ->> 'kind' = 'automation' THEN
           concat_ws('>', nullif(n.provenance ->> 'via', ''), nullif(n.provenance ->> 'name', ''))
       END,
       said.body::text,
       CASE WHEN n.updated THEN (
           SELECT (said.body || jsonb_build_object('oldStatus', old.status))::text
           FROM (
               SELECT before.payload -> 'status' AS status FROM memory_nodes AS before
               WHERE before.id = n.id AND before.created_at < n.created_at ORDER BY before.created_at DESC LIMIT 1
           ) AS old
           WHERE jsonb_typeof(old.status) <> 'null'
       ) END
FROM memory_nodes AS n
CROSS JOIN LATERAL (
    SELECT n.payload || jsonb_build_object(
        'id', n.id, 'nodeId', n.id, 'concept', n.concept, 'actor', n.created_by, 'nodeType', n.type,
        'createdAt', memql_moment(n.created_at), 'payload', n.payload
    ) AS body
) AS said
WHERE n.seq > %s AND n.seq <= %s"""
_OF_CONCEPTS = " AND n.concept = ANY (%s)"
_SINCE = " AND NOT (n.seq <= %s AND pg_visible_in_snapshot(n.xid, %s::pg_snapshot))"
_IN_ORDER = " ORDER BY n.seq LIMIT %s"

_decode = msgspec.json.Decoder(dict[str, Any]).decode


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


def _events(row: Sequence[Any], mask: SecretMask | None) -> Iterator[Event]:
    seq, concept, actor, micros, deleted, updated, cause, said, changed = row
    hidden = mask if mask is not None and mask.hides(concept) else None

    def event(action: str, body: str) -> Event:
        topic, kind = heading(action, concept)
        return Event(
            id=event_id(seq, action),
            topic=topic,
            body=body.encode() if hidden is None else _masked(hidden, concept, body),
            kind=kind,
            micros=micros,
            actor=actor,
            log_seq=seq,
            cause=cause or "",
        )

    yield event("deleted" if deleted else "created", said)
    if updated and not deleted:
        yield event("updated", said if changed is None else changed)


def _masked(mask: SecretMask, concept: str, body: str) -> dict[str, Any]:
    """What an event says, without secrets: of the row's members and of their flattened copies."""
    said = _decode(body)
    shown = event_said(
        mask(concept, said["payload"]),
        id=said["id"],
        concept=concept,
        actor=said["actor"],
        node_type=said["nodeType"],
        created_at=said["createdAt"],
    )
    return {**said, **shown}
