"""The durable path of events to automations: reads the log and the outbox behind a shared cursor.

The bus is the fast path and may lose events: a process dies after a commit, a queue overflows, a push does
not arrive. This reader delivers them all, in order, at most a moment later. What came over the bus already is
recognised by its id, here or by its claim. The cursor passes an event only when every automation it triggers
has been decided, so a restart begins no later than at the first event that may still need a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, Protocol

import anyio
import structlog

from memql.automations.cursors import Cursors
from memql.automations.dispatcher import Dispatcher
from memql.automations.frontier import Frontier
from memql.automations.options import Options
from memql.errors import MemqlError
from memql.events.event import Event
from memql.events.horizon import Beginning, Horizon
from memql.events.log import EventLog
from memql.events.outbox import Outbox

__all__ = ["LogSource", "OutboxSource", "Replay"]

_log = structlog.get_logger("memql.automations")

_MOST_POSITIONS: Final = 100_000
"""How much one statement looks through, of which perhaps nothing is for any automation: it must end in time."""


class _Source(Protocol):
    """A numbered, durable sequence of events."""

    name: str
    horizon: Horizon

    async def read(self, after: int, upto: int, limit: int, since: Beginning | None) -> Sequence[tuple[int, Event]]:
        """Events with ``after < position <= upto`` that had not committed at ``since``, in order; fewer than
        ``limit`` positions mean that is all."""
        ...


class LogSource:
    """The log, narrowed to the concepts that any automation may be about.

    :param concepts: the concept ids to read, or None for all.
    """

    name = "log"

    def __init__(self, log: EventLog, concepts: Callable[[], Collection[str] | None]) -> None:
        self._events = log
        self._concepts = concepts
        self.horizon = log.horizon

    async def read(self, after: int, upto: int, limit: int, since: Beginning | None) -> Sequence[tuple[int, Event]]:
        """See the protocol."""
        concepts = self._concepts()
        if concepts is not None and not concepts:
            return []
        events = await self._events.read(after, upto, limit, concepts=concepts, since=since)
        return [(event.log_seq or 0, event) for event in events]


class OutboxSource:
    """The outbox."""

    name = "outbox"

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.horizon = outbox.horizon

    async def read(self, after: int, upto: int, limit: int, since: Beginning | None) -> Sequence[tuple[int, Event]]:
        """See the protocol."""
        return await self._outbox.read(after, upto, limit, since=since)


class Replay:
    """Follows one source.

    ``decided_as_of`` is when (on the monotonic clock) everything drawn by then was known to be decided.
    """

    def __init__(self, source: _Source, cursors: Cursors, dispatcher: Dispatcher, options: Options) -> None:
        self._source = source
        self._cursors = cursors
        self._dispatcher = dispatcher
        self._options = options
        self._frontier = Frontier(0)
        self._saved = 0
        self._since: Beginning | None = None
        self.decided_as_of = float("-inf")

    async def begin(self) -> None:
        """Find the cursor, or make one that begins now: what happened before the first start triggers nothing."""
        self._saved, self._since = await self._cursors.create(self._source.name, self._source.horizon)
        self._frontier = Frontier(self._saved)

    async def follow(self) -> None:
        """Read for ever; while the database is away, wait."""
        while True:
            try:
                more = await self._read()
                await self.save()
            except MemqlError as error:
                _log.warning("automation_replay_failed", source=self._source.name, error=error.message)
                more = False
            if not more:
                await anyio.sleep(self._options.read_every)

    async def save(self) -> None:
        """Move the shared cursor to what is decided here, and pass over what other processes have decided."""
        decided = self._frontier.decided
        if decided > self._saved:
            self._saved = await self._cursors.advance(self._source.name, decided)
            self._frontier.advance(self._saved)

    async def _read(self) -> bool:
        """One batch; whether there may be more."""
        # A process that slept must not bring up what others have decided, and forgotten, long ago.
        self._frontier.advance(await self._cursors.load(self._source.name))
        settled = await self._source.horizon.settled()
        as_of = self._source.horizon.as_of
        after = self._frontier.read
        if settled <= after:
            self._note_decided(as_of, settled)
            return False
        if self._since is not None and self._since.upto <= after:
            self._since = None
        upto = min(settled, after + _MOST_POSITIONS)
        events = await self._source.read(after, upto, self._options.read_batch, self._since)
        for position, event in events:
            await self._dispatcher.dispatch(event, partial(self._frontier.open, position))
        full = len({position for position, _ in events}) >= self._options.read_batch
        self._frontier.advance(events[-1][0] if full else upto)
        self._note_decided(as_of, settled)
        return full or upto < settled

    def _note_decided(self, as_of: float, settled: int) -> None:
        if self._frontier.decided >= settled:
            self.decided_as_of = max(self.decided_as_of, as_of)

    def behind(self) -> float:
        """Seconds since everything was known to be decided."""
        return time.monotonic() - self.decided_as_of
