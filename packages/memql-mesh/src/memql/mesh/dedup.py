"""Which events this node has seen, so that one that comes twice is published once (spec "Dedup ring and TTL", "Push").

Ids leave in the order they came, but none before a floor of seconds has passed, unless so many come that memory has to
be bounded: then the oldest go early.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["MAX_SIZE", "Dedup"]

MAX_SIZE: Final = 65_536
"""Ids that are kept at most."""

_FLOOR_SECONDS: Final = 120.0


class Dedup:
    """The ids of recent events, each with the fewest hops that any copy of it has made.

    :param size: how many ids are kept however old they are.
    :param floor: seconds that an id stays at least, as long as there are no more than :data:`MAX_SIZE`.
    :param clock: seconds, monotonic.
    """

    def __init__(
        self, size: int = 8192, *, floor: float = _FLOOR_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = min(size, MAX_SIZE)
        self._floor = floor
        self._clock = clock
        self._hops: dict[str, int] = {}
        self._order: deque[tuple[float, str]] = deque()
        self.evicted_early = 0
        """How many ids left before their floor because memory is bounded."""

    def __len__(self) -> int:
        return len(self._hops)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._hops

    def first(self, event_id: str, hops: int = 0) -> bool:
        """Note a copy of an event; True when no copy was noted before."""
        if event_id in self._hops:
            return False
        now = self._clock()
        self._hops[event_id] = hops
        self._order.append((now, event_id))
        if len(self._hops) > self._size:
            self._make_room(now)
        return True

    def shorter(self, event_id: str, hops: int) -> bool:
        """Note another copy of a known event; True when none before it came a shorter way."""
        if hops >= self._hops[event_id]:
            return False
        self._hops[event_id] = hops
        return True

    def _make_room(self, now: float) -> None:
        while len(self._hops) > self._size:
            came, oldest = self._order[0]
            if now - came < self._floor:
                if len(self._hops) <= MAX_SIZE:
                    return
                self.evicted_early += 1
            self._order.popleft()
            del self._hops[oldest]
