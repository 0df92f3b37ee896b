"""The journal of a claimed run: each effect commits together with its record, under the claim's fence.

A run may die anywhere, and another process repeats it from the start. What is in the journal is given back
instead of being done again; what is not has left no trace, because record and effect are one transaction. A
process that lost its claim while it was paused cannot write either: the record is refused, and the effect
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from psycopg import AsyncConnection

from memql.automations.claims import Claim, Claims, Entry, record
from memql.engine.context import RequestContext
from memql.engine.journal import Nature, Perform
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.graph.database import Database

__all__ = ["RunJournal"]

_WRITE_TIMEOUT = 300.0
"""Seconds one write may take, an ``@atomic`` body included; the run's own time limit is usually lower."""


class RunJournal:
    """The journal of one run; fits :class:`memql.engine.journal.Journal`.

    :param publish: hands the events of a committed write to the bus.
    :param before: what the run has done before it was claimed.
    """

    def __init__(
        self,
        database: Database,
        claims: Claims,
        claim: Claim,
        publish: Callable[[Event], None],
        before: Collection[Entry] = (),
    ) -> None:
        self._database = database
        self._claims = claims
        self._claim = claim
        self._publish = publish
        self._before = {entry.place: entry for entry in before}
        self._known = dict(self._before)
        self._unwritten = list(before)

    async def load(self) -> None:
        """Read what the run has recorded so far, and forget reads that no effect has followed.

        Call it before a repetition: after a take-over, and before a further attempt, when the fate of the
        last write may be unknown.
        """
        recorded = {entry.place: entry for entry in await self._claims.journal(self._claim)}
        self._known = {**self._before, **recorded}
        self._unwritten = [entry for place, entry in self._before.items() if place not in recorded]

    async def call(self, place: str, target: str, nature: Nature, perform: Perform, ctx: RequestContext) -> Any:
        """See :meth:`memql.engine.journal.Journal.call`."""
        known = self._known.get(place)
        if known is not None:
            return self._replayed(known, target)
        if nature is Nature.WRITE:
            return await self._write(place, target, perform, ctx)
        value = await perform(ctx)
        self._unwritten.append(_entry(place, target, value))
        if nature is Nature.OUTSIDE:
            await self.flush()
        return value

    async def flush(self) -> None:
        """Write what is noted.

        :raises ClaimLostError: when another process has the run.
        """
        noted = self._unwritten
        if noted:
            await self._database.run(lambda connection: record(connection, self._claim, noted))
            self._keep(noted)

    async def _write(self, place: str, target: str, perform: Perform, ctx: RequestContext) -> Any:
        deferred: list[Event] = []
        noted = self._unwritten

        async def work(connection: AsyncConnection[Any]) -> tuple[Any, Sequence[Entry]]:
            inner = replace(ctx, connection=connection, deferred=deferred, journal=None)
            value = await perform(inner)
            entries = [*noted, _entry(place, target, value)]
            await record(connection, self._claim, entries)
            return value, entries

        value, entries = await self._database.transaction(work, timeout=_WRITE_TIMEOUT)
        self._keep(entries)
        for event in deferred:
            self._publish(event if event.cause else event.replace(cause=ctx.cause))
        return value

    def _keep(self, entries: Sequence[Entry]) -> None:
        self._known.update((entry.place, entry) for entry in entries)
        self._unwritten = []

    def _replayed(self, entry: Entry, target: str) -> Any:
        if entry.target == target:
            return msgspec.json.decode(entry.result)
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"automation {self._claim.name} changed while a run of it was interrupted: at {entry.place} it had called "
            f"{entry.target}, now it calls {target}. The run cannot be carried on; start it again by hand if it is "
            "still wanted",
        )


def _entry(place: str, target: str, value: Any) -> Entry:
    return Entry(place, target, msgspec.json.encode(value))
