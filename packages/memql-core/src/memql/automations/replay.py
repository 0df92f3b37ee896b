"""The durable path of events to automations: reads the log and the outbox behind the cursor of the role.

The bus is the fast path and may lose events: a process dies after a commit, a queue overflows, a push does
not arrive. This reader delivers them all, in order, at most a moment later. What came over the bus already is
recognised by its id, here or by its claim. The cursor passes an event only when every automation it triggers
has been decided, so a restart begins no later than at the first event that may still need a run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol

import anyio
import structlog

from memql.automations.cursors import Cursors
from memql.automations.dispatcher import Dispatcher
from memql.automations.frontier import Frontier
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.errors import MemqlError
from memql.events.event import Event
from memql.events.horizon import Beginning, Horizon
from memql.events.log import EventLog
from memql.events.outbox import Outbox

__all__ = ["LogSource", "OutboxSource", "Replay"]

_log = structlog.get_logger("memql.automations")

_LOOKS_KEPT: Final = 256

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


class _Clock:
    """What the database's clock said when: lower bounds for moments of this process's clock."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, datetime]] = deque(maxlen=_LOOKS_KEPT)

    def note(self, at: datetime) -> None:
        """The database has just said this."""
        self._looks.append((time.monotonic(), at))

    def at(self, moment: float) -> datetime | None:
        """An instant of the database's clock not after ``moment``; looks before it are forgotten."""
        found = None
        while self._looks and self._looks[0][0] <= moment:
            found = self._looks.popleft()
        if found is None:
            return None
        self._looks.appendleft(found)
        return found[1]


class Replay:
    """Follows one source.

    ``decided_as_of`` is when (on the monotonic clock) everything drawn by then was known to be decided.
    """

    def __init__(
        self, source: _Source, cursors: Cursors, dispatcher: Dispatcher, counts: Counts, options: Options
    ) -> None:
        self._source = source
        self._cursors = cursors
        self._dispatcher = dispatcher
        self._counts = counts
        self._options = options
        self._frontier = Frontier(0)
        self._clock = _Clock()
        self._caught_up_at: datetime | None = None
        self._saved = 0
        self._saved_when = float("-inf")
        self._since: Beginning | None = None
        self.decided_as_of = float("-inf")

    async def begin(self) -> None:
        """Find the cursor, or make one that begins now: what happened before the first start triggers nothing."""
        begun = await self._cursors.begin(self._source.name, self._source.horizon)
        self._saved, self._since = begun.position, begun.since
        self._frontier = Frontier(begun.position)
        if begun.gap:
            self._counts.add("cursor_gaps")
            _log.error(
                "automation_cursor_gap",
                role=self._options.cursor,
                source=self._source.name,
                begins_at=begun.position,
                reason="this role was away for longer than events are kept for it; what happened meanwhile triggers "
                "nothing here",
            )

    async def follow(self) -> None:
        """Read for ever; while the database is away, wait."""
        while True:
            try:
                more = await self._read()
                await self._save_now_and_then()
            except MemqlError as error:
                _log.warning("automation_replay_failed", source=self._source.name, error=error.message)
                more = False
            if not more:
                await anyio.sleep(self._options.read_every)

    async def save(self) -> None:
        """Move the role's cursor to what is decided here, and pass over what other processes have decided."""
        position = await self._cursors.advance(self._source.name, self._frontier.decided, self._caught_up_at)
        self._saved = max(self._saved, position)
        self._saved_when = time.monotonic()
        self._frontier.advance(self._saved)

    async def _save_now_and_then(self) -> None:
        moved = self._frontier.decided > self._saved
        every = self._options.save_every if moved else self._options.cursor_beat
        if time.monotonic() - self._saved_when >= every:
            await self.save()

    async def _read(self) -> bool:
        """One batch; whether there may be more."""
        # A process that slept must not bring up what others have decided, and forgotten, long ago.
        looked = await self._cursors.look(self._source.name)
        if looked.position is None:
            await self.begin()
            return True
        self._clock.note(looked.at)
        self._frontier.advance(looked.position)
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
        if self._frontier.decided >= settled and as_of > self.decided_as_of:
            self.decided_as_of = as_of
            self._caught_up_at = self._clock.at(as_of) or self._caught_up_at
