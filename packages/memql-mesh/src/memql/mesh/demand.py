"""What the clients of other nodes have asked for, so that events which no rule forwards still reach them (spec
"Demand").

Each node tells its peers the patterns of its clients' subscriptions. A hub also tells what the nodes behind it ask for,
because they are reached through it; it never repeats what another hub told, so demand cannot go round in circles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from memql.errors import Code, MemqlError
from memql.events.topics import Pattern, compile_pattern

__all__ = ["HUB", "MAX_PATTERNS", "TOPIC", "Demand", "demand_hash"]

TOPIC: Final = "mesh.demand"
"""The topic that carries demand between nodes; it never reaches a bus."""

MAX_PATTERNS: Final = 512
"""Patterns that are told at most; beyond it a node asks for everything."""

HUB: Final = "bff"
_EVERYTHING: Final = frozenset({"#"})


class _Told(msgspec.Struct):
    patterns: list[str] = []
    want: bool = False


class _Peer:
    __slots__ = ("compiled", "hash", "patterns", "type")

    def __init__(self, node_type: str, patterns: frozenset[str]) -> None:
        self.type = node_type
        self.patterns = patterns
        self.hash = demand_hash(patterns)
        self.compiled: tuple[Pattern, ...] = tuple(compile_pattern(text) for text in patterns)


def demand_hash(patterns: Iterable[str]) -> str:
    """What tells one set of patterns from another; empty for none."""
    text = "\n".join(sorted(patterns))
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


class Demand:
    """The demand of the peers of one node.

    :param node_type: the type of this node.
    """

    def __init__(self, node_type: str) -> None:
        self.changed: Callable[[], None] = lambda: None
        """Called when the demand of any peer has changed."""
        self._is_hub = node_type == HUB
        self._peers: dict[str, _Peer] = {}

    def told(self, peer_id: str, peer_type: str, payload: bytes) -> bool:
        """Take what a peer says; True when it asks to be told this node's demand.

        :raises MemqlError: ``INVALID_ARGUMENT`` when it cannot be read.
        """
        try:
            said = msgspec.json.decode(payload, type=_Told)
        except msgspec.MsgspecError as error:
            raise MemqlError(Code.INVALID_ARGUMENT, f"the demand of {peer_id} cannot be read: {error}") from error
        if said.want:
            return True
        patterns = frozenset(said.patterns) if len(said.patterns) <= MAX_PATTERNS else _EVERYTHING
        self._peers[peer_id] = _Peer(peer_type, patterns)
        self.changed()
        return False

    def forget(self, peer_id: str) -> None:
        """The peer is connected no more."""
        if self._peers.pop(peer_id, None) is not None:
            self.changed()

    def is_current(self, peer_id: str, hashed: str) -> bool:
        """Whether what is known of a peer has the hash that it names in its heartbeats."""
        peer = self._peers.get(peer_id)
        return (peer.hash if peer is not None else "") == hashed

    def of(self, topic: str) -> frozenset[str]:
        """The ids of the peers that ask for events under a topic."""
        return frozenset(
            peer_id for peer_id, peer in self._peers.items() if any(one.matches(topic) for one in peer.compiled)
        )

    def for_peer(self, peer_id: str, peer_type: str, own: frozenset[str]) -> frozenset[str]:
        """What to tell a peer.

        :param own: the patterns of this node's own clients.
        """
        patterns = own
        if self._is_hub and peer_type != HUB:
            behind = (peer.patterns for known, peer in self._peers.items() if known != peer_id and peer.type != HUB)
            patterns = own.union(*behind)
        return patterns if len(patterns) <= MAX_PATTERNS else _EVERYTHING

    @staticmethod
    def saying(patterns: Iterable[str]) -> bytes:
        """The payload that tells patterns."""
        return msgspec.json.encode(_Told(sorted(patterns)))

    @staticmethod
    def asking() -> bytes:
        """The payload that asks a peer for its demand."""
        return msgspec.json.encode(_Told(want=True))

    def statistics(self) -> Mapping[str, int]:
        """How many patterns each peer asks for."""
        return {peer_id: len(peer.patterns) for peer_id, peer in self._peers.items()}
