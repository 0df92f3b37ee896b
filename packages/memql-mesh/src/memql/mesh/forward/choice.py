"""Which peer gets a request (spec "Liveness and the peer table", peer choice)."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence

from memql.errors import Code, MemqlError
from memql.mesh.links.link import Link
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.peers import Health, Peer, Peers

__all__ = ["Chooser"]


class Chooser:
    """Chooses among the peers that this node has dialed: healthy ones before degraded ones, never others, and of two at
    random the less loaded.

    :param running_on: how many requests of this node a stream carries: its peer may not have said so yet.
    """

    def __init__(
        self,
        peers: Peers,
        switchboard: Switchboard,
        running_on: Callable[[Link], int],
        *,
        sample: Callable[[Sequence[Link], int], list[Link]] = random.sample,
    ) -> None:
        self._peers = peers
        self._switchboard = switchboard
        self._running_on = running_on
        self._sample = sample

    def choose(self, *types: str, capability: str = "", but: Collection[str] = ()) -> Link:
        """A stream to a peer of one of these types; any type without any.

        :param capability: what the peer must be able to do.
        :param but: peers that are not to be chosen.
        :raises MemqlError: ``UNAVAILABLE`` when there is none.
        """
        links = [
            link
            for link in self._switchboard
            if link.dialed
            and link.alive
            and link.peer.id not in but
            and (not types or link.peer.type in types)
            and (not capability or capability in link.peer.capabilities)
        ]
        for health in (Health.HEALTHY, Health.DEGRADED):
            able = [link for link in links if self._health(link) is health]
            if able:
                return min(self._sample(able, min(2, len(able))), key=self._load)
        what = " or ".join(types) or "other"
        able_to = f" that can {capability}" if capability else ""
        raise MemqlError(Code.UNAVAILABLE, f"no {what} node{able_to} is connected to this one now; try again")

    def _peer(self, link: Link) -> Peer | None:
        return self._peers.get(link.peer.id)

    def _health(self, link: Link) -> Health:
        peer = self._peer(link)
        return Health.OFFLINE if peer is None else peer.health

    def _load(self, link: Link) -> int:
        peer = self._peer(link)
        return self._running_on(link) + (0 if peer is None else peer.load)
