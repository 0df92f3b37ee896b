"""From an event to runs: which automations it triggers, that each sees it once, and who of all processes runs
it."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, TypeVar

import anyio
import structlog

from memql.automations.claims import Claim, ClaimLostError, Claims, Subject
from memql.automations.compiled import CompiledAutomation
from memql.automations.execution import Execution, Executor, context_for
from memql.automations.guard import UNREACHABLE, Guard, Unguarded
from memql.automations.journal import RunJournal
from memql.automations.lanes import Lanes
from memql.automations.leases import Leases
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.automations.stored_event import decode_event, encode_event
from memql.automations.unclaimed import ClaimNeededError, UnclaimedJournal
from memql.engine.context import IdSequence
from memql.engine.logic import Runner
from memql.engine.ports import Writer
from memql.errors import MemqlError, internal_error
from memql.events.event import Event
from memql.graph.database import Database
from memql.ids import derived_id, new_id

__all__ = ["Dispatcher", "Hold"]

_log = structlog.get_logger("memql.automations")

_REMEMBERED: Final = 16_384
_COMPLETION_ATTEMPTS: Final = 5

T = TypeVar("T")

Hold: TypeAlias = Callable[[], Callable[[], None]]
"""Marks an event as not decided yet; calling the result decides it."""


class _Sighting:
    """What this process knows about one (automation, event): decided, and who waits for that."""

    __slots__ = ("decided", "waiting")

    def __init__(self) -> None:
        self.decided = False
        self.waiting: list[Callable[[], None]] = []

    def decide(self) -> None:
        self.decided = True
        waiting, self.waiting = self.waiting, []
        for told in waiting:
            told()


class Dispatcher:
    """Dispatches the events of one process."""

    def __init__(
        self,
        *,
        database: Database,
        claims: Claims,
        guard: Guard,
        leases: Leases,
        lanes: Lanes,
        runner: Runner,
        writer: Writer,
        publish: Callable[[Event], None],
        counts: Counts,
        options: Options,
    ) -> None:
        self._database = database
        self._claims = claims
        self._guard = guard
        self._leases = leases
        self._lanes = lanes
        self._runner = runner
        self._publish = publish
        self._counts = counts
        self._options = options
        self._tree: dict[str, CompiledAutomation] = {}
        self._by_topic: dict[str, tuple[CompiledAutomation, ...]] = {}
        self._seen: OrderedDict[tuple[str, str], _Sighting] = OrderedDict()
        self._storms = _Storms(options.storm_runs, options.storm_window)
        self.executor = Executor(runner, writer, database, publish, options, self.automation, self.spawn)

    def use(self, tree: dict[str, CompiledAutomation]) -> None:
        """Serve another tree from the next event on; runs under way finish with the one they began with."""
        self._tree = tree
        self._by_topic.clear()

    def automation(self, key: str) -> CompiledAutomation | None:
        """The automation of that key."""
        return self._tree.get(key)

    # --- events
    # ------------------------------------------------------------------------------------------------------

    async def dispatch(self, event: Event, hold: Hold | None = None) -> None:
        """Queue a run of every automation that the event triggers and that has not seen it; waits for room.

        :param hold: called once per run that is not decided yet; what it gives is called when it is: claimed
            here, claimed elsewhere, or not wanted. A reader's cursor stays below the event until then.
        """
        for compiled in self._triggered(event.topic):
            await self._trigger(compiled, event, hold)

    async def spawn(self, key: str, event: Event) -> None:
        """Start a run of an ``@async`` automation; once this returns, it is claimed and will run.

        :raises MemqlError: ``UNAVAILABLE`` when it can be neither claimed nor run unguarded.
        """
        compiled = self._tree[key]
        claim = await self._guard.admit(_subject(compiled, event))
        if claim is not None:
            await self._put_admitted(compiled, event, claim)

    async def fired(self, claim: Claim) -> None:
        """Queue the run of a claim made elsewhere in this process: a schedule that fired, or a take-over."""
        compiled = self._tree.get(claim.name)
        if compiled is None:
            await self._claims.release(claim)
            return
        await self._put_admitted(compiled, decode_event(claim.event), claim)

    async def take_over(self) -> None:
        """Look for runs whose process died, for ever, and carry them on."""
        while True:
            await anyio.sleep(self._options.take_over_every)
            try:
                if self._lanes.free > 0:
                    await self._carry_on(await self._claims.take_over(self._tree, self._lanes.free))
            except MemqlError as error:
                _log.warning("automation_take_over_failed", error=error.message)

    async def _carry_on(self, expired: Sequence[Claim]) -> None:
        for claim in expired:
            if await self._guard.may_carry_on(claim):
                await self.fired(claim)

    def _triggered(self, topic: str) -> tuple[CompiledAutomation, ...]:
        found = self._by_topic.get(topic)
        if found is None:
            found = tuple(one for one in self._tree.values() if one.pattern is not None and one.pattern.matches(topic))
            if len(self._by_topic) >= _REMEMBERED:
                self._by_topic.clear()
            self._by_topic[topic] = found
        return found

    async def _trigger(self, compiled: CompiledAutomation, event: Event, hold: Hold | None) -> None:
        key = (compiled.name, event.id)
        sighting = self._seen.get(key)
        if sighting is not None:
            if hold is not None and not sighting.decided:
                sighting.waiting.append(hold())
            return
        sighting = _Sighting()
        self._remember(key, sighting)
        if hold is not None:
            sighting.waiting.append(hold())
        if not await self._wanted(compiled, event):
            sighting.decide()
            return
        if self._storms.is_storm(compiled.name):
            self._counts.add("storms")
            _log.warning(
                "automation_storm",
                automation=compiled.name,
                runs=self._options.storm_runs,
                within_seconds=self._options.storm_window,
                hint="narrow its trigger or @filter",
            )
        await self._lanes.put(compiled.name, partial(self._admit_and_run, compiled, event, sighting))

    def _remember(self, key: tuple[str, str], sighting: _Sighting) -> None:
        self._seen[key] = sighting
        while len(self._seen) > _REMEMBERED and next(iter(self._seen.values())).decided:
            self._seen.popitem(last=False)

    async def _wanted(self, compiled: CompiledAutomation, event: Event) -> bool:
        if event.cause.count(">") + bool(event.cause) >= self._options.chain:
            self._counts.add("loops_stopped")
            _log.warning(
                "automation_loop_stopped",
                code="AUTOMATION_LOOP",
                automation=compiled.name,
                chain=event.cause,
                hint="automations trigger one another without end; add a @filter that ends it",
            )
            return False
        ctx = context_for(compiled, event, IdSequence(()), datetime.now(UTC))
        needs = compiled.filter is not None and compiled.filter.needs_tables
        tables = await self._reached(partial(self._runner.tables, ctx)) if needs else None
        try:
            return compiled.admits(event, ctx, tables)
        except MemqlError as error:
            self._refuse(compiled, event, error)
            return False
        except Exception as error:
            _log.exception("automation_filter_crashed", automation=compiled.name, topic=event.topic)
            self._refuse(compiled, event, internal_error(error, new_id()))
            return False

    def _refuse(self, compiled: CompiledAutomation, event: Event, error: MemqlError) -> None:
        self._counts.add("refused_events")
        _log.warning(
            "automation_event_refused", automation=compiled.name, topic=event.topic, event_id=event.id, error=str(error)
        )

    # --- runs --------------------------------------------------------------------------------------------------------

    async def _admit_and_run(self, compiled: CompiledAutomation, event: Event, sighting: _Sighting) -> None:
        before = UnclaimedJournal()
        try:
            admitted = await self._admit(compiled, event)
            claim = await self._claimed(compiled, event, admitted, before)
        except Exception:
            sighting.decide()
            raise
        sighting.decide()
        if claim is not None:
            await self._run(compiled, event, claim, before)

    async def _admit(self, compiled: CompiledAutomation, event: Event) -> Claim | Unguarded | None:
        """What the guard says; while it cannot, the lane stands still and the event stays undecided."""
        return await self._reached(partial(self._guard.admit, _subject(compiled, event)))

    async def _reached(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the database answers."""
        wait = self._options.retry_delay
        while True:
            try:
                return await ask()
            except MemqlError as error:
                if error.code not in UNREACHABLE:
                    raise
            await anyio.sleep(wait)
            wait = min(wait * 2, self._options.retry_delay_most)

    async def _put_admitted(self, compiled: CompiledAutomation, event: Event, admitted: Claim | Unguarded) -> None:
        """Queue a run that is claimed already; its lease is kept from now on."""
        if isinstance(admitted, Unguarded):
            await self._lanes.put(compiled.name, partial(self._run_unguarded, compiled, event, admitted))
            return
        still_held = self._leases.keep_waiting(admitted)

        async def run() -> None:
            if still_held():
                await self._run(compiled, event, admitted)

        await self._lanes.put(compiled.name, run)

    async def _run_unguarded(self, compiled: CompiledAutomation, event: Event, admitted: Unguarded) -> None:
        before = UnclaimedJournal()
        claim = await self._claimed(compiled, event, admitted, before)
        if claim is not None:
            await self._run(compiled, event, claim, before)

    async def _claimed(
        self, compiled: CompiledAutomation, event: Event, admitted: Claim | Unguarded | None, before: UnclaimedJournal
    ) -> Claim | None:
        """The claim to run under, if there is one. A run without goes ahead until it needs one, and waits for it."""
        if not isinstance(admitted, Unguarded):
            return admitted
        run_id = derived_id("run", compiled.name, event.id)
        unclaimed = Execution(compiled=compiled, event=event, run_id=run_id, now=datetime.now(UTC), journal=before)
        try:
            _, error = await self.executor.execute(unclaimed)
        except ClaimNeededError:
            return await self._reached(partial(self._guard.claim, _subject(compiled, event)))
        self._count(error)
        return None

    async def _run(
        self, compiled: CompiledAutomation, event: Event, claim: Claim, before: UnclaimedJournal | None = None
    ) -> None:
        done = () if before is None else before.entries
        durable = Execution(
            compiled=compiled,
            event=event,
            run_id=derived_id("run", compiled.name, event.id),
            now=claim.started_at,
            journal=RunJournal(self._database, self._claims, claim, self._publish, done),
            resume=claim.is_take_over,
        )
        with self._leases.hold(claim):
            try:
                _, error = await self.executor.execute(durable)
            except ClaimLostError as lost:
                self._counts.add("claims_lost")
                _log.warning("automation_claim_lost", automation=compiled.name, error=lost.message)
                return
            except MemqlError as away:
                if away.code not in UNREACHABLE:
                    raise
                # The lease runs out, and whoever reaches the database carries the run on.
                _log.warning("automation_interrupted", automation=compiled.name, error=away.message)
                return
            self._count(error)
            await self._finish(claim, error)

    def _count(self, error: MemqlError | None) -> None:
        self._counts.add("runs_completed" if error is None else "runs_failed")

    async def _finish(self, claim: Claim, error: MemqlError | None) -> None:
        """Mark the run done. If that cannot be written, the lease runs out and somebody repeats the run,
        which then finds everything in its journal and does nothing twice."""
        for attempt in range(_COMPLETION_ATTEMPTS):
            try:
                outcome, text = ("completed", "") if error is None else ("failed", str(error))
                await self._claims.complete(claim, outcome, text)
                return
            except MemqlError as failure:
                _log.warning("automation_completion_failed", automation=claim.name, error=failure.message)
                await anyio.sleep(self._options.retry_delay * 2**attempt)


class _Storms:
    """Notices automations that are triggered far more often than anyone means them to be; tells once per
    window."""

    def __init__(self, runs: int, window: float) -> None:
        self._runs = runs
        self._window = window
        self._times: dict[str, deque[float]] = {}
        self._told: dict[str, float] = {}

    def is_storm(self, name: str) -> bool:
        now = time.monotonic()
        times = self._times.setdefault(name, deque(maxlen=self._runs))
        times.append(now)
        if len(times) < self._runs or times[0] < now - self._window:
            return False
        if self._told.get(name, float("-inf")) > now - self._window:
            return False
        self._told[name] = now
        return True


def _subject(compiled: CompiledAutomation, event: Event) -> Subject:
    return Subject(name=compiled.name, key=event.id, event=encode_event(event))


def is_stale(event: Event, age: float) -> bool:
    """Whether an event is older than ``age`` seconds: this process slept, and the log has the event if it
    matters."""
    return event.timestamp < datetime.now(UTC) - timedelta(seconds=age)
