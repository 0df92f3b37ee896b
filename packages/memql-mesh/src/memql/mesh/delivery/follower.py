"""Follows one durable source for one node: what no push has brought is published from here (spec "Durable substrate").

The cursor belongs to the node, survives it, and never moves back: what happened while the node was away comes when it
returns. It follows settled positions only, so that no late commit lands behind it.

An event that is found here and was not pushed waits a moment before it is published. A push may be on its way; and an
event of this very node is committed before it is published, so the database may know it first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import anyio

from memql.errors import MemqlError
from memql.events import Event
from memql.events.cursors import Cursors
from memql.events.horizon import Beginning
from memql.events.sources import MOST_POSITIONS, Source
from memql.mesh import metrics
from memql.mesh.options import Options

__all__ = ["FROM_LOG", "Follower"]

log = logging.getLogger(__name__)

FROM_LOG: Final = "@log"
"""The origin of events that were found in the database: some node wrote them, and no push said which."""

_MOST_HELD: Final = 20_000
_MANY_SEEN: Final = 4096
_BEAT: Final = 600.0
_SHORTEST_PAUSE: Final = 0.02
_SLICE: Final = 16


class _Held(NamedTuple):
    """An event that waits for its push: since when, at which position."""

    found: float
    position: int
    event: Event


class _Page(NamedTuple):
    """What stands at some positions."""

    after: int
    upto: int
    found: Sequence[tuple[int, Event]]


class Follower:
    """See the module.

    :param deliver: publishes an event on this node, or leaves it out if it is not for it.
    :param known: whether an event has been published here.
    :param clock: seconds, monotonic.
    """

    def __init__(
        self,
        source: Source,
        cursors: Cursors,
        options: Options,
        deliver: Callable[[Event], bool],
        known: Callable[[str], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.delivered = 0
        """How many events came from here and no other way."""
        self._counted = 0
        self._cursors = cursors
        self._options = options
        self._deliver = deliver
        self._known = known
        self._clock = clock
        self._read_upto = 0
        self._settled = 0
        self._settled_as_of = float("-inf")
        self._ahead: _Page | None = None
        self._begun_at = 0
        self._saved = 0
        self._saved_at = float("-inf")
        self._since: Beginning | None = None
        self._held: deque[_Held] = deque()
        self._came: dict[str, bool] = {}
        self._seen: dict[str, int] = {}
        self._highest_seen = 0
        self._as_of = clock()
        self._wanted = anyio.Event()

    @property
    def position(self) -> int:
        """Everything up to here has been published or is not for this node."""
        return self._held[0].position - 1 if self._held else self._read_upto

    def behind(self) -> float:
        """Seconds since everything that was there had been published."""
        return self._clock() - self._as_of

    def saw(self, event_id: str, position: int) -> None:
        """An event of this source has come another way."""
        if event_id in self._came:
            self._came[event_id] = True
        elif position > self._read_upto:
            self._seen[event_id] = position
            if len(self._seen) > _MANY_SEEN:
                self._forget_passed()
        if position > self._highest_seen:
            self._highest_seen = position

    def knows(self, position: int) -> bool:
        """Whether something at or past a position has come, whichever way."""
        return max(self._highest_seen, self._read_upto) >= position

    def hurry(self) -> None:
        """Look at once: something may be missing."""
        self._wanted.set()

    async def begin(self) -> None:
        """Find the cursor of this node, or make one that begins now; saved before it returns.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        begun = await self._cursors.begin(self.source.name, self.source.horizon)
        if self._options.retention and begun.age > self._options.retention and self.source.expires:
            metrics.cursor_gaps.labels(self.source.name).inc()
            log.error(
                "this node was away for %.0f h: older events of the %s may be gone", begun.age / 3600, self.source.name
            )
        self._saved, self._since = begun.position, begun.since
        self._read_upto = self._saved
        self._begun_at = await self.source.horizon.settled()
        self._as_of = self._clock()

    async def follow(self) -> None:
        """Read and publish for ever; while the database is away, wait."""
        while True:
            try:
                more = await self.catch_up()
                await self._save_now_and_then()
            except MemqlError as error:
                log.warning("the %s cannot be followed: %s", self.source.name, error)
                more = False
            metrics.behind.labels(self.source.name).set(self.behind())
            if not more:
                await self._rest()

    async def catch_up(self) -> bool:
        """One batch; whether there may be more at once."""
        if self._read_upto >= self._settled:
            self._settled = await self.source.horizon.settled()
            self._settled_as_of = self.source.horizon.as_of
        settled, more = self._settled, False
        if settled > self._read_upto and len(self._held) < _MOST_HELD:
            more = await self._read(settled)
        self._release()
        self._note_progress()
        metrics.events_from_log.labels(self.source.name).inc(self.delivered - self._counted)
        self._counted = self.delivered
        return more

    async def save(self) -> None:
        """Write the cursor down.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        position = self.position
        self._saved = max(position, await self._cursors.advance(self.source.name, position, None))
        self._saved_at = self._clock()

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _read(self, settled: int) -> bool:
        after, batch = self._read_upto, self._options.read_batch
        if self._since is not None and self._since.upto <= after:
            self._since = None
        page = await self._page(after, min(settled, after + MOST_POSITIONS))
        full = len({position for position, _ in page.found}) >= batch
        last = page.found[-1][0] if full else page.upto
        async with anyio.create_task_group() as tasks:
            if full:
                # While this page is published, PostgreSQL builds the next one.
                tasks.start_soon(self._read_ahead, last, min(settled, last + MOST_POSITIONS), name="mesh: read ahead")
            await self._take_all(page.found)
        self._read_upto = last
        return full or page.upto < settled

    async def _page(self, after: int, upto: int) -> _Page:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.after == after:
            return ahead
        return _Page(after, upto, await self.source.read(after, upto, self._options.read_batch, self._since))

    async def _read_ahead(self, after: int, upto: int) -> None:
        try:
            self._ahead = await self._page(after, upto)
        except MemqlError as error:
            log.debug("the %s could not be read ahead: %s", self.source.name, error)

    async def _take_all(self, found: Sequence[tuple[int, Event]]) -> None:
        now = self._clock()
        last = 0
        for number, (position, event) in enumerate(found, 1):
            if position != last:
                # All that stands at the positions before has been taken.
                self._read_upto, last = max(self._read_upto, last), position
            self._take(position, event, now)
            if number % _SLICE == 0:
                # What happens now must not wait for what happened then.
                await asyncio.sleep(0)

    def _take(self, position: int, event: Event, now: float) -> None:
        if self._seen.pop(event.id, None) is not None or self._known(event.id):
            return
        if position <= self._begun_at and not self._held:
            # Written before this process began: no push of it is under way.
            self._publish(event)
        else:
            self._held.append(_Held(now, position, event))
            self._came[event.id] = False

    def _release(self) -> None:
        """Publish what has waited long enough and has not come meanwhile."""
        due = self._clock() - self._options.own_grace
        held = self._held
        while held:
            found, _, event = held[0]
            came = self._came[event.id] or self._known(event.id)
            if not came and found > due:
                return
            held.popleft()
            del self._came[event.id]
            if not came:
                self._publish(event)

    def _forget_passed(self) -> None:
        """Events that are not for this node are seen, but never read."""
        self._seen = {event_id: at for event_id, at in self._seen.items() if at > self._read_upto}

    def _publish(self, event: Event) -> None:
        event.origin = FROM_LOG
        if self._deliver(event):
            self.delivered += 1

    def _note_progress(self) -> None:
        if self.position >= self._settled:
            self._as_of = max(self._as_of, self._settled_as_of)

    async def _save_now_and_then(self) -> None:
        age = self._clock() - self._saved_at
        # A cursor that is never written counts as that of a node that is gone.
        if age >= _BEAT or (self.position > self._saved and age >= self._options.cursor_save):
            await self.save()

    async def _rest(self) -> None:
        limit = min(self._options.read_every, self._options.own_grace) if self._held else self._options.read_every
        await anyio.sleep(_SHORTEST_PAUSE)
        with anyio.move_on_after(limit):
            await self._wanted.wait()
        self._wanted = anyio.Event()
