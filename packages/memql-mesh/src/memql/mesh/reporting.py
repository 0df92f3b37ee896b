"""Tells ``/metrics`` what the parts of the mesh count: in plain numbers of theirs, so that an event costs no more."""

from __future__ import annotations

from collections import Counter
from typing import Final

import anyio

from memql.mesh import metrics
from memql.mesh.bridge import Bridge
from memql.mesh.peers import Health, Peers

__all__ = ["Reporting"]

_EVERY: Final = 1.0


class Reporting:
    """Reports for one node."""

    def __init__(self, bridge: Bridge, peers: Peers) -> None:
        self._bridge = bridge
        self._peers = peers
        self._told = (0, 0, 0)

    async def run(self) -> None:
        """Once a second, for ever."""
        while True:
            self._report()
            await anyio.sleep(_EVERY)

    def _report(self) -> None:
        now = (self._bridge.sent, self._bridge.relayed, self._bridge.duplicates)
        counters = (metrics.events_out, metrics.events_relayed, metrics.duplicates)
        for counter, count, told in zip(counters, now, self._told, strict=True):
            counter.inc(count - told)
        self._told = now
        by_health = Counter(peer.health for peer in self._peers)
        for health in Health:
            metrics.peers.labels(health.name.lower()).set(by_health[health])
