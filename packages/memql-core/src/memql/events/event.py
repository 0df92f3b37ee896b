"""One event: something that happened, under a dotted topic (spec "Subscriptions and events", "Identity and
loop prevention")."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

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


class Event:
    """An event; treat it as immutable.

    ``id`` is the identity used for deduplication: ``g:<log seq>:<action>`` for graph events, a UUID
    otherwise. ``actor`` is what ``createdBy`` would record. ``origin`` is the node it came from, empty when
    local. ``log_seq`` is the log position of a graph event, the resume cursor of subscriptions. ``cause`` are
    the automations that led to it, outermost first, joined by ``>``. ``demanded`` marks an event that was brought
    here for clients that asked for it, and for nobody else.

    An event that came over the wire keeps its payload as JSON bytes until somebody looks at it: most nodes only
    hand it on.
    """

    __slots__ = (
        "_json",
        "_micros",
        "_payload",
        "_timestamp",
        "actor",
        "cause",
        "demanded",
        "id",
        "kind",
        "log_seq",
        "origin",
        "topic",
    )

    id: str
    topic: str
    kind: str
    actor: str
    origin: str
    log_seq: int | None
    cause: str
    demanded: bool

    def __init__(
        self,
        *,
        id: str,
        topic: str,
        payload: Mapping[str, Any],
        kind: str = "MESSAGE",
        timestamp: datetime | None = None,
        actor: str = "",
        origin: str = "",
        log_seq: int | None = None,
        cause: str = "",
        demanded: bool = False,
    ) -> None:
        """An event that happened now unless ``timestamp`` says when."""
        self.id = id
        self.topic = topic
        self.kind = kind
        self.actor = actor
        self.origin = origin
        self.log_seq = log_seq
        self.cause = cause
        self.demanded = demanded
        self._payload: Mapping[str, Any] | None = payload
        self._json: bytes | None = None
        self._timestamp: datetime | None = timestamp or datetime.now(UTC)
        self._micros = 0

    @classmethod
    def received(
        cls,
        id: str,
        topic: str,
        kind: str,
        micros: int,
        payload: bytes,
        actor: str,
        origin: str,
        log_seq: int | None,
        cause: str,
        demanded: bool,
    ) -> Event:
        """An event as it came over the wire.

        :param micros: microseconds since 1970.
        :param payload: JSON of an object; trusted to be one until it is looked at.
        """
        event = cls.__new__(cls)
        event.id = id
        event.topic = topic
        event.kind = kind
        event.actor = actor
        event.origin = origin
        event.log_seq = log_seq
        event.cause = cause
        event.demanded = demanded
        event._payload = None
        event._json = payload
        event._timestamp = None
        event._micros = micros
        return event

    @property
    def payload(self) -> Mapping[str, Any]:
        """What it says.

        :raises msgspec.DecodeError: for a received event whose payload is no JSON object.
        """
        if self._payload is None:
            assert self._json is not None
            self._payload = _decode(self._json)
        return self._payload

    @property
    def json(self) -> bytes:
        """The payload as JSON.

        :raises TypeError: when it has no JSON form.
        """
        if self._json is None:
            self._json = _encode(self._payload)
        return self._json

    @property
    def timestamp(self) -> datetime:
        """When it happened."""
        if self._timestamp is None:
            self._timestamp = from_micros(self._micros)
        return self._timestamp

    @property
    def micros(self) -> int:
        """When it happened, as microseconds since 1970."""
        if not self._micros and self._timestamp is not None:
            self._micros = to_micros(self._timestamp)
        return self._micros

    @property
    def is_remote(self) -> bool:
        """Whether another node published it first."""
        return bool(self.origin)

    def replace(self, **changes: Any) -> Event:
        """The same event with other values for the named attributes."""
        return Event(**{**self._members(), **changes})

    def _members(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "topic": self.topic,
            "payload": self.payload,
            "kind": self.kind,
            "timestamp": self.timestamp,
            "actor": self.actor,
            "origin": self.origin,
            "log_seq": self.log_seq,
            "cause": self.cause,
            "demanded": self.demanded,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self._members() == other._members()

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"Event({self.id!r}, {self.topic!r})"
