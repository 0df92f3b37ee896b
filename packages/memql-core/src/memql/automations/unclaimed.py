"""Runs that go ahead without a claim, because the database could not be asked: as far as they need no database.

What such a run does elsewhere happens at once. At its first write, or when a read finds the database away, it stops
and waits for its claim like any other run, so that nothing is written twice and nothing is lost. The claimed run then
knows what was done before it and does not do that again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from memql.automations.claims import ClaimLostError, Entry
from memql.engine.context import RequestContext
from memql.engine.journal import Nature, Perform
from memql.errors import Code, MemqlError

__all__ = ["ClaimNeededError", "UnclaimedJournal"]


class ClaimNeededError(ClaimLostError):
    """The run has come to where it needs the database, and must not go on without a claim."""

    def __init__(self) -> None:
        MemqlError.__init__(self, Code.UNAVAILABLE, "the run has no claim yet, and needs one from here on")


class UnclaimedJournal:
    """What a run has done without a claim; fits :class:`memql.engine.journal.Journal`."""

    def __init__(self) -> None:
        self._known: dict[str, Entry] = {}
        self._reads: list[Entry] = []

    @property
    def entries(self) -> Collection[Entry]:
        """What it did elsewhere, and the reads that led there."""
        return self._known.values()

    async def load(self) -> None:
        """Forget reads that no effect has followed, before a further attempt."""
        self._reads.clear()

    async def call(self, place: str, target: str, nature: Nature, perform: Perform, ctx: RequestContext) -> Any:
        """See :meth:`memql.engine.journal.Journal.call`.

        :raises ClaimNeededError: for a write.
        """
        if nature is Nature.WRITE:
            raise ClaimNeededError
        known = self._known.get(place)
        if known is not None:
            return msgspec.json.decode(known.result)
        value = await perform(ctx)
        self._reads.append(Entry(place, target, msgspec.json.encode(value)))
        if nature is Nature.OUTSIDE:
            self._known.update((entry.place, entry) for entry in self._reads)
            self._reads.clear()
        return value
