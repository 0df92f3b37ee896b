"""Events on their way between nodes: the record, the batch, and the single frame for peers that take no batches (spec
"Push").

A batch is a MessagePack array of records, and a record an array of its members: nothing is named on the wire, and a
payload is copied, not parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from memql.errors import Code, MemqlError
from memql.events import Event, EventKind
from memql.events.event import from_micros, to_micros
from memql.events.kinds import kind_number
from memql.events.topics import MAX_TOPIC
from memql.mesh.wire.messages import AutomationLink, EventCause, EventForward, Struct
from memql.wire.structs import decode_struct, encode_struct

__all__ = ["MAX_HOPS", "Record", "decode_batch", "encode_batch", "from_forward", "record_of", "to_event", "to_forward"]

MAX_HOPS: Final = 16
"""A record that was handed on so often is handed on no more, whatever its time to live says."""

_FIRST_MICROS: Final = to_micros(datetime.min.replace(tzinfo=UTC))
_LAST_MICROS: Final = to_micros(datetime.max.replace(tzinfo=UTC))
_LAST_POSITION: Final = 2**63 - 1
_MOST_DIGITS: Final = 19

_KIND_NAMES: Final = {kind.value: kind.name for kind in EventKind}


class Record(msgspec.Struct, array_like=True, gc=False):
    """One event as it travels; treat it as immutable but for :meth:`hand_on`.

    ``micros`` is when it happened, microseconds since 1970. ``origin`` is the node that published it first, ``ttl``
    how many nodes may still hand it on and ``hops`` how many streams it has crossed, this one included. ``payload``
    is JSON. ``cause`` are the automations that led to it. ``demanded`` says it comes because the receiver's clients
    asked for it.
    """

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    topic: Annotated[str, Meta(max_length=MAX_TOPIC)]
    kind: int
    micros: Annotated[int, Meta(ge=_FIRST_MICROS, le=_LAST_MICROS)]
    origin: Annotated[str, Meta(max_length=128)]
    ttl: int
    hops: int
    log_seq: Annotated[int, Meta(ge=0, le=_LAST_POSITION)] | None
    payload: bytes
    cause: Annotated[str, Meta(max_length=16_384)] = ""
    demanded: bool = False
    actor: Annotated[str, Meta(max_length=512)] = ""

    def as_demanded(self) -> Record:
        """The record for peers whose clients ask for the event."""
        return msgspec.structs.replace(self, demanded=True)

    def hand_on(self) -> Record:
        """Make it the record that the next node gets. It came over a stream, so nobody else holds it; a copy of each
        event would be a tenth of what a hub does."""
        self.ttl -= 1
        self.hops += 1
        self.demanded = False
        return self


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Record]).decode


def encode_batch(records: Sequence[Record]) -> bytes:
    """The bytes of a batch."""
    return _encode(records)


def decode_batch(data: bytes) -> list[Record]:
    """The records of a batch.

    :raises MemqlError: ``INVALID_ARGUMENT`` for bytes that are none.
    """
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"an event batch cannot be read: {error}") from error


def record_of(event: Event, node: str, ttl: int) -> Record:
    """A local event as its first peers get it.

    :raises TypeError: when its payload has no JSON form.
    """
    return Record(
        event.id,
        event.topic,
        kind_number(event.kind),
        event.micros,
        node,
        ttl,
        1,
        event.log_seq,
        event.json,
        event.cause,
        False,
        event.actor,
    )


def to_event(record: Record, demanded: bool = False) -> Event:
    """The event that a record carries, for the bus of this node.

    :param demanded: whether it is here for clients only.
    """
    return Event(
        id=record.id,
        topic=record.topic,
        body=record.payload,
        kind=_KIND_NAMES.get(record.kind, "MESSAGE"),
        micros=record.micros,
        actor=record.actor,
        origin=record.origin,
        log_seq=record.log_seq,
        cause=record.cause,
        demanded=demanded,
    )


def to_forward(record: Record) -> EventForward:
    """A record for a peer that takes no batches. Its log position, actor and demand mark do not travel."""
    chain = [AutomationLink(automation=name) for name in record.cause.split(">") if name]
    return EventForward(
        event_id=record.id,
        topic=record.topic,
        kind=record.kind,
        ts=from_micros(record.micros),
        payload=Struct.parse(encode_struct(msgspec.json.decode(record.payload, type=dict))),
        origin_node_id=record.origin,
        ttl=record.ttl,
        cause=EventCause(depth=len(chain), chain=chain) if chain else None,
        hops=record.hops,
    )


def from_forward(message: EventForward) -> Record:
    """The record of a single event; a peer of before ``hops`` counts as the origin.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it has no id, topic or payload, or one that is none.
    """
    if not message.event_id or not message.topic or message.payload is None:
        raise MemqlError(Code.INVALID_ARGUMENT, "a forwarded event needs an event_id, a topic and a payload")
    moment = message.ts or datetime.now(UTC)
    record = Record(
        message.event_id,
        message.topic,
        message.kind,
        to_micros(moment),
        message.origin_node_id,
        message.ttl,
        message.hops or 1,
        _log_seq(message.event_id),
        msgspec.json.encode(decode_struct(bytes(message.payload))),
        _chain(message.cause.chain if message.cause else ()),
    )
    # Held against the same limits as those of a batch.
    (checked,) = decode_batch(encode_batch([record]))
    return checked


def _chain(links: Iterable[AutomationLink]) -> str:
    return ">".join(link.automation for link in links)


def _log_seq(event_id: str) -> int | None:
    """The log position that the id of a graph event names."""
    kind, _, rest = event_id.partition(":")
    number = rest.partition(":")[0]
    return int(number) if kind == "g" and number.isdecimal() and len(number) < _MOST_DIGITS else None
