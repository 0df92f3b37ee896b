"""How a stream begins: the dialing side says who it is, the other side answers with itself and whom it knows (spec
"Handshake and authentication")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio

from memql.errors import Code, MemqlError
from memql.mesh.links.streams import Stream, StreamLostError
from memql.mesh.peers import Card, Health, Peer
from memql.mesh.wire.envelopes import FROM_ACCEPTOR, FROM_DIALER, decode, encode
from memql.mesh.wire.messages import NodeHealthStatus, NodeHello, NodeShutdown, NodeWelcome, PeerInfo
from memql.wire.frames import Frame
from memql.wire.protobuf import MalformedMessageError

__all__ = ["Welcome", "await_hello", "card_of_info", "greet", "info_of", "refuse", "welcome"]

_INCARNATION: Final = "incarnation"
_VERSION: Final = "version"
_MAX_ID: Final = 128


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the dialed side answered: itself, and the peers it knows."""

    card: Card
    peers: tuple[tuple[Card, Health], ...]


async def greet(stream: Stream, own: Card, parent_id: str, timeout: float) -> Welcome:
    """Say who this node is and learn who answers; the dialing side's part.

    :raises MemqlError: ``FAILED_PRECONDITION`` when the other side refuses, ``TIMEOUT`` when it says nothing,
        ``INVALID_ARGUMENT`` when it says something else.
    :raises StreamLostError: when the stream ends first.
    """
    hello = NodeHello(
        node_id=own.id,
        node_type=own.type,
        version=own.version,
        address=own.address,
        parent_id=parent_id,
        labels=dict(own.labels),
        capabilities=sorted(own.capabilities),
    )
    await stream.write(encode(FROM_DIALER, "0", hello, metadata={_INCARNATION: own.incarnation}))
    frame = await _first_frame(stream, timeout, from_dialer=False)
    answer = frame.message()
    if isinstance(answer, NodeShutdown):
        raise MemqlError(Code.FAILED_PRECONDITION, f"the node refuses this one: {answer.reason}")
    if not isinstance(answer, NodeWelcome) or not answer.node_id:
        raise MemqlError(Code.INVALID_ARGUMENT, f"expected a welcome, got {frame.name or 'an unknown payload'!r}")
    card = Card(
        id=answer.node_id,
        type=answer.node_type,
        capabilities=frozenset(answer.capabilities),
        incarnation=frame.metadata.get(_INCARNATION, ""),
        version=frame.metadata.get(_VERSION, ""),
    )
    return Welcome(card, tuple(card_of_info(info) for info in answer.peers))


async def await_hello(stream: Stream, timeout: float) -> Card:
    """Learn who dialed; the other side's part.

    :raises MemqlError: ``TIMEOUT`` when nothing comes, ``INVALID_ARGUMENT`` when something else does.
    :raises StreamLostError: when the stream ends first.
    """
    frame = await _first_frame(stream, timeout, from_dialer=True)
    hello = frame.message() if frame.name else None
    if not isinstance(hello, NodeHello):
        raise MemqlError(Code.INVALID_ARGUMENT, f"expected a hello, got {frame.name or 'an unknown payload'!r}")
    if not 0 < len(hello.node_id) <= _MAX_ID or not 0 < len(hello.node_type) <= _MAX_ID:
        raise MemqlError(Code.INVALID_ARGUMENT, f"a hello needs a node id and a node type of 1 to {_MAX_ID} characters")
    return Card(
        id=hello.node_id,
        type=hello.node_type,
        address=hello.address,
        capabilities=frozenset(hello.capabilities),
        labels=dict(hello.labels),
        incarnation=frame.metadata.get(_INCARNATION, ""),
        version=hello.version,
    )


def welcome(own: Card, peers: Iterable[Peer]) -> tuple[NodeWelcome, Mapping[str, str]]:
    """The answer to a hello, and the metadata of its envelope."""
    message = NodeWelcome(
        node_id=own.id,
        node_type=own.type,
        peers=[info_of(peer.card, peer.health) for peer in peers],
        capabilities=sorted(own.capabilities),
    )
    return message, {_INCARNATION: own.incarnation, _VERSION: own.version}


async def refuse(stream: Stream, reason: str) -> None:
    """Tell the dialing side why it is not welcome; the stream ends afterwards."""
    await stream.write(encode(FROM_ACCEPTOR, "0", NodeShutdown(reason=reason)))


def info_of(card: Card, health: Health) -> PeerInfo:
    """A peer as others are told of it."""
    return PeerInfo(
        node_id=card.id,
        node_type=card.type,
        address=card.address,
        health=NodeHealthStatus(int(health)),
        capabilities=sorted(card.capabilities),
        labels=dict(card.labels),
    )


def card_of_info(info: PeerInfo) -> tuple[Card, Health]:
    """A peer that others told of, and how they said it is."""
    card = Card(
        id=info.node_id,
        type=info.node_type,
        address=info.address,
        capabilities=frozenset(info.capabilities),
        labels=dict(info.labels),
    )
    return card, health_of(info.health)


def health_of(status: NodeHealthStatus) -> Health:
    """A health from the wire; one of a later protocol is unspecified."""
    try:
        return Health(int(status))
    except ValueError:
        return Health.UNSPECIFIED


async def _first_frame(stream: Stream, timeout: float, *, from_dialer: bool) -> Frame:
    what = "hello" if from_dialer else "welcome"
    try:
        with anyio.fail_after(timeout):
            data = await stream.read()
    except TimeoutError:
        raise MemqlError(Code.TIMEOUT, f"no {what} came within {timeout:g} s") from None
    try:
        return decode(data, FROM_DIALER if from_dialer else FROM_ACCEPTOR)
    except MalformedMessageError as error:
        raise StreamLostError(
            MemqlError(Code.INVALID_ARGUMENT, f"a malformed frame came for a {what}: {error}")
        ) from error
