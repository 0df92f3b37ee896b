"""A stored version, as results and events show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from memql.engine.context import format_instant
from memql.events.event import Event
from memql.events.graph_events import graph_events

__all__ = ["WrittenRow", "events_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRow:
    """One stored version."""

    id: str
    concept: str
    type: str
    created_at: datetime
    created_by: str
    payload: Mapping[str, Any]
    seq: int
    deleted: bool = False


def events_of(
    row: WrittenRow,
    shown: Mapping[str, Any],
    *,
    updated: bool = False,
    old_status: Any = None,
    cause: str = "",
) -> tuple[Event, ...]:
    """What a write publishes after commit (spec "Write pipeline", step 8).

    :param shown: the payload with its secrets masked: events reach subscribers of any role.
    """
    return graph_events(
        seq=row.seq,
        id=row.id,
        concept=row.concept,
        node_type=row.type,
        actor=row.created_by,
        created_at=format_instant(row.created_at),
        timestamp=row.created_at,
        payload=shown,
        deleted=row.deleted,
        updated=updated,
        old_status=old_status,
        cause=cause,
    )
