"""How far a numbered table is decided: the position below which nothing can commit any more.

A number is drawn before its transaction commits, and a transaction may draw one long after it got its id. So
neither the highest visible number, nor the numbers of finished transactions alone, are safe to move a cursor
to: both can pass a number that commits later. A *mark* is the last number drawn together with a transaction
id assigned after that. Once every transaction older than the mark has ended, all numbers up to it are
decided. (A transaction has its id before it draws a number; the tables see to that.)

Transaction ids are one series for a whole server, but what runs in another of its databases draws no number here.
When a mark is not passed at once, such transactions are looked up and left out.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from memql.graph.database import Database

__all__ = ["Beginning", "Horizon"]

_MAX_MARKS = 64

_PATIENCE = 0.5
"""Seconds that a mark may wait before it is worth looking up which database its transactions are of."""

# A running transaction holds a lock on its own id, and a session stays in its database. What cannot be found there, one
# that ends just now or one that is prepared, counts as running here.
_OLDEST_HERE = """
WITH elsewhere AS MATERIALIZED (
    SELECT held.transactionid AS xid FROM pg_locks AS held JOIN pg_stat_activity AS session ON session.pid = held.pid
    WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock' AND held.granted
      AND session.datid <> (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT coalesce(min(running::text::bigint), pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
FROM pg_snapshot_xip(pg_current_snapshot()) AS running
WHERE running::xid NOT IN (SELECT xid FROM elsewhere)
"""


@dataclass(frozen=True, slots=True)
class Beginning:
    """When a reader of a numbered table began: what had committed by then is not for it.

    The settled position cannot say that: it trails behind committed numbers while a number below them may still
    commit.

    ``snapshot`` is a ``pg_snapshot``; ``upto`` is the last number drawn by then, past which the snapshot means
    nothing.
    """

    snapshot: str
    upto: int


class _Mark(NamedTuple):
    number: int
    xid: int
    made: float


class Horizon:
    """The settled position of a table numbered by a sequence. Safe to share between tasks; it only rises.

    ``as_of`` is when (on this process's monotonic clock) every number drawn by then was known to be settled.

    :param sequence: the sequence's name; part of the statement, never from outside.
    """

    def __init__(self, database: Database, sequence: str) -> None:
        self._database = database
        self.sequence = sequence
        self.as_of = float("-inf")
        self._settled = 0
        self._marks: deque[_Mark] = deque()
        self._drawn = f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"
        # The number is read before the id is assigned, in this order: the scan comes before the target list.
        self._mark = (
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END, pg_current_xact_id()::text::bigint, "
            f"pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM {sequence}"
        )

    async def settled(self) -> int:
        """The highest position up to which every number has committed or never will.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        asked = time.monotonic()
        if not self._marks:
            drawn = await self._database.fetch_one(self._drawn)
            assert drawn is not None
            if drawn[0] <= self._settled:
                self.as_of = asked
                return self._settled
        row = await self._database.fetch_one(self._mark)
        assert row is not None
        number, xid, oldest_running = row
        newest = self._marks[-1].number if self._marks else self._settled
        if number > newest and len(self._marks) < _MAX_MARKS:
            self._marks.append(_Mark(number, xid, asked))
        self._pass_marks(oldest_running)
        if self._marks and (not self._settled or asked - self._marks[0].made > _PATIENCE):
            here = await self._database.fetch_one(_OLDEST_HERE)
            assert here is not None
            self._pass_marks(here[0])
        return self._settled

    def _pass_marks(self, oldest_running: int) -> None:
        """Settle every mark that no running transaction is older than."""
        while self._marks and self._marks[0].xid <= oldest_running:
            mark = self._marks.popleft()
            self._settled, self.as_of = max(self._settled, mark.number), mark.made
