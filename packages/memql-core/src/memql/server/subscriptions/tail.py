"""Follows the durable log for all subscriptions of a node: what settles, and what the bus did not bring.

The bus carries what this process wrote. Rows that another process wrote appear in the log only; once a second the
tail finds those that passed the bus by and hands them to the subscriptions. It also learns up to where the log is
settled, which moves the subscriptions' cursors.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import anyio

from memql.errors import MemqlError
from memql.events import Bus, Event, Subscription
from memql.server.ports import EventLog

__all__ = ["Follower", "LogTail"]

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_SHARED_ROWS = 256
"""As many missed rows are read once for all subscriptions; beyond it each reads at its client's pace."""
_SEEN = 16_384
_SHORTEST_PAUSE = 0.05


class Follower(Protocol):
    """A subscription to graph events."""

    def log_moved(self, settled: int, missed: Sequence[Event] | None) -> None:
        """The log is settled up to ``settled``. ``missed`` are events up to there that the bus did not bring; None
        when there are so many that the follower must read the log itself."""
        ...


class LogTail:
    """One per node; idle while nothing follows it."""

    def __init__(self, log: EventLog, bus: Bus, *, poll_seconds: float = POLL_SECONDS) -> None:
        self.log = log
        self._bus = bus
        self._poll_seconds = poll_seconds
        self._followers: dict[int, Follower] = {}
        self._checked: int | None = None
        self._followed = anyio.Event()
        self._hurried = anyio.Event()

    def follow(self, follower: Follower, since: int | None) -> None:
        """Tell a follower about the log from now on.

        :param since: the number up to which it knows the log; None when it does not know.
        """
        if not self._followers:
            self._checked = since
        elif since is not None and self._checked is not None and self._checked > since:
            follower.log_moved(self._checked, None)
        self._followers[id(follower)] = follower
        self._followed.set()

    def hurry(self) -> None:
        """Look again soon: a follower has dealt with much that is not known to be settled."""
        self._hurried.set()

    def unfollow(self, follower: Follower) -> None:
        """Stop telling it."""
        self._followers.pop(id(follower), None)

    async def run(self) -> None:
        """Follow until cancelled; a database that cannot be reached is asked again at the next poll."""
        while True:
            await self._followed.wait()
            async with self._bus.subscribe("graph.#", capacity=_SEEN, name="log tail", takes_demanded=True) as live:
                await self._follow(live)
            self._followed = anyio.Event()

    async def _follow(self, live: Subscription) -> None:
        seen: set[int] = set()
        while self._followers:
            try:
                seen.update(_numbers(live))
                await self._poll(seen)
                seen = {number for number in seen if number > (self._checked or 0)}
            except MemqlError as error:
                logger.warning("the log cannot be followed: %s", error)
            await anyio.sleep(_SHORTEST_PAUSE)
            with anyio.move_on_after(self._poll_seconds - _SHORTEST_PAUSE):
                await self._hurried.wait()
            self._hurried = anyio.Event()

    async def _poll(self, seen: set[int]) -> None:
        """Hand on what settled since the last time."""
        settled, checked = await self.log.settled(), self._checked
        if settled <= (checked or 0):
            return
        missed: Sequence[Event] | None = ()
        if checked is not None:
            present = await self.log.visible_after(checked)
            missed = await self._read(sorted(n for n in present if n <= settled and n not in seen))
        self._checked = settled
        for follower in tuple(self._followers.values()):
            follower.log_moved(settled, missed)

    async def _read(self, numbers: Sequence[int]) -> Sequence[Event] | None:
        if len(numbers) > _SHARED_ROWS:
            return None
        events: list[Event] = []
        for first, last in _runs(numbers):
            events.extend(await self.log.read(first - 1, last, last - first + 1))
        return events


def _numbers(live: Subscription) -> Iterator[int]:
    for delivery in live.take(_SEEN):
        if delivery.event.log_seq is not None:
            yield delivery.event.log_seq


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers."""
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[start], numbers[index - 1]
            start = index
