"""Brings what the parts of the mesh count to ``/metrics``: on the way of an event a plain number is all there is time
for."""

from __future__ import annotations

from collections import Counter
from typing import Final

import anyio

from memql.mesh import metrics
from memql.mesh.bridge import Bridge
from memql.mesh.links.link import Link
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.peers import Health, Peers

__all__ = ["Counting"]

_EVERY: Final = 1.0


class Counting:
    """Counts for one node."""

    def __init__(self, bridge: Bridge, switchboard: Switchboard, peers: Peers) -> None:
        self._bridge = bridge
        self._switchboard = switchboard
        self._peers = peers
        self._sent = self._relayed = self._duplicates = 0
        self._dropped: dict[Link, int] = {}
        switchboard.attached.append(self._attached)
        switchboard.detached.append(self._detached)

    async def run(self) -> None:
        """Count for ever."""
        while True:
            self.count()
            await anyio.sleep(_EVERY)

    def count(self) -> None:
        """Bring everything up to date."""
        bridge = self._bridge
        metrics.events_out.inc(bridge.sent - self._sent)
        metrics.events_relayed.inc(bridge.relayed - self._relayed)
        metrics.duplicates.inc(bridge.duplicates - self._duplicates)
        self._sent, self._relayed, self._duplicates = bridge.sent, bridge.relayed, bridge.duplicates
        waiting = 0
        for link in self._switchboard:
            self._count_dropped(link)
            waiting += link.outbox.waiting
        metrics.outbox_waiting.set(waiting)
        healths = Counter(peer.health for peer in self._peers)
        for health in Health:
            metrics.peers.labels(health.name.lower()).set(healths[health])

    def _count_dropped(self, link: Link) -> None:
        metrics.events_dropped.inc(link.outbox.dropped - self._dropped.get(link, 0))
        self._dropped[link] = link.outbox.dropped

    def _attached(self, link: Link) -> None:
        metrics.links.labels("dialed" if link.dialed else "accepted", link.peer.type).inc()

    def _detached(self, link: Link) -> None:
        metrics.links.labels("dialed" if link.dialed else "accepted", link.peer.type).dec()
        self._count_dropped(link)
        del self._dropped[link]
