"""The runs of a process as jobs of its lanes: admitted by the guard, carried out under a lease, marked as done."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import anyio
import structlog

from memql.automations.claims import Claim, ClaimLostError, Claims, Subject
from memql.automations.compiled import CompiledAutomation
from memql.automations.execution import Execution, Executor
from memql.automations.guard import Claiming, Guard, Unguarded
from memql.automations.journal import RunJournal
from memql.automations.leases import Lease, Leases
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.automations.pace import Pace
from memql.automations.stored_event import encode_event
from memql.automations.unclaimed import ClaimNeededError, UnclaimedJournal
from memql.errors import MemqlError
from memql.events.event import Event
from memql.graph.database import Database
from memql.graph.failures import UNREACHABLE
from memql.ids import derived_id

__all__ = ["Run", "Runs", "Sighting", "reached", "subject_of"]

_log = structlog.get_logger("memql.automations")

_COMPLETION_ATTEMPTS: Final = 5

T = TypeVar("T")


class Sighting:
    """What this process knows about one (automation, event): decided, and who waits for that."""

    __slots__ = ("decided", "waiting")

    def __init__(self) -> None:
        self.decided = False
        self.waiting: list[Callable[[], None]] = []

    def decide(self) -> None:
        """It is claimed, here or elsewhere, or not wanted."""
        self.decided = True
        waiting, self.waiting = self.waiting, []
        for told in waiting:
            told()


class Runs:
    """What the runs of a process share.

    :param passed: whether other processes of this role have decided about an event.
    """

    def __init__(
        self,
        *,
        database: Database,
        claims: Claims,
        batched: Claiming,
        guard: Guard,
        leases: Leases,
        executor: Executor,
        publish: Callable[[Event], None],
        passed: Callable[[Event], Awaitable[bool]],
        counts: Counts,
        options: Options,
    ) -> None:
        self.database = database
        self.claims = claims
        self.batched = batched
        self.guard = guard
        self.leases = leases
        self.executor = executor
        self.publish = publish
        self.passed = passed
        self.counts = counts
        self.options = options
        self.pace = Pace()

    def triggered(self, compiled: CompiledAutomation, event: Event, sighting: Sighting) -> Run:
        """A run that asks the guard when its turn comes near."""
        return _TriggeredRun(self, compiled, event, sighting)

    def admitted(self, compiled: CompiledAutomation, event: Event, admitted: Claim | Unguarded) -> Run:
        """A run that is claimed already; its lease is kept from now on."""
        run = Run(self, compiled, event)
        run.begin(admitted)
        return run


class Run:
    """One run: a job of a lane."""

    __slots__ = ("_before", "_compiled", "_error", "_event", "_lease", "_over", "_runs")

    def __init__(self, runs: Runs, compiled: CompiledAutomation, event: Event) -> None:
        """Use :class:`Runs`."""
        self._runs = runs
        self._compiled = compiled
        self._event = event
        self._before = UnclaimedJournal()
        self._lease: Lease | None = None
        self._over = False
        self._error: MemqlError | None = None

    def begin(self, admitted: Claim | Unguarded) -> None:
        """Hold the claim, if there is one."""
        if isinstance(admitted, Claim):
            self._lease = self._runs.leases.hold(admitted)

    async def admit(self) -> bool:
        """Whether the claim is still held."""
        return self._lease is None or not self._lease.lost

    async def run(self) -> None:
        """Carry it out; without a claim until it needs one."""
        if self._lease is None:
            await self._unclaimed()
        if self._lease is not None and not self._lease.lost:
            await self._under(self._lease)

    async def settle(self) -> None:
        """Mark the run done. If that cannot be written, the lease runs out and somebody repeats the run,
        which then finds everything in its journal and does nothing twice."""
        lease = self._lease
        if lease is None:
            return
        try:
            if self._over:
                await self._complete(lease)
        finally:
            lease.end()

    async def _put_off(self, claim: Claim) -> bool:
        """Whether the run has to wait for its turn under ``@rateLimit``; its claim keeps it until then."""
        runs, limit = self._runs, self._compiled.automation.annotations.rate_limit
        if limit is None or claim.is_take_over or self._before.entries:
            return False
        wait = runs.pace.wait(self._compiled.name, claim.key, limit)
        if wait > 0:
            runs.counts.add("deferred")
            await reached(partial(runs.claims.defer, claim, wait), runs.options)
        return wait > 0

    async def _unclaimed(self) -> None:
        """Go ahead without a claim; wait for it where the run needs it, if another process has not taken it."""
        runs = self._runs
        try:
            await self._execute(datetime.now(UTC), self._before)
        except ClaimNeededError:
            claim = await reached(partial(runs.guard.claim, subject_of(self._compiled, self._event)), runs.options)
            if claim is not None:
                self.begin(claim)

    async def _under(self, lease: Lease) -> None:
        runs, claim = self._runs, lease.claim
        if await self._put_off(claim):
            return
        journal = RunJournal(runs.database, runs.claims, claim, runs.publish, self._before.entries)
        try:
            with lease:
                await self._execute(claim.started_at, journal, resume=claim.is_take_over)
        except ClaimLostError:
            lease.lose()
        except MemqlError as away:
            lease.end()
            if away.code not in UNREACHABLE:
                raise
            # The lease runs out, and whoever reaches the database carries the run on.
            _log.warning("automation_interrupted", automation=claim.name, error=away.message)
        except BaseException:
            lease.end()
            raise

    async def _execute(self, now: datetime, journal: RunJournal | UnclaimedJournal, *, resume: bool = False) -> None:
        execution = Execution(
            compiled=self._compiled,
            event=self._event,
            run_id=derived_id("run", self._compiled.name, self._event.id),
            now=now,
            journal=journal,
            resume=resume,
        )
        _, self._error = await self._runs.executor.execute(execution)
        self._over = True
        self._runs.counts.add("runs_completed" if self._error is None else "runs_failed")

    async def _complete(self, lease: Lease) -> None:
        runs, error = self._runs, self._error
        outcome, text = ("completed", "") if error is None else ("failed", str(error))
        lease.ending = True
        for attempt in range(_COMPLETION_ATTEMPTS):
            try:
                done = await runs.batched.complete(lease.claim, outcome, text)
                # After a failure it may be that the first try was written, and only its answer did not come.
                if not done and attempt == 0:
                    lease.lose()
                return
            except MemqlError as failure:
                _log.warning("automation_completion_failed", automation=lease.claim.name, error=failure.message)
                await anyio.sleep(runs.options.retry_delay * 2**attempt)


class _TriggeredRun(Run):
    """A run that an event has triggered, and that is not claimed yet."""

    __slots__ = ("_queued", "_sighting")

    def __init__(self, runs: Runs, compiled: CompiledAutomation, event: Event, sighting: Sighting) -> None:
        super().__init__(runs, compiled, event)
        self._sighting = sighting
        self._queued = time.time()

    async def admit(self) -> bool:
        """What the guard says; while it cannot, the lane stands still and the event stays undecided."""
        try:
            admitted = await self._ask()
        except Exception:
            self._sighting.decide()
            raise
        # A run without a claim is decided when it is over, or has one.
        if not isinstance(admitted, Unguarded):
            self._sighting.decide()
        if admitted is None:
            return False
        self.begin(admitted)
        return True

    async def _unclaimed(self) -> None:
        try:
            await super()._unclaimed()
        except Exception:
            self._sighting.decide()
            raise
        self._sighting.decide()

    async def _ask(self) -> Claim | Unguarded | None:
        runs = self._runs
        # What has waited that long may be decided elsewhere, and its claim forgotten.
        if time.time() - self._queued > runs.options.retention / 2 and await reached(
            partial(runs.passed, self._event), runs.options
        ):
            return None
        return await reached(partial(runs.guard.admit, subject_of(self._compiled, self._event)), runs.options)


async def reached(ask: Callable[[], Awaitable[T]], options: Options) -> T:
    """Ask until the database answers, or says no for good."""
    wait = options.retry_delay
    while True:
        try:
            return await ask()
        except MemqlError as error:
            if error.code not in UNREACHABLE and not error.retryable:
                raise
        await anyio.sleep(wait)
        wait = min(wait * 2, options.retry_delay_most)


def subject_of(compiled: CompiledAutomation, event: Event) -> Subject:
    """What a run of this automation for this event claims."""
    return Subject(name=compiled.name, key=event.id, event=encode_event(event))
