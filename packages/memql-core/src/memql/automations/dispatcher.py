"""From an event to runs: which automations it triggers here, and that each sees it once."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import anyio
import structlog

from memql.automations.claims import Claim, Claims
from memql.automations.compiled import CompiledAutomation
from memql.automations.execution import context_for
from memql.automations.guard import Guard
from memql.automations.lanes import Lanes
from memql.automations.leases import Leases
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.automations.placement import Placement
from memql.automations.runs import Runs, Sighting, reached, subject_of
from memql.automations.stored_event import decode_event
from memql.engine.context import IdSequence
from memql.engine.logic import Runner
from memql.errors import MemqlError, internal_error
from memql.events.event import Event
from memql.ids import new_id

__all__ = ["Dispatcher", "Hold", "is_stale"]

_log = structlog.get_logger("memql.automations")

_REMEMBERED: Final = 16_384

Hold: TypeAlias = Callable[[], Callable[[], None]]
"""Marks an event as not decided yet; calling the result decides it."""


class Dispatcher:
    """Dispatches the events of one process to the automations that run here."""

    def __init__(
        self,
        *,
        claims: Claims,
        guard: Guard,
        leases: Leases,
        lanes: Lanes,
        runs: Runs,
        runner: Runner,
        counts: Counts,
        options: Options,
    ) -> None:
        self._claims = claims
        self._guard = guard
        self._leases = leases
        self._lanes = lanes
        self._runs = runs
        self._runner = runner
        self._counts = counts
        self._options = options
        self._tree: dict[str, CompiledAutomation] = {}
        self._placement = Placement()
        self._by_topic: dict[str, tuple[CompiledAutomation, ...]] = {}
        self._seen: OrderedDict[tuple[str, str], Sighting] = OrderedDict()
        self._storms = _Storms(options.storm_runs, options.storm_window)

    def use(self, tree: dict[str, CompiledAutomation], placement: Placement) -> None:
        """Serve another tree from the next event on; runs under way finish with the one they began with."""
        self._tree = tree
        self._placement = placement
        self._by_topic.clear()

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
        """Start a run of an ``@async`` automation; once this returns, it is claimed and will run: here, or on a node
        that has what it needs.

        :raises MemqlError: ``UNAVAILABLE`` when it can be neither claimed nor run unguarded.
        """
        compiled = self._tree[key]
        subject = subject_of(compiled, event)
        if key in self._placement.missing:
            await self._claims.leave(subject)
            self._counts.add("left_to_others")
            return
        admitted = await self._guard.admit(subject)
        if admitted is not None:
            await self._lanes.put(compiled.name, self._runs.admitted(compiled, event, admitted))

    async def fired(self, claim: Claim) -> None:
        """Queue the run of a claim made elsewhere in this process: a schedule that fired, or a take-over."""
        compiled = self._placement.runnable.get(claim.name)
        if compiled is None:
            await self._leases.give_back([claim])
            return
        await self._lanes.put(compiled.name, self._runs.admitted(compiled, decode_event(claim.event), claim))

    async def take_over(self) -> None:
        """Look for runs whose process died, or that others have left, for ever, and carry them on."""
        while True:
            await anyio.sleep(self._options.take_over_every)
            try:
                if self._lanes.free > 0 and self._placement.runnable:
                    await self._carry_on(await self._claims.take_over(self._placement.runnable, self._lanes.free))
            except MemqlError as error:
                _log.warning("automation_take_over_failed", error=error.message)

    async def _carry_on(self, expired: Sequence[Claim]) -> None:
        for claim in expired:
            if await self._guard.may_carry_on(claim):
                await self.fired(claim)

    def _triggered(self, topic: str) -> tuple[CompiledAutomation, ...]:
        found = self._by_topic.get(topic)
        if found is None:
            found = tuple(
                one
                for one in self._placement.runnable.values()
                if one.pattern is not None and one.pattern.matches(topic)
            )
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
        sighting = Sighting()
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
        await self._lanes.put(compiled.name, self._runs.triggered(compiled, event, sighting))

    def _remember(self, key: tuple[str, str], sighting: Sighting) -> None:
        self._seen[key] = sighting
        while len(self._seen) > _REMEMBERED and next(iter(self._seen.values())).decided:
            self._seen.popitem(last=False)

    async def _wanted(self, compiled: CompiledAutomation, event: Event) -> bool:
        if event.cause and event.cause.count(">") + 1 >= self._options.chain:
            self._counts.add("loops_stopped")
            _log.warning(
                "automation_loop_stopped",
                code="AUTOMATION_LOOP",
                automation=compiled.name,
                chain=event.cause,
                hint="automations trigger one another without end; add a @filter that ends it",
            )
            return False
        return compiled.takes_all or await self._admitted(compiled, event)

    async def _admitted(self, compiled: CompiledAutomation, event: Event) -> bool:
        """What its arguments and its ``@filter`` say."""
        ctx = context_for(compiled, event, IdSequence(()), datetime.now(UTC))
        needs = compiled.filter is not None and compiled.filter.needs_tables
        try:
            tables = await reached(partial(self._runner.tables, ctx), self._options) if needs else None
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


def is_stale(event: Event, age: float) -> bool:
    """Whether an event is older than ``age`` seconds: this process slept, and the log has the event if it
    matters."""
    return event.timestamp < datetime.now(UTC) - timedelta(seconds=age)
