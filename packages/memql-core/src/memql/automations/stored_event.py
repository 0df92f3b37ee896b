"""Events as they stand in a claim, for whoever takes the run over."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from memql.events.event import Event, to_micros

__all__ = ["decode_event", "encode_event"]


class _Stored(msgspec.Struct, omit_defaults=True):
    id: str
    topic: str
    kind: str
    timestamp: datetime
    payload: dict[str, Any]
    actor: str = ""
    cause: str = ""
    log_seq: int | None = None


_decoder = msgspec.json.Decoder(_Stored)


def encode_event(event: Event) -> bytes:
    """The stored form."""
    return msgspec.json.encode(
        _Stored(
            event.id,
            event.topic,
            event.kind,
            event.timestamp,
            dict(event.payload),
            event.actor,
            event.cause,
            event.log_seq,
        )
    )


def decode_event(stored: bytes) -> Event:
    """The event of a stored form; where it came from is not kept."""
    found = _decoder.decode(stored)
    return Event(
        id=found.id,
        topic=found.topic,
        kind=found.kind,
        micros=to_micros(found.timestamp),
        body=found.payload,
        actor=found.actor,
        cause=found.cause,
        log_seq=found.log_seq,
    )
