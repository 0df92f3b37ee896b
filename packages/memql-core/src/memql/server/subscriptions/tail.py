"""Follows the durable log for all subscriptions of a node: what settles, and what the bus did not bring.

The bus carries what this process wrote. Rows that another process wrote appear in the log only; once a second the
tail finds those that passed the bus by and hands them to the subscriptions. It also learns up to where the log is
settled, which moves the subscriptions' cursors.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import anyio

from memql.errors import MemqlError
from memql.events import Bus, Event
from memql.server.ports import EventLog, LogSample

__all__ = ["Follower", "LogTail"]

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_SHARED_ROWS = 256
"""As many missed rows are read once for all subscriptions; beyond it each reads at its client's pace."""
_SEEN = 16_384


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
        self._followed = anyio.Event()
        self._settled: int | None = None
        self._sample: LogSample | None = None

    def follow(self, follower: Follower) -> None:
        """Tell a follower about the log from now on."""
        self._followers[id(follower)] = follower
        self._followed.set()

    def unfollow(self, follower: Follower) -> None:
        """Stop telling it."""
        self._followers.pop(id(follower), None)

    async def settled(self) -> int | None:
        """A number up to which nothing can be committed any more; None while a long transaction hides it.

        :raises MemqlError: when the database cannot be asked.
        """
        if self._settled is None:
            await self._advance()
        return self._settled

    async def run(self) -> None:
        """Follow until cancelled; a database that cannot be reached is asked again at the next poll."""
        while True:
            await self._followed.wait()
            async with self._bus.subscribe("graph.#", capacity=_SEEN, name="log tail") as live:
                seen: set[int] = set()
                checked = self._settled
                while self._followers:
                    await anyio.sleep(self._poll_seconds)
                    seen.update(d.event.log_seq for d in live.take(_SEEN) if d.event.log_seq is not None)
                    try:
                        checked = await self._poll(checked, seen)
                    except MemqlError as error:
                        log.warning("the log cannot be followed: %s", error)
                    seen = {number for number in seen if checked is None or number > checked}
            self._followed = anyio.Event()
            # Nobody follows: what is settled now will be out of date when somebody does.
            self._settled = self._sample = None

    async def _poll(self, checked: int | None, seen: set[int]) -> int | None:
        """Hand on what settled since ``checked``; what is checked now."""
        await self._advance()
        settled = self._settled
        if settled is None or settled == checked:
            return checked
        missed: Sequence[Event] | None = ()
        if checked is not None:
            numbers = [n for n in await self.log.numbers(checked, settled) if n not in seen]
            missed = None if len(numbers) > _SHARED_ROWS else await self.log.fetch(numbers)
        for follower in tuple(self._followers.values()):
            follower.log_moved(settled, missed)
        return settled

    async def _advance(self) -> None:
        """Move the settled number: a sample's last number is settled once every transaction that was open when it
        was taken has ended."""
        fresh = await self.log.sample()
        if self._sample is not None and fresh.oldest_open >= self._sample.next_transaction:
            self._settled = max(self._settled or 0, self._sample.last_number)
            self._sample = fresh
        elif self._sample is None:
            self._sample = fresh
            again = await self.log.sample()
            if again.oldest_open >= fresh.next_transaction:
                self._settled = max(self._settled or 0, fresh.last_number)
                self._sample = again
