"""Who else is there, and how they are (spec "Liveness and the peer table").

A peer is known in one of two ways. An *observed* one has, or had, a stream to this node: what comes over it, or does
not, decides about its health. A *hearsay* one was only named by others: it stays while they keep naming it, and nothing
that others say touches an observed one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from memql.mesh.options import Options

__all__ = ["MOST_PEERS", "Card", "Change", "Health", "Peer", "Peers"]


class Health(IntEnum):
    """Health as it travels; the numbers are those of ``NodeHealthStatus``."""

    UNSPECIFIED = 0
    CONNECTING = 1
    HEALTHY = 2
    DEGRADED = 3
    DRAINING = 4
    OFFLINE = 5
    STOPPED = 6


MOST_PEERS: Final = 4096
"""How many peers are known at most; of those that others only name, further ones are passed over."""

_LEAVING: Final = frozenset({Health.DRAINING, Health.STOPPED})
_LIFTED: Final = frozenset({Health.UNSPECIFIED, Health.CONNECTING, Health.DEGRADED, Health.OFFLINE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a node says of itself when a stream begins. ``incarnation`` is fresh at every start of its process."""

    id: str
    type: str
    address: str = ""
    capabilities: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    incarnation: str = ""
    version: str = ""


@dataclass(slots=True, kw_only=True)
class Peer:
    """One peer. ``last_seen`` is monotonic seconds; ``load`` how many forwards it runs, ``behind`` how many seconds its
    delivery lags, as it said last."""

    card: Card
    health: Health
    observed: bool
    last_seen: float
    load: int = 0
    behind: float = 0.0

    @property
    def id(self) -> str:
        """The node id."""
        return self.card.id

    @property
    def type(self) -> str:
        """The node type."""
        return self.card.type


@dataclass(frozen=True, slots=True)
class Change:
    """A peer appeared (``before`` is None), changed its health, or left (``after`` is None)."""

    peer: Peer
    before: Health | None
    after: Health | None


class Peers:
    """The table of one node. It never contains the node itself.

    :param self_id: the id of this node.
    :param changed: told of every change, after it is made; must not wait.
    :param clock: seconds, monotonic.
    """

    def __init__(
        self,
        self_id: str,
        options: Options,
        changed: Callable[[Change], None] = lambda _: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._self_id = self_id
        self._options = options
        self._changed = changed
        self._clock = clock
        self._peers: dict[str, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._peers.values()))

    def get(self, node_id: str) -> Peer | None:
        """The peer of that id, or None."""
        return self._peers.get(node_id)

    def of_type(self, *types: str) -> list[Peer]:
        """The peers of these types."""
        return [peer for peer in self._peers.values() if peer.type in types]

    # --- what this node sees itself ---------------------------------------------------------------------------------

    def observe(self, card: Card) -> Peer:
        """A stream to the peer has begun: from now on this node judges its health."""
        before = self._peers.get(card.id)
        peer = Peer(card=card, health=Health.HEALTHY, observed=True, last_seen=self._clock())
        if before is not None and before.card.incarnation == card.incarnation and before.health in _LEAVING:
            peer.health = before.health
        self._peers[card.id] = peer
        self._tell(peer, None if before is None else before.health, peer.health)
        return peer

    def heard(self, card: Card) -> None:
        """Something came from the peer over a stream. One that had been given up for its silence is back."""
        peer = self._peers.get(card.id)
        if peer is None or not peer.observed:
            self.observe(card)
            return
        peer.last_seen = self._clock()
        if peer.health in _LIFTED:
            self._set_health(peer, Health.HEALTHY)

    def reported(self, node_id: str, health: Health, *, load: int = 0, behind: float = 0.0) -> None:
        """A heartbeat: what the peer says of itself wins over what its frames suggest."""
        peer = self._peers.get(node_id)
        if peer is None:
            return
        peer.last_seen = self._clock()
        peer.load, peer.behind = load, behind
        if health is not Health.UNSPECIFIED:
            self._set_health(peer, health)

    def sweep(self) -> None:
        """Judge silence: degrade, retire, forget."""
        now = self._clock()
        for peer in tuple(self._peers.values()):
            silent = now - peer.last_seen
            if not peer.observed:
                if silent >= self._options.gossip_lifetime:
                    self._remove(peer)
            elif silent >= self._options.offline:
                self._remove(peer)
            elif silent >= self._options.degraded and peer.health is Health.HEALTHY:
                self._set_health(peer, Health.DEGRADED)

    # --- what others say --------------------------------------------------------------------------------------------

    def introduced(self, cards: Iterable[tuple[Card, Health]]) -> None:
        """Others named these peers."""
        for card, health in cards:
            known = self._peers.get(card.id)
            if card.id == self._self_id or (known is not None and known.observed):
                continue
            if known is None and len(self._peers) >= MOST_PEERS:
                continue
            peer = Peer(card=card, health=health, observed=False, last_seen=self._clock())
            self._peers[card.id] = peer
            if known is None or known.health is not health:
                self._tell(peer, None if known is None else known.health, health)

    def dismissed(self, node_ids: Iterable[str]) -> None:
        """Others say that these peers have left."""
        for node_id in node_ids:
            known = self._peers.get(node_id)
            if known is not None and not known.observed:
                self._remove(known)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _set_health(self, peer: Peer, health: Health) -> None:
        before = peer.health
        if before is not health:
            peer.health = health
            self._tell(peer, before, health)

    def _remove(self, peer: Peer) -> None:
        del self._peers[peer.id]
        self._tell(peer, peer.health, None)

    def _tell(self, peer: Peer, before: Health | None, after: Health | None) -> None:
        if before is not after:
            self._changed(Change(peer, before, after))
