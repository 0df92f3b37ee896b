"""What one version of a row says on the bus (spec "Write pipeline", step 8).

The writer asks here, and the reader of the log puts the same together from texts: an event has the same id, topic and
payload whichever way it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from memql.events.event import Event, to_micros
from memql.events.kinds import kind_for_topic
from memql.events.topics import node_topic

__all__ = ["event_id", "graph_event", "graph_events"]


def event_id(seq: int, action: str) -> str:
    """The identity of a graph event: the version's log number and what happened."""
    return f"g:{seq}:{action}"


@lru_cache(maxsize=4096)
def _heading(action: str, concept: str) -> tuple[str, str]:
    """The topic and the kind of an event about a row of a concept."""
    topic = node_topic(action, concept)
    return topic, kind_for_topic(topic).name


def graph_event(
    action: str, body: Mapping[str, Any] | bytes, *, seq: int, concept: str, actor: str, micros: int, cause: str
) -> Event:
    """One event of a version: ``created``, ``updated`` or ``deleted``."""
    topic, kind = _heading(action, concept)
    return Event(
        id=event_id(seq, action),
        topic=topic,
        body=body,
        kind=kind,
        micros=micros,
        actor=actor,
        log_seq=seq,
        cause=cause,
    )


def graph_events(
    *,
    seq: int,
    id: str,
    concept: str,
    node_type: str,
    actor: str,
    created_at: str,
    timestamp: datetime,
    payload: Mapping[str, Any],
    deleted: bool = False,
    updated: bool = False,
    old_status: Any = None,
    cause: str = "",
) -> tuple[Event, ...]:
    """The events of one version: ``deleted`` for a tombstone, else ``created``, and after it ``updated`` for
    an update.

    The event's payload is the row's members, under ``payload`` and flattened, below ``id nodeId concept actor
    nodeType createdAt``. ``updated`` also has ``oldStatus`` where the version before had a ``status``.

    :param created_at: the version's instant as the language shows it.
    """
    body = {
        **payload,
        "id": id,
        "nodeId": id,
        "concept": concept,
        "actor": actor,
        "nodeType": node_type,
        "createdAt": created_at,
        "payload": dict(payload),
    }

    micros = to_micros(timestamp)

    def event(action: str, content: Mapping[str, Any]) -> Event:
        return graph_event(action, content, seq=seq, concept=concept, actor=actor, micros=micros, cause=cause)

    if deleted:
        return (event("deleted", body),)
    if not updated:
        return (event("created", body),)
    changed = body if old_status is None else {**body, "oldStatus": old_status}
    return event("created", body), event("updated", changed)
