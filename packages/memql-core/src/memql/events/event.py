"""One event: something that happened, under a dotted topic (spec "Subscriptions and events", "Identity and
loop prevention")."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from memql.errors import Code, MemqlError

__all__ = ["Event", "from_micros", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The moment so many microseconds after 1970, UTC."""
    return _EPOCH + micros * _MICROSECOND


def _now() -> int:
    return time.time_ns() // 1000


def _read(body: bytes, event_id: str) -> Mapping[str, Any]:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MemqlError(Code.INVALID_ARGUMENT, f"what the event {event_id} says cannot be read: {error}") from error


class Event(msgspec.Struct, kw_only=True, gc=False):
    """An event; treat it as immutable.

    ``id`` is the identity used for deduplication: ``g:<log seq>:<action>`` for graph events, a UUID otherwise.
    ``body`` is what it says, as a mapping or as the JSON bytes of one: an event that came over the wire is not read
    until somebody asks for its :attr:`payload`. ``kind`` is the name of an event kind, ``micros`` when it happened, in
    microseconds since 1970. ``actor`` is what ``createdBy`` would record. ``origin`` is the node it came from, empty
    when local. ``log_seq`` is the log position of a graph event, the resume cursor of subscriptions. ``cause`` are the
    automations that led to it, outermost first, joined by ``>``. ``demanded`` marks an event that was brought here for
    clients that asked for it, and for nobody else. ``kept`` tells that the outbox has it.
    """

    id: str
    topic: str
    body: Mapping[str, Any] | bytes
    kind: str = "MESSAGE"
    micros: int = msgspec.field(default_factory=_now)
    actor: str = ""
    origin: str = ""
    log_seq: int | None = None
    cause: str = ""
    demanded: bool = False
    kept: bool = False

    @property
    def payload(self) -> Mapping[str, Any]:
        """What it says.

        :raises MemqlError: ``INVALID_ARGUMENT`` when the bytes that came are no JSON object.
        """
        body = self.body
        if isinstance(body, bytes):
            body = self.body = _read(body, self.id)
        return body

    @property
    def json(self) -> bytes:
        """What it says, as JSON.

        :raises TypeError: when it has no JSON form.
        """
        body = self.body
        return body if isinstance(body, bytes) else _encode(body)

    @property
    def timestamp(self) -> datetime:
        """When it happened."""
        return from_micros(self.micros)

    @property
    def is_remote(self) -> bool:
        """Whether another node published it first."""
        return bool(self.origin)

    def replace(self, **changes: Any) -> Event:
        """The same event with other values for the named members."""
        return msgspec.structs.replace(self, **changes)
