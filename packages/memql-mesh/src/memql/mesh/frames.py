"""What becomes of each envelope that a peer sends."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import betterproto2

from memql.errors import MemqlError
from memql.mesh import metrics
from memql.mesh.bridge import Bridge
from memql.mesh.demand_talk import DemandTalk
from memql.mesh.links.handshake import card_of_info, health_of
from memql.mesh.links.link import Link
from memql.mesh.peers import Health, Peers
from memql.mesh.wire.messages import (
    EventAck,
    EventForward,
    NodeHeartbeat,
    NodeShutdown,
    PeerIntroduction,
)
from memql.mesh.wire.records import Record, decode_batch, from_forward
from memql.wire.frames import Frame
from memql.wire.protobuf import fields

__all__ = ["FrameTable", "Taker", "batch_taker", "membership_takers"]

log = logging.getLogger(__name__)

_MOST_DIGITS: Final = 10
_EVENTS, _GAP = 1, 2

Taker = Callable[[Link, Any], Awaitable[None] | None]
"""Takes one kind of message; what it returns, if anything, is awaited before the next envelope is read."""


class FrameTable:
    """Takers by message; roles may add theirs."""

    def __init__(self) -> None:
        self._takers: dict[type[betterproto2.Message], Taker] = {}
        self._body_takers: dict[str, Taker] = {}

    def add(self, takers: dict[type[betterproto2.Message], Taker]) -> None:
        """Add takers.

        :raises ValueError: when a message has one already.
        """
        for kind, taker in takers.items():
            if kind in self._takers:
                raise ValueError(f"{kind.__name__} has a taker already")
            self._takers[kind] = taker

    def add_body(self, name: str, taker: Taker) -> None:
        """Add a taker for a payload that is not read as a message first: it gets the bytes.

        :raises ValueError: when the payload has one already.
        """
        if name in self._body_takers:
            raise ValueError(f"{name} has a taker already")
        self._body_takers[name] = taker

    def receive(self, link: Link, frame: Frame) -> Awaitable[None] | None:
        """Hand an envelope to its taker. One that nobody takes is passed over: a later protocol may know more.

        :raises MalformedMessageError: when its payload cannot be read; the stream ends then.
        """
        if not frame.name:
            log.debug("%r sent an empty or unknown payload", link)
            return None
        if (of_body := self._body_takers.get(frame.name)) is not None:
            return of_body(link, frame.body)
        message = frame.message()
        taker = self._takers.get(type(message))
        if taker is None:
            log.debug("%r sent %s, which nobody takes here", link, frame.name)
            return None
        return taker(link, message)


def membership_takers(
    peers: Peers, bridge: Bridge, talk: DemandTalk, missed: Callable[[], None]
) -> dict[type[betterproto2.Message], Taker]:
    """The takers of what nodes tell about themselves and one another, and of events.

    :param missed: called when a peer says that events are missing.
    """

    def heartbeat(link: Link, message: NodeHeartbeat) -> None:
        said = message.metrics
        health = health_of(message.health)
        peers.reported(link.peer.id, health, load=_whole(said.get("load")), behind=_number(said.get("behind")))
        talk.heard_hash(link, said.get("demand", ""))

    def introduction(link: Link, message: PeerIntroduction) -> None:
        if message.removal:
            peers.dismissed(info.node_id for info in message.peers)
        else:
            peers.introduced(card_of_info(info) for info in message.peers if info.node_id)

    def shutdown(link: Link, message: NodeShutdown) -> None:
        log.info("%s says goodbye: %s", link.peer.id, message.reason)
        peers.reported(link.peer.id, Health.DRAINING)

    def single(link: Link, message: EventForward) -> None:
        _bring(bridge, missed, link, lambda: [from_forward(message)])

    return {
        NodeHeartbeat: heartbeat,
        PeerIntroduction: introduction,
        NodeShutdown: shutdown,
        EventForward: single,
        EventAck: lambda link, message: None,
    }


def batch_taker(bridge: Bridge, missed: Callable[[], None]) -> Taker:
    """The taker of ``EventBatch`` as bytes: most of what comes over a stream.

    :param missed: called when events are missing, or cannot be read: they are found in the log.
    """

    def batch(link: Link, body: bytes) -> None:
        events = b""
        for number, value in fields(body):
            if number == _EVENTS and isinstance(value, bytes):
                events = value
            elif number == _GAP and value:
                metrics.gaps.inc()
                missed()
        _bring(bridge, missed, link, partial(decode_batch, events))

    return batch


def _bring(bridge: Bridge, missed: Callable[[], None], link: Link, read: Callable[[], list[Record]]) -> None:
    try:
        records = read()
    except MemqlError as error:
        log.warning("%r: %s", link, error.message)
        missed()
        return
    bridge.receive(link, records)


def _number(text: str | None) -> float:
    try:
        number = float(text or 0)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) else 0.0


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < _MOST_DIGITS else 0
