"""Where runs wait and how many go at once: one lane per automation, and a bound for all of them together."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
import structlog

from memql.automations.metrics import ACTIVE_RUNS

__all__ = ["Job", "Lanes", "Start"]

_log = structlog.get_logger("memql.automations")

Job: TypeAlias = Callable[[], Awaitable[None]]
"""A piece of work. One that crashes is logged and takes no other with it."""

Start: TypeAlias = Callable[..., object]
"""``start_soon`` of a task group."""


class _Lane:
    __slots__ = ("active", "pending", "room")

    def __init__(self) -> None:
        self.pending: deque[Job] = deque()
        self.active = 0
        self.room = anyio.Event()


class Lanes:
    """Runs jobs in the order they came, per lane, a few at a time.

    :param start: starts a task in the group where the work runs.
    :param limit: how many jobs go at once, all lanes together.
    :param limit_each: how many of one lane.
    :param pending_each: how many may wait in one lane before :meth:`put` waits.
    """

    def __init__(self, start: Start, *, limit: int, limit_each: int, pending_each: int) -> None:
        self._start = start
        self._limiter = anyio.CapacityLimiter(limit)
        self._limit_each = limit_each
        self._pending_each = pending_each
        self._lanes: dict[str, _Lane] = {}
        self._idle = anyio.Event()
        self._idle.set()
        self._closed = False

    @property
    def free(self) -> int:
        """How many more jobs could start now."""
        return int(self._limiter.available_tokens)

    async def put(self, name: str, job: Job) -> None:
        """Queue a job; waits while its lane is full."""
        lane = self._lanes.setdefault(name, _Lane())
        while len(lane.pending) >= self._pending_each:
            if lane.room.is_set():
                lane.room = anyio.Event()
            await lane.room.wait()
        lane.pending.append(job)
        if lane.active < self._limit_each and not self._closed:
            if self._idle.is_set():
                self._idle = anyio.Event()
            lane.active += 1
            self._start(self._work, name, lane)

    async def drain(self) -> None:
        """Start nothing more, and wait for what is under way; jobs that still wait are dropped."""
        self._closed = True
        for lane in self._lanes.values():
            lane.pending.clear()
            lane.room.set()
        await self._idle.wait()

    async def _work(self, name: str, lane: _Lane) -> None:
        try:
            while lane.pending:
                async with self._limiter:
                    if not lane.pending:
                        break
                    job = lane.pending.popleft()
                    lane.room.set()
                    await _guarded(name, job)
        finally:
            lane.active -= 1
            if not lane.active and not lane.pending:
                self._lanes.pop(name, None)
            if not any(other.active for other in self._lanes.values()):
                self._idle.set()


async def _guarded(name: str, job: Job) -> None:
    with ACTIVE_RUNS.track_inprogress():
        try:
            await job()
        except Exception:
            _log.exception("automation_job_crashed", automation=name)
