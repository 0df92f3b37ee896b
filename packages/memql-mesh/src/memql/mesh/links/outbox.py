"""What waits to be sent to one peer, in two lanes (spec "Connections").

The control lane holds what somebody waits for: handshakes, heartbeats, forwards. It refuses when it is full, so that
whoever waits learns at once. The event lane holds events: when it is full the oldest go, are counted, and the next
batch says that some are missing, so that the receiver looks for them in the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from memql.errors import Code, MemqlError
from memql.mesh.wire.records import Record

__all__ = ["Batch", "Outbox"]

log = logging.getLogger(__name__)

_WARN_EVERY: Final = 10.0
_OVERHEAD: Final = 128
"""About how many bytes a record takes beside its payload."""


class Batch(NamedTuple):
    """Events to send at once; ``gap`` says that older ones were dropped."""

    records: list[Record]
    gap: bool


class Outbox:
    """The outbox of one stream; one task sends from it.

    :param peer: names the receiver in what is logged.
    :param capacity: how much each lane holds.
    """

    def __init__(self, peer: str, capacity: int = 1024, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.peer = peer
        self.dropped = 0
        """How many events were dropped because the lane was full."""
        self._capacity = capacity
        self._clock = clock
        self._control: deque[bytes] = deque()
        self._events: deque[Record] = deque()
        self._gap = False
        self._closed = False
        self._warned = float("-inf")
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def waiting(self) -> int:
        """How many messages and events wait."""
        return len(self._control) + len(self._events)

    def post(self, envelope: bytes) -> None:
        """Queue a control message.

        :raises MemqlError: ``RESOURCE_EXHAUSTED`` when the lane is full.
        """
        if len(self._control) >= self._capacity:
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED,
                f"{self._capacity} messages to {self.peer} wait already; it takes them too slowly",
            )
        self._control.append(envelope)
        self._ready.set()

    async def put(self, envelope: bytes) -> None:
        """Queue a control message when there is room: for answers, whose sender goes at the receiver's pace. Once the
        outbox is closed nobody waits for them, and they are dropped."""
        while len(self._control) >= self._capacity and not self._closed:
            self._room.clear()
            await self._room.wait()
        if not self._closed:
            self.post(envelope)

    def close(self) -> None:
        """Nothing is sent from it any more: whoever waits for room goes on."""
        self._closed = True
        self._room.set()

    def offer(self, record: Record) -> None:
        """Queue an event; never waits, never refuses."""
        events = self._events
        if not events:
            self._ready.set()
        elif len(events) >= self._capacity:
            events.popleft()
            self._note_dropped()
        events.append(record)

    def mark_gap(self) -> None:
        """Have the next batch say that events are missing, and send one even if it is empty."""
        self._gap = True
        self._ready.set()

    def wait(self) -> Awaitable[bool]:
        """What to await until something waits."""
        return self._ready.wait()

    def next_control(self) -> bytes | None:
        """The next control message, if there is one."""
        if not self._control:
            return None
        envelope = self._control.popleft()
        self._room.set()
        return envelope

    def next_batch(self, most_events: int, most_bytes: int) -> Batch | None:
        """What waits in the event lane, as far as it fits into one batch; None, and no more waiting, without any."""
        if not self._events and not self._gap:
            if not self._control:
                self._ready.clear()
            return None
        gap, self._gap = self._gap, False
        return Batch(self._take(most_events, most_bytes), gap)

    def _take(self, most_events: int, most_bytes: int) -> list[Record]:
        events = self._events
        few = len(events) <= most_events
        if few and (len(events) == 1 or sum(map(_size, events)) <= most_bytes):
            everything = list(events)
            events.clear()
            return everything
        return self._take_some(most_events, most_bytes)

    def _take_some(self, most_events: int, most_bytes: int) -> list[Record]:
        events = self._events
        records: list[Record] = []
        room = most_bytes
        while events and len(records) < most_events:
            room -= _size(events[0])
            if room < 0 and records:
                break
            records.append(events.popleft())
        return records

    def hand_over(self, other: Outbox) -> None:
        """Leave the events that still wait to another way to the same peer."""
        while self._events:
            other.offer(self._events.popleft())
        other.mark_gap()

    def _note_dropped(self) -> None:
        self._gap = True
        self.dropped += 1
        now = self._clock()
        if now - self._warned >= _WARN_EVERY:
            self._warned = now
            log.warning("%d events for %s were dropped so far: it takes them too slowly", self.dropped, self.peer)


def _size(record: Record) -> int:
    return len(record.payload) + _OVERHEAD
