"""Lets no kept answer outlive what other processes write.

What this process writes it evicts itself, before anybody hears of it. Of other writes it learns in two ways: from
events that were brought here from other nodes, at once; and from the log, which is looked at every second while
anything is kept. A read costs nothing for that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import anyio

from memql.engine.caching import AnswerCache
from memql.errors import MemqlError
from memql.events.event import Event
from memql.events.horizon import Horizon
from memql.graph.database import Database
from memql.graph.store import Store

__all__ = ["Freshness"]

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How long an answer may outlive a write of another process, while the database can be reached."""

_GRAPH = "graph.node."

_MOST = 50_000
"""Versions that one look goes through; while more are undecided, nothing is kept from one look to the next."""

# How many versions of each concept are there past what was settled before, and past what is settled now. Numbers
# become visible out of order, but none below the settled one: a count that rose tells a write, however late.
_WRITTEN = f"""
SELECT concept, count(*), count(*) FILTER (WHERE seq > %(settled)s)
FROM (
    (SELECT concept, seq FROM {Store.MEMORY.log} WHERE seq > %(known)s ORDER BY seq LIMIT {_MOST})
    UNION ALL
    (SELECT concept, seq FROM {Store.SECRET.log} WHERE seq > %(known)s ORDER BY seq LIMIT {_MOST})
) AS written
GROUP BY concept
"""


class Freshness:
    """See the module. :meth:`run` is a component of a node; :meth:`heard` taps its bus."""

    def __init__(self, database: Database, cache: AnswerCache, *, poll_seconds: float = POLL_SECONDS) -> None:
        self.watching = False
        """Whether what is kept from now on is looked after."""
        self._database = database
        self._cache = cache
        self._poll_seconds = poll_seconds
        self._horizon = Horizon(database, "memory_seq")
        self._known = 0
        self._counts: Mapping[str, int] = {}

    def heard(self, event: Event) -> None:
        """An event of another node was published here: a write evicts what was read from its concept."""
        if event.topic.startswith(_GRAPH):
            self._cache.evict(event.topic.removeprefix(_GRAPH).partition(".")[2])

    async def run(self) -> None:
        """Look after the cache until cancelled; idle while it is empty."""
        while True:
            await self._cache.in_use.wait()
            await self._begin()
            self.watching = True
            while self._cache.in_use.is_set():
                await anyio.sleep(self._poll_seconds)
                await self._look_again()
                self._cache.sweep()
                if not len(self._cache):
                    self._cache.in_use.clear()
            self.watching = False

    async def _begin(self) -> None:
        """Find where to look from; what was read before then is not known to be fresh."""
        while True:
            try:
                self._known, self._counts = await self._horizon.settled(), {}
                await self._look()
            except MemqlError as error:
                log.warning("the log cannot be read, so nothing is kept: %s", error)
            self._cache.clear()
            if self._horizon.as_of > float("-inf"):
                return
            await anyio.sleep(self._poll_seconds)

    async def _look_again(self) -> None:
        try:
            await self._look()
        except MemqlError as error:
            # It goes on where it stopped; until then nobody here can know better.
            log.warning("writes of other processes cannot be looked up: %s", error)

    async def _look(self) -> None:
        settled = await self._horizon.settled()
        rows = await self._database.fetch(_WRITTEN, {"known": self._known, "settled": settled})
        if sum(count for _, count, _ in rows) >= _MOST:
            self._cache.clear()
        for concept, count, _ in rows:
            if count > self._counts.get(concept, 0):
                self._cache.evict(concept)
        self._known, self._counts = settled, {concept: later for concept, _, later in rows}
