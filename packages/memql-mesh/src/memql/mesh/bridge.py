"""The event bridge: from the bus of this node to those of its peers, and back (spec "Event bridging across the mesh",
"Push").

What the bus of this node publishes first goes to every peer that a rule names, and to every peer whose clients ask for
it. What a peer brings is published here if it is for this node, and handed on once. The bridge is the fast path: what
it loses is found in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
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


class Bridge:
    """The bridge of one node."""

    def __init__(
        self,
        own: Card,
        bus: Bus,
        router: Router,
        demand: Demand,
        switchboard: Switchboard,
        options: Options,
    ) -> None:
        self.dedup = Dedup(options.dedup_size)
        self.saw: Callable[[str, int | None], None] = lambda event_id, log_seq: None
        """Told of every event that is known here, by id and log position: what follows the log need not bring it."""
        self.left: Callable[[Event], None] = lambda event: None
        """Told of every local event that rules send away, as a hint for who is not connected."""
        self.internal: dict[str, Internal] = {}
        """Who takes what under which internal topic."""
        self._own = own
        self._bus = bus
        self._router = router
        self._demand = demand
        self._switchboard = switchboard
        self._ttl = options.ttl
        self._known_lines: Mapping[str, Link] = {}
        self._by_targets: dict[frozenset[str], tuple[Link, ...]] = {}

    # --- out --------------------------------------------------------------------------------------------------------

    def publish(self, event: Event) -> None:
        """Take an event from the bus of this node, as a tap of it."""
        if event.origin:
            return
        decision = self._router.decide(event.topic)
        if decision.blocked:
            return
        self.dedup.first(event.id)
        self.saw(event.id, event.log_seq)
        try:
            self._send(event, decision)
        except TypeError as error:
            metrics.undeliverable.inc()
            log.error("the event %s (%s) has no JSON form and stays here: %s", event.id, event.topic, error)
        if decision.forward:
            self.left(event)

    def tell(self, link: Link, topic: str, payload: bytes, event_id: str, *, ttl: int = 1) -> None:
        """Say something internal to one peer."""
        link.offer(Record(event_id, topic, 0, 0, self._own.id, ttl, 1, None, payload))

    def _send(self, event: Event, decision: Decision) -> None:
        lines = self._lines(decision.targets) if decision.forward else ()
        if lines:
            record = record_of(event, node=self._own.id, ttl=self._ttl)
            for line in lines:
                line.offer(record)
            metrics.events_out.inc(len(lines))
        asking = self._demand.of(event.topic)
        if asking:
            self._send_demanded(record_of(event, node=self._own.id, ttl=self._ttl, demanded=True), asking, lines)

    def _send_demanded(self, record: Record, asking: Iterable[str], sent: Iterable[Link], but: str = "") -> None:
        done = {line.peer.id for line in sent}
        for peer_id in asking:
            line = self._switchboard.lines.get(peer_id)
            if line is not None and peer_id not in done and peer_id not in {but, record.origin}:
                line.offer(record)
                metrics.events_out.inc()

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive(self, link: Link, records: Iterable[Record]) -> None:
        """Take what a peer brought."""
        first, own_type = self.dedup.first, self._own.type
        for record in records:
            if record.topic.startswith(INTERNAL):
                self._take_internal(link, record)
            elif not first(record.id, record.hops):
                self._again(link, record)
            elif record.ttl > 0 and record.origin != self._own.id:
                decision = self._router.decide(record.topic)
                self.saw(record.id, record.log_seq)
                if not decision.blocked:
                    # Whether it was demanded is for the bus to say: the first copy may have come another way.
                    self._bus.publish(to_event(record, demanded=not decision.is_for(own_type)))
                if record.ttl > 1:
                    self._hand_on(link, record, decision)

    def _again(self, link: Link, record: Record) -> None:
        """Another copy: handed on if it came a shorter way, because it may get further than the first one."""
        metrics.duplicates.inc()
        if record.ttl > 1 and self.dedup.shorter(record.id, record.hops):
            self._hand_on(link, record, self._router.decide(record.topic))

    def _hand_on(self, link: Link, record: Record, decision: Decision) -> None:
        if record.hops >= MAX_HOPS or decision.blocked:
            return
        lines: tuple[Link, ...] = ()
        if decision.forward:
            lines = self._lines(decision.targets)
            handed_on = record.handed_on(demanded=False)
            for line in lines:
                if line is not link and line.peer.id not in {link.peer.id, record.origin}:
                    line.offer(handed_on)
                    metrics.events_relayed.inc()
        asking = self._demand.of(record.topic)
        if asking:
            self._send_demanded(record.handed_on(demanded=True), asking, lines, but=link.peer.id)

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

    # --- lines ------------------------------------------------------------------------------------------------------

    def _lines(self, targets: frozenset[str]) -> tuple[Link, ...]:
        """The streams that carry events for these types of node; hubs are always among them, to hand them on."""
        if self._switchboard.lines is not self._known_lines:
            self._known_lines = self._switchboard.lines
            self._by_targets.clear()
        known = self._by_targets.get(targets)
        if known is None:
            known = self._by_targets[targets] = tuple(
                line for line in self._known_lines.values() if _takes(line.peer.type, targets)
            )
        return known


def _takes(node_type: str, targets: frozenset[str]) -> bool:
    return node_type != "identity" and (not targets or node_type in targets or node_type == HUB)
