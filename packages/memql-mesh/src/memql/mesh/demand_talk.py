"""Keeps the peers of a node told of what its clients ask for, and learns the same of them (spec "Demand")."""

from __future__ import annotations

from collections.abc import Callable

from memql.events import Bus
from memql.ids import new_id
from memql.mesh.demand import TOPIC, Demand, demand_hash
from memql.mesh.links.link import Link
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.wire.records import Record

__all__ = ["DemandTalk"]

Tell = Callable[[Link, str, bytes, str], None]


class DemandTalk:
    """The talk of one node.

    :param tell: says something internal to a peer: over which stream, topic, payload, event id.
    """

    def __init__(self, bus: Bus, demand: Demand, switchboard: Switchboard, tell: Tell) -> None:
        self._bus = bus
        self._demand = demand
        self._switchboard = switchboard
        self._tell = tell
        self._told: dict[str, str] = {}
        bus.on_demand(self.tell_all)

    def hash_for(self, link: Link) -> str:
        """What tells this node's demand from others, as a peer knows it."""
        return demand_hash(self._for(link))

    def attached(self, link: Link) -> None:
        """A stream has begun."""
        self._told.pop(link.peer.id, None)
        self._tell_one(link)

    def detached(self, link: Link) -> None:
        """A stream has ended."""
        if not self._switchboard.is_connected(link.peer.id):
            self._demand.forget(link.peer.id)
            self._told.pop(link.peer.id, None)
            self.tell_all()

    def tell_all(self) -> None:
        """The demand has changed: tell whom it concerns."""
        for link in self._switchboard.lines.values():
            self._tell_one(link)

    def take(self, link: Link, record: Record) -> None:
        """A peer says what its clients ask for, or wants to be told.

        :raises MemqlError: ``INVALID_ARGUMENT`` when it cannot be read.
        """
        if self._demand.told(link.peer.id, link.peer.type, record.payload):
            self._told.pop(link.peer.id, None)
            self._tell_one(link)
        else:
            self.tell_all()

    def heard_hash(self, link: Link, hashed: str) -> None:
        """A peer's heartbeat names its demand: ask for it if it is another than the one known here."""
        if not self._demand.is_current(link.peer.id, hashed):
            self._tell(link, TOPIC, Demand.asking(), new_id())

    def _tell_one(self, link: Link) -> None:
        patterns = self._for(link)
        hashed = demand_hash(patterns)
        if self._told.get(link.peer.id, "") != hashed:
            self._told[link.peer.id] = hashed
            self._tell(link, TOPIC, Demand.saying(patterns), new_id())

    def _for(self, link: Link) -> frozenset[str]:
        return self._demand.for_peer(link.peer.id, link.peer.type, self._bus.demand)
