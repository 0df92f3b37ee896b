"""The durable path of events to automations: reads the log and the outbox behind the cursor of the role.

The bus is the fast path and may lose events: a process dies after a commit, a queue overflows, a push does
not arrive. This reader delivers them all, in order, at most a moment later. What came over the bus already is
recognised by its id, here or by its claim. The cursor passes an event only when every automation it triggers
has been decided, so a restart begins no later than at the first event that may still need a run.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime
from functools import partial
from typing import Final

import anyio
import structlog

from memql.automations.dispatcher import Dispatcher
from memql.automations.frontier import Frontier
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.errors import MemqlError
from memql.events.cursors import Cursors
from memql.events.horizon import Beginning
from memql.events.sources import MOST_POSITIONS, Source

__all__ = ["Replay"]

_log = structlog.get_logger("memql.automations")

_LOOKS_KEPT: Final = 256


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
        self, source: Source, cursors: Cursors, dispatcher: Dispatcher, counts: Counts, options: Options
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
        upto = min(settled, after + MOST_POSITIONS)
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
