"""The automations of a process, as one component with a beginning and an end."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from memql.auth import Actor
from memql.automations.batched_claims import BatchedClaims
from memql.automations.by_hand import ByHand
from memql.automations.claims import Claims
from memql.automations.compiled import CompiledAutomation, compile_tree
from memql.automations.dispatcher import Dispatcher, is_stale
from memql.automations.events import RunEvent
from memql.automations.execution import Executor
from memql.automations.guard import Guard
from memql.automations.lanes import Lanes
from memql.automations.leases import Leases
from memql.automations.maintenance import Maintenance
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.automations.placement import Placement, place
from memql.automations.places import Places
from memql.automations.replay import Replay
from memql.automations.runs import Runs
from memql.automations.scheduler import Scheduler
from memql.engine.logic import Runner
from memql.engine.ports import Writer
from memql.errors import Code, MemqlError
from memql.events.bus import Bus, Subscription
from memql.events.cursors import Cursors
from memql.events.event import Event
from memql.events.log import EventLog
from memql.events.masking import SecretMask
from memql.events.outbox import Outbox
from memql.events.sources import LogSource, OutboxSource
from memql.events.topics import root_of
from memql.graph.database import Database
from memql.lang.catalog import Catalog

__all__ = ["Automations"]

_log = structlog.get_logger("memql.automations")

_BUS_CAPACITY: Final = 10_000


class Automations:
    """Runs the automations of a tree: on events, on schedules, and by hand, in the block of :meth:`running`."""

    def __init__(
        self,
        *,
        database: Database,
        bus: Bus,
        runner: Runner,
        writer: Writer,
        executors: Callable[[], Collection[str]],
        node: str,
        options: Options | None = None,
    ) -> None:
        """Automations that do not run yet.

        :param writer: writes the rows of ``@audit``.
        :param executors: the executors of builtins that this node has, which decide what runs here. Asked for every
            tree, first when :meth:`running` begins.
        :param node: the id of this node.
        """
        options = options or Options()
        owner = f"{node}/{uuid.uuid4().hex}"
        self.counts = Counts()
        self.owner = owner
        self._group = anyio.create_task_group()
        self._database = database
        self._bus = bus
        self._options = options
        self._executors = executors
        self._catalog = Catalog(version="")
        self._tree: dict[str, CompiledAutomation] = {}
        self._placement = Placement()
        self._changed = anyio.Event()
        claims = Claims(database, owner=owner, lease=options.lease)
        self._leases = Leases(claims, self.counts, options)
        batched = BatchedClaims(
            claims, self._group.start_soon, most=options.claim_batch, give_back=self._leases.give_back
        )
        guard = Guard(batched, self.counts, options)
        self._cursors = Cursors(database, options.cursor)
        self._places = Places(database, options.cursor)
        executor = Executor(runner, writer, database, bus.publish, options, self.counts, self._automation, self._spawn)
        self._lanes = Lanes(
            self._group.start_soon,
            limit=options.concurrency,
            limit_each=options.concurrency_each,
            pending_each=options.pending_each,
            ahead=options.claim_ahead,
            ahead_most=options.claim_batch,
        )
        self._dispatcher = Dispatcher(
            claims=claims,
            guard=guard,
            leases=self._leases,
            lanes=self._lanes,
            runs=Runs(
                database=database,
                claims=claims,
                batched=batched,
                guard=guard,
                leases=self._leases,
                executor=executor,
                publish=bus.publish,
                passed=self._cursors.passed,
                counts=self.counts,
                options=options,
            ),
            runner=runner,
            counts=self.counts,
            options=options,
        )
        self._scheduler = Scheduler(database, owner, self._dispatcher.fired, self.counts, options)
        self._by_hand = ByHand(self._group.start_soon, executor, self._require)
        outbox = Outbox(database, node)
        sources = (
            LogSource(EventLog(database, SecretMask(lambda: self._catalog)), self._concepts),
            OutboxSource(outbox),
        )
        self._replays = tuple(
            Replay(source, self._cursors, self._dispatcher, self.counts, options) for source in sources
        )
        self._maintenance = Maintenance(
            database, claims, outbox, self._cursors, lambda: self._tree, self.counts, options
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        database: Database,
        bus: Bus,
        runner: Runner,
        writer: Writer,
        catalog: Catalog,
        executors: Callable[[], Collection[str]],
        node: str,
        options: Options | None = None,
    ) -> AsyncIterator[Automations]:
        """New ones, :meth:`running`."""
        self = cls(
            database=database,
            bus=bus,
            runner=runner,
            writer=writer,
            executors=executors,
            node=node,
            options=options,
        )
        async with self.running(catalog):
            yield self

    @asynccontextmanager
    async def running(self, catalog: Catalog) -> AsyncIterator[None]:
        """Start, yield, and stop: no new runs, those under way get ``options.drain`` seconds, the rest is
        given back for other processes to carry on. Once.

        :raises MemqlError: ``UNAVAILABLE`` when the database stays away at the start, and what :meth:`use` raises.
        """
        self.use(catalog)
        for replay in self._replays:
            await self._database.ride_out("the automations", replay.begin)
        announce = partial(self._places.announce, self._executors(), self._placement)
        await self._database.ride_out("the automations", announce)
        async with self._group as group:
            async with anyio.create_task_group() as loops:
                await self._start(loops)
                try:
                    yield
                finally:
                    loops.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._stop()
            group.cancel_scope.cancel()

    def use(self, catalog: Catalog) -> None:
        """Serve another tree; runs under way finish with the one they began with.

        :raises MemqlError: ``UNKNOWN_FUNCTION`` when a step's target is not in the tree; the old one stays.
        """
        tree = compile_tree(catalog)
        placement = place(tree, catalog, self._executors())
        self._catalog = catalog
        self._tree = tree
        self._placement = placement
        self._dispatcher.use(tree, placement)
        self._scheduler.use(tree, placement.runnable)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    @property
    def is_cron_leader(self) -> bool:
        """Whether this process fires schedules now."""
        return self._scheduler.is_leader

    async def run(
        self,
        name: str,
        payload: Mapping[str, Any],
        *,
        actor: Actor,
        concept: str = "",
        topic: str = "",
        timeout: float = 60.0,
    ) -> AsyncIterator[RunEvent]:
        """Run an automation by hand: accepted first, complete last.

        :param topic: the topic of the event it sees; else that of a created node of ``concept``; else its
            trigger's.
        :raises MemqlError: ``UNKNOWN_FUNCTION`` when there is none of that name, ``FORBIDDEN`` when the
            caller may not run it, ``INVALID_ARGUMENT`` when the payload does not fit its arguments,
            ``UNAVAILABLE`` when it needs an executor that this node lacks.
        """
        compiled = self._tree.get(name)
        if compiled is None:
            raise MemqlError(Code.UNKNOWN_FUNCTION, f"there is no enabled automation {name!r}", context=name)
        running = self._by_hand.run(compiled, payload, actor=actor, concept=concept, topic=topic, timeout=timeout)
        async with aclosing(running) as told:
            async for event in told:
                yield event

    async def prune(self) -> int:
        """Drop finished claims past their retention now; gives how many went."""
        return await self._maintenance.prune()

    # --- inside
    # ------------------------------------------------------------------------------------------------------

    def _automation(self, key: str) -> CompiledAutomation | None:
        return self._tree.get(key)

    def _require(self, name: str) -> None:
        self._placement.require(name)

    async def _spawn(self, key: str, event: Event) -> None:
        await self._dispatcher.spawn(key, event)

    async def _start(self, loops: TaskGroup) -> None:
        await loops.start(self._listen, name="automations: bus")
        for replay in self._replays:
            loops.start_soon(replay.follow, name="automations: replay")
        loops.start_soon(self._leases.keep, name="automations: leases")
        loops.start_soon(self._dispatcher.take_over, name="automations: take-over")
        loops.start_soon(self._scheduler.run, name="automations: cron")
        loops.start_soon(self._maintenance.run, name="automations: maintenance")

    async def _stop(self) -> None:
        with anyio.move_on_after(self._options.drain):
            await self._lanes.drain()
        # A database that is away holds nobody up: the leases run out, and the next process reads a little more.
        with anyio.move_on_after(self._options.last_words) as writing:
            await self._leases.release()
            for replay in self._replays:
                await self._save(replay)
        if writing.cancelled_caught:
            _log.warning("automations_stopped_unsaved", seconds=self._options.last_words)

    async def _save(self, replay: Replay) -> None:
        try:
            await replay.save()
        except MemqlError as error:
            _log.warning("automation_cursor_not_saved", error=error.message)

    async def _listen(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """The fast path. A tree that changes brings other patterns; what is queued for the old ones is not lost."""
        while True:
            changed = self._changed
            runnable = self._placement.runnable.values()
            patterns = [one.pattern.text for one in runnable if one.pattern is not None]
            if patterns:
                async with self._bus.subscribe(patterns, capacity=_BUS_CAPACITY, name="automations") as subscription:
                    task_status.started()
                    await self._hear_all(subscription, changed)
                if not changed.is_set():
                    return
            else:
                task_status.started()
                await changed.wait()
            task_status = anyio.TASK_STATUS_IGNORED

    async def _hear_all(self, subscription: Subscription, changed: anyio.Event) -> None:
        """Everything until the bus closes, or until the tree changes and the queue is empty."""
        async with anyio.create_task_group() as group:
            group.start_soon(_close_when, changed, subscription)
            async for delivery in subscription:
                if delivery.gap_before:
                    self.counts.add("events_dropped")
                await self._hear(delivery.event)
            group.cancel_scope.cancel()

    async def _hear(self, event: Event) -> None:
        # What the runs of another node tell is for those who watch that node.
        if event.is_remote and root_of(event.topic) == "automation":
            return
        # A process that slept finds old events in its queue. Their claims may be forgotten; the log knows
        # better.
        if not is_stale(event, self._options.retention / 2):
            await self._dispatcher.dispatch(event)

    def _concepts(self) -> Collection[str] | None:
        """The concepts whose log rows may trigger anything; None for all."""
        named: set[str] = set()
        for one in self._placement.runnable.values():
            concepts = one.log_concepts
            if concepts is None:
                return None
            named |= concepts
        return named


async def _close_when(changed: anyio.Event, subscription: Subscription) -> None:
    await changed.wait()
    subscription.close()
