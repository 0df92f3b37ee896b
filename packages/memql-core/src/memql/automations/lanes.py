"""Where runs wait and how many go at once: one lane per automation, and a bound for all of them together.

While the runs of a lane are quick, jobs are admitted before their turn, so that many can be admitted together: as many
as get their turn soon after. Where they have to wait, a job is admitted when its turn has come; until then another
process may have it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

import anyio
import structlog

from memql.automations.batches import Start
from memql.automations.metrics import ACTIVE_RUNS

__all__ = ["Job", "Lanes"]

_log = structlog.get_logger("memql.automations")


class Job(Protocol):
    """A piece of work in three parts. One that crashes is logged and takes no other with it."""

    async def admit(self) -> bool:
        """Whether there is anything to run."""
        ...

    async def run(self) -> None:
        """The part of which only so many go at once."""
        ...

    async def settle(self) -> None:
        """Write down how it ended."""
        ...


class _Lane:
    """One lane. ``ahead`` is how many jobs may be admitted before their turn."""

    __slots__ = ("ahead", "name", "pending", "room", "turns", "workers")

    def __init__(self, name: str, turns: int) -> None:
        self.name = name
        self.pending: deque[Job] = deque()
        self.room = anyio.Event()
        self.turns = asyncio.Semaphore(turns)
        self.workers = 0
        self.ahead = 0


class Lanes:
    """Carries out jobs in the order they came, per lane, a few at a time.

    :param start: starts a task in the group where the work runs.
    :param limit: how many jobs run at once, all lanes together.
    :param limit_each: how many of one lane.
    :param pending_each: how many may wait in one lane before :meth:`put` waits.
    :param ahead: seconds that a job may wait for its turn when it is admitted already.
    :param ahead_most: how many of a lane may wait so.
    """

    def __init__(
        self, start: Start, *, limit: int, limit_each: int, pending_each: int, ahead: float = 0.0, ahead_most: int = 0
    ) -> None:
        self._start = start
        self._limit_each = limit_each
        self._pending_each = pending_each
        self._ahead = ahead
        self._ahead_most = ahead_most
        self._turns = asyncio.Semaphore(limit)
        self._free = limit
        self._lanes: dict[str, _Lane] = {}
        self._idle = anyio.Event()
        self._idle.set()
        self._closed = False

    @property
    def free(self) -> int:
        """How many more jobs could run now."""
        return max(0, self._free)

    async def put(self, name: str, job: Job) -> None:
        """Queue a job; waits while its lane is full."""
        while len((lane := self._lane(name)).pending) >= self._pending_each:
            if lane.room.is_set():
                lane.room = anyio.Event()
            await lane.room.wait()
        lane.pending.append(job)
        self._staff(lane)

    async def drain(self) -> None:
        """Start nothing more, and wait for what is under way; jobs that still wait are dropped."""
        self._closed = True
        for lane in self._lanes.values():
            lane.pending.clear()
            lane.room.set()
        await self._idle.wait()

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(name, self._limit_each)
        return lane

    def _staff(self, lane: _Lane) -> None:
        """One more worker where there is work for it."""
        if lane.pending and lane.workers < self._width(lane) and not self._closed:
            if self._idle.is_set():
                self._idle = anyio.Event()
            lane.workers += 1
            self._start(self._work, lane)

    def _width(self, lane: _Lane) -> int:
        """How many jobs of a lane may be under way, from their admission to their settlement."""
        return self._limit_each + lane.ahead

    async def _work(self, lane: _Lane) -> None:
        try:
            while lane.pending and lane.workers <= self._width(lane):
                job = lane.pending.popleft()
                lane.room.set()
                await self._carry_out(lane, job)
                self._staff(lane)
        finally:
            self._leave(lane)

    def _leave(self, lane: _Lane) -> None:
        lane.workers -= 1
        if not lane.workers and not lane.pending:
            self._lanes.pop(lane.name, None)
        if not any(other.workers for other in self._lanes.values()):
            self._idle.set()

    async def _carry_out(self, lane: _Lane, job: Job) -> None:
        try:
            if lane.ahead:
                ran = await job.admit() and await self._take_turn(lane, job, admitted=True)
            else:
                ran = await self._take_turn(lane, job, admitted=False)
            if ran:
                await job.settle()
        except Exception:
            _log.exception("automation_job_crashed", automation=lane.name)

    async def _take_turn(self, lane: _Lane, job: Job, *, admitted: bool) -> bool:
        """Run a job when its turn has come; False when it is not to run."""
        self._free -= 1
        came = time.perf_counter()
        try:
            async with lane.turns, self._turns:
                waited = time.perf_counter() - came
                if self._closed or not (admitted or await job.admit()):
                    return False
                began = time.perf_counter()
                ACTIVE_RUNS.inc()
                try:
                    await job.run()
                finally:
                    ACTIVE_RUNS.dec()
                self._adjust(lane, waited, time.perf_counter() - began)
        finally:
            self._free += 1
        return True

    def _adjust(self, lane: _Lane, waited: float, took: float) -> None:
        """One more ahead where the next in the queue would get its turn in time, else one less."""
        if waited > self._ahead or took > self._ahead * self._limit_each:
            lane.ahead = max(0, lane.ahead - 1)
        else:
            lane.ahead = min(self._ahead_most, lane.ahead + 1)
