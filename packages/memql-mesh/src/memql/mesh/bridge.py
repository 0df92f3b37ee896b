"""The event bridge: from the bus of this node to those of its peers, and back (spec "Event bridging across the mesh",
"Push").

What the bus of this node publishes first goes to every peer that a rule names, and to every peer whose clients ask for
it. What a peer brings is published here, and handed on once. The bridge is the fast path: what it loses is found in the
database.

Everything about a topic that does not change from event to event is looked up once and kept as its :class:`_Way`, until
a stream begins or ends or a demand changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from memql.errors import Code, MemqlError
from memql.events import Bus, Event
from memql.mesh import metrics
from memql.mesh.dedup import Dedup
from memql.mesh.demand import HUB, Demand
from memql.mesh.links.link import Link
from memql.mesh.links.switchboard import Switchboard
from memql.mesh.options import Options
from memql.mesh.peers import Card
from memql.mesh.routing import Decision, Router
from memql.mesh.wire.records import MAX_HOPS, Record, record_of, to_event

__all__ = ["INTERNAL", "Bridge", "Internal"]

log = logging.getLogger(__name__)

INTERNAL: Final = "mesh."
"""What begins the topics that nodes talk to one another under; they reach no bus."""

Internal = Callable[[Link, Record], None]
"""Takes what a peer says under such a topic."""

_KEPT_TOPICS: Final = 8192


class _Way:
    """Where the events of a topic go from this node: by rule (``lines``), and because clients ask (``asking``)."""

    __slots__ = ("asking", "blocked", "demanded", "forward", "internal", "lines", "onward", "receivers")

    def __init__(
        self, topic: str, decision: Decision, own_type: str, lines: Iterable[Link], asking: frozenset[str]
    ) -> None:
        self.internal = topic.startswith(INTERNAL)
        self.blocked = decision.blocked
        self.forward = decision.forward
        self.demanded = not decision.is_for(own_type)
        self.lines = tuple(line for line in lines if decision.forward and _takes(line.peer.type, decision.targets))
        sent = {line.peer.id for line in self.lines}
        self.asking = tuple(line for line in lines if line.peer.id in asking and line.peer.id not in sent)
        self.receivers = len(self.lines) + len(self.asking)
        self.onward: dict[str, tuple[tuple[Link, bool], ...]] = {}

    def onward_from(self, peer_id: str) -> tuple[tuple[Link, bool], ...]:
        """Where the topic's events go that a peer brings, and whether as demanded: most often nowhere."""
        found = self.onward.get(peer_id)
        if found is None:
            both = (*((line, False) for line in self.lines), *((line, True) for line in self.asking))
            found = self.onward[peer_id] = tuple(one for one in both if one[0].peer.id != peer_id)
        return found


class Bridge:
    """The bridge of one node."""

    def __init__(
        self, own: Card, bus: Bus, router: Router, demand: Demand, switchboard: Switchboard, options: Options
    ) -> None:
        self.dedup = Dedup(options.dedup_size)
        self.saw: Callable[[str, int], None] = lambda event_id, log_seq: None
        """Told of every graph event that is known here, by id and log position: what follows the log need not bring
        it."""
        self.left: Callable[[Event], None] = lambda event: None
        """Told of every durable local event that rules send away, as a hint for who is not connected."""
        self.internal: dict[str, Internal] = {}
        """Who takes what under which internal topic."""
        self.sent = 0
        """Events of this node sent to peers, by event and peer."""
        self.relayed = 0
        """Events of others handed on, by event and peer."""
        self.duplicates = 0
        """Copies of events that were here already."""
        self._own = own
        self._own_id = own.id
        self._bus = bus
        self._router = router
        self._demand = demand
        self._switchboard = switchboard
        self._ttl = options.ttl
        self._ways: dict[str, _Way] = {}

    def changed(self) -> None:
        """A stream began or ended, or a demand has changed."""
        self._ways.clear()

    # --- out --------------------------------------------------------------------------------------------------------

    def publish(self, event: Event) -> None:
        """Take a local event, as a tap of the bus."""
        way = self._ways.get(event.topic) or self._find_way(event.topic)
        if way.blocked:
            return
        if event.log_seq is not None or event.kept:
            self._note_durable(event, way)
        if not (way.lines or way.asking):
            return
        try:
            record = record_of(event, self._own_id, self._ttl)
        except TypeError as error:
            metrics.undeliverable.inc()
            log.error("the event %s (%s) has no JSON form and stays here: %s", event.id, event.topic, error)
            return
        for line in way.lines:
            line.offer(record)
        self.sent += way.receivers
        if way.asking:
            demanded = record.as_demanded()
            for line in way.asking:
                line.offer(demanded)

    def tell(self, link: Link, topic: str, payload: bytes, event_id: str, *, ttl: int = 1) -> None:
        """Say something internal to one peer."""
        link.offer(Record(event_id, topic, 0, 0, self._own_id, ttl, 1, None, payload))

    def _note_durable(self, event: Event, way: _Way) -> None:
        self.dedup.first(event.id)
        if event.log_seq is not None:
            self.saw(event.id, event.log_seq)
        if way.forward:
            self.left(event)

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive(self, link: Link, records: Iterable[Record]) -> None:
        """Take what a peer brought."""
        first, ways, own_id, came_from = self.dedup.first, self._ways, self._own_id, link.peer.id
        reaches = self._bus.reaches
        fresh: list[Event] = []
        for record in records:
            way = ways.get(record.topic) or self._find_way(record.topic)
            if way.internal:
                self._take_internal(link, record)
            elif record.origin == own_id:
                self.duplicates += 1
            elif not first(record.id, record.hops):
                self._again(link, record, way)
            elif record.ttl > 0:
                if record.log_seq is not None:
                    self.saw(record.id, record.log_seq)
                if not way.blocked and reaches(record.topic, demanded=way.demanded):
                    # Whether clients asked for it is for the bus to say: the first copy may have come another way.
                    fresh.append(to_event(record, way.demanded))
                if record.ttl > 1 and (onward := way.onward_from(came_from)):
                    self._hand_on(record, onward)
        if fresh:
            self._bus.publish_remote(fresh)

    def _again(self, link: Link, record: Record, way: _Way) -> None:
        """Another copy: handed on if it came a shorter way, because it may get further than the first one."""
        self.duplicates += 1
        if record.ttl > 1 and self.dedup.shorter(record.id, record.hops):
            self._hand_on(record, way.onward_from(link.peer.id))

    def _hand_on(self, record: Record, onward: Iterable[tuple[Link, bool]]) -> None:
        if record.hops >= MAX_HOPS:
            return
        handed_on = record.hand_on()
        for line, demanded in onward:
            if line.peer.id != record.origin:
                line.offer(handed_on.as_demanded() if demanded else handed_on)
                self.relayed += 1

    def _take_internal(self, link: Link, record: Record) -> None:
        taker = self.internal.get(record.topic)
        if taker is None:
            log.debug("%r says something under %s, which means nothing here", link, record.topic)
            return
        try:
            taker(link, record)
        except MemqlError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            log.warning("%r: %s", link, error.message)

    # --- ways -------------------------------------------------------------------------------------------------------

    def _find_way(self, topic: str) -> _Way:
        decision = self._router.decide(topic)
        asking = frozenset() if decision.blocked else self._demand.of(topic)
        way = _Way(topic, decision, self._own.type, self._switchboard.lines.values(), asking)
        if len(self._ways) >= _KEPT_TOPICS:
            self._ways.clear()
        self._ways[topic] = way
        return way


def _takes(node_type: str, targets: frozenset[str]) -> bool:
    """Whether events for these types go to a node of that one: hubs get all of them, to hand them on."""
    return node_type != "identity" and (not targets or node_type in targets or node_type == HUB)
