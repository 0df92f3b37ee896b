"""The events of graph writes (spec "Write pipeline", step 8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from memql.engine.context import format_instant
from memql.events.event import Event
from memql.events.kinds import kind_for_topic

__all__ = ["Action", "WrittenRow", "graph_events"]

Action: TypeAlias = Literal["created", "updated", "deleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRow:
    """One stored version, as events and results show it. ``payload`` has its secrets masked already."""

    id: str
    concept: str
    type: str
    created_at: datetime
    created_by: str
    payload: Mapping[str, Any]
    seq: int
    deleted: bool = False


def graph_events(row: WrittenRow, *, updated: bool = False, old_status: Any = None, cause: str = "") -> list[Event]:
    """What a write publishes after commit: ``created``, after an update also ``updated``, or ``deleted``.

    :param updated: whether an update wrote the row.
    :param old_status: the payload's ``status`` before an update, if there was one.
    :param cause: the automations that led to the write.
    """
    if row.deleted:
        return [_event(row, "deleted", {}, cause)]
    events = [_event(row, "created", {}, cause)]
    if updated:
        extra = {} if old_status is None else {"oldStatus": old_status}
        events.append(_event(row, "updated", extra, cause))
    return events


def _event(row: WrittenRow, action: Action, extra: Mapping[str, Any], cause: str) -> Event:
    topic = f"graph.node.{action}.{row.concept}"
    own = {
        "id": row.id,
        "nodeId": row.id,
        "concept": row.concept,
        "actor": row.created_by,
        "nodeType": row.type,
        "createdAt": format_instant(row.created_at),
        "payload": row.payload,
        **extra,
    }
    return Event(
        id=f"g:{row.seq}:{action}",
        topic=topic,
        payload={**row.payload, **own},
        kind=kind_for_topic(topic).name,
        timestamp=row.created_at,
        actor=row.created_by,
        log_seq=row.seq,
        cause=cause,
    )
