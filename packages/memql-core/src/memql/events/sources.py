"""The log and the outbox under one face, for whoever follows both behind a cursor (spec "Durable substrate")."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from memql.events.event import Event
from memql.events.horizon import Beginning, Horizon
from memql.events.log import EventLog
from memql.events.outbox import Outbox

__all__ = ["MOST_POSITIONS", "LogSource", "OutboxSource", "Source"]

MOST_POSITIONS: Final = 100_000
"""How much one reading looks through, of which perhaps nothing is for the reader: it must end in time."""


class Source(Protocol):
    """A numbered, durable sequence of events. ``expires`` tells whether old ones are dropped."""

    name: str
    horizon: Horizon
    expires: bool

    async def read(self, after: int, upto: int, limit: int, since: Beginning | None) -> Sequence[tuple[int, Event]]:
        """Events with ``after < position <= upto`` that had not committed at ``since``, in order; fewer than
        ``limit`` positions mean that is all."""
        ...


class LogSource:
    """The log, narrowed to the concepts that the reader is about.

    :param concepts: the concept ids to read, or None for all.
    """

    name = "log"
    expires = False

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
    expires = True

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.horizon = outbox.horizon

    async def read(self, after: int, upto: int, limit: int, since: Beginning | None) -> Sequence[tuple[int, Event]]:
        """See the protocol."""
        return await self._outbox.read(after, upto, limit, since=since)
