"""How many queries of one stream run at once, and how many may wait (spec "GET /memql/ws")."""

from __future__ import annotations

from types import TracebackType

import anyio

from memql.errors import Code, MemqlError
from memql.server.limits import Limits

__all__ = ["QueryGate"]


class QueryGate:
    """Queries enter when admitted and pass when a slot is free; leaving frees both, once.

    :meth:`enter` and :meth:`leave` bracket a query's whole stay; the ``async with`` block its running.
    """

    __slots__ = ("_capacity", "_slots", "entered", "limited")

    def __init__(self, limits: Limits) -> None:
        running = limits.running_queries
        self.limited = running is not None
        self.entered = 0
        self._capacity = (running or 0) + limits.queued_queries
        self._slots = anyio.Semaphore(running, fast_acquire=True) if running else None

    def enter(self) -> None:
        """Take a place.

        :raises MemqlError: ``RESOURCE_EXHAUSTED`` when as many as allowed run and wait.
        """
        if self.entered >= self._capacity:
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED,
                f"{self._capacity} queries of this connection run or wait already; wait for answers first",
            )
        self.entered += 1

    def leave(self) -> None:
        """Give the place back."""
        self.entered -= 1

    async def __aenter__(self) -> None:
        assert self._slots is not None
        await self._slots.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._slots is not None
        self._slots.release()
