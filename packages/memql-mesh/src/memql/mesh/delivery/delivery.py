"""Delivery to one node: the log and the outbox behind cursors, hints, and the canary, as one part."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

import anyio

from memql.errors import MemqlError
from memql.events import Bus, Event
from memql.events.cursors import Cursors
from memql.events.log import EventLog
from memql.events.masking import SecretMask
from memql.events.outbox import Outbox
from memql.events.sources import LogSource, OutboxSource
from memql.events.topics import node_topic
from memql.graph.database import Database
from memql.lang.catalog import Catalog
from memql.mesh.dedup import Dedup
from memql.mesh.delivery.follower import Follower
from memql.mesh.delivery.hints import Hint, HintListener, HintSender
from memql.mesh.options import Options
from memql.mesh.peers import Card
from memql.mesh.routing import Router

__all__ = ["Delivery"]

log = logging.getLogger(__name__)

_LONG_GONE: Final = 2.0
_ACTIONS: Final = ("created", "updated", "deleted")


class Delivery:
    """See the module.

    :param dedup: what is known here, whichever way it came.
    :param unreached: whether any node is there that no stream of this one reaches.
    """

    def __init__(
        self,
        own: Card,
        database: Database,
        bus: Bus,
        catalog: Callable[[], Catalog],
        router: Router,
        options: Options,
        *,
        dedup: Dedup,
        unreached: Callable[[], bool],
    ) -> None:
        self._own = own
        self._bus = bus
        self._catalog = catalog
        self._router = router
        self._options = options
        self._dedup = dedup
        self._wanted: tuple[Catalog | None, frozenset[str]] = (None, frozenset())
        cursors = self._cursors = Cursors(database, own.id)
        log = LogSource(EventLog(database, SecretMask(catalog)), self._concepts)
        outbox = OutboxSource(Outbox(database, own.id))
        self.log = Follower(log, cursors, options, self._deliver, dedup.__contains__)
        self.outbox = Follower(outbox, cursors, options, self._deliver, dedup.__contains__)
        self.hints = HintSender(database, own.id, options, unreached)
        self.listener = HintListener(database, own.id, self._heard, self.hurry)
        self._hints_heard: list[tuple[float, Hint]] = []
        self._hinted = anyio.Event()

    @property
    def followers(self) -> Iterable[Follower]:
        """What follows each source."""
        return self.log, self.outbox

    def behind(self) -> float:
        """Seconds for which events may wait undelivered in the database."""
        return max(follower.behind() for follower in self.followers)

    def saw(self, event_id: str, log_seq: int) -> None:
        """A graph event came over a stream, or was published here."""
        self.log.saw(event_id, log_seq)

    def hurry(self) -> None:
        """Something may be missing: look at once."""
        for follower in self.followers:
            follower.hurry()

    async def begin(self) -> None:
        """Find or make the cursors; before this the node is not ready.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        for follower in self.followers:
            await follower.begin()

    async def run(self) -> None:
        """Everything, for ever."""
        async with anyio.create_task_group() as tasks:
            for follower in self.followers:
                tasks.start_soon(follower.follow, name=f"mesh: {follower.source.name}")
            tasks.start_soon(self.hints.run, name="mesh: hints")
            tasks.start_soon(self.listener.run, name="mesh: hint listener")
            tasks.start_soon(self._follow_hints, name="mesh: hints heard")
            tasks.start_soon(self._forget_gone, name="mesh: cursors of nodes that are gone")

    async def save(self) -> None:
        """Write the cursors down, at the end.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        for follower in self.followers:
            await follower.save()

    async def _forget_gone(self) -> None:
        """Drop the cursors of nodes that are gone, long after what they missed was dropped."""
        if self._options.retention <= 0:
            return
        await anyio.sleep(self._options.prune_first)
        while True:
            try:
                await self._cursors.forget(_LONG_GONE * self._options.retention)
            except MemqlError as error:
                log.warning("the cursors of nodes that are gone cannot be dropped now: %s", error.message)
            await anyio.sleep(self._options.prune_every)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _deliver(self, event: Event) -> bool:
        decision = self._router.decide(event.topic)
        if decision.blocked or not self._dedup.first(event.id):
            return False
        mine = decision.is_for(self._own.type)
        if not mine:
            event.demanded = True
        self._bus.publish(event)
        return mine

    def _concepts(self) -> Collection[str]:
        """The concepts of which rules bring this node any event."""
        catalog = self._catalog()
        if self._wanted[0] is not catalog:
            self._wanted = (catalog, frozenset(key for key in catalog.concepts if self._is_wanted(key)))
        return self._wanted[1]

    def _is_wanted(self, concept: str) -> bool:
        decisions = (self._router.decide(node_topic(action, concept)) for action in _ACTIONS)
        return any(decision.is_for(self._own.type) for decision in decisions)

    def _heard(self, hint: Hint) -> None:
        self._hints_heard.append((time.monotonic() + self._options.hint_patience, hint))
        self._hinted.set()

    async def _follow_hints(self) -> None:
        """A hint without the push that it announces: look into the database."""
        while True:
            await self._hinted.wait()
            self._hinted = anyio.Event()
            while self._hints_heard:
                due = self._hints_heard[-1][0]
                await anyio.sleep(max(0.0, due - time.monotonic()))
                heard, self._hints_heard = self._hints_heard, []
                if not self.log.knows(max(hint.log_seq for _, hint in heard)):
                    self.log.hurry()
                if any(hint.outbox for _, hint in heard):
                    self.outbox.hurry()
