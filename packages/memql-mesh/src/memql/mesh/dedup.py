"""Which events this node has seen, so that one that comes twice is published once (spec "Dedup ring and TTL", "Push").

Ids are kept in two generations, a filling one and the one before it. A generation leaves as a whole, when the next has
filled up; not before a floor of seconds has passed, unless so many ids come that memory has to be bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["MAX_SIZE", "Dedup"]

MAX_SIZE: Final = 65_536
"""Ids that are kept at most."""

_FLOOR_SECONDS: Final = 120.0
_LOOK_EVERY: Final = 256


class Dedup:
    """The ids of recent events, each with the fewest hops that any copy of it has made.

    :param size: how many ids are kept at least, however old they are.
    :param floor: seconds that an id stays at least, as long as there are no more than :data:`MAX_SIZE`.
    :param clock: seconds, monotonic.
    """

    def __init__(
        self, size: int = 8192, *, floor: float = _FLOOR_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = min(size, MAX_SIZE // 2)
        self._floor = floor
        self._clock = clock
        self._filling: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._begun = clock()
        self._look_at = self._size
        self.evicted_early = 0
        """How many ids left before their floor because memory is bounded."""

    def __len__(self) -> int:
        return len(self._filling) + len(self._before)

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._filling or event_id in self._before

    def first(self, event_id: str, hops: int = 0) -> bool:
        """Note a copy of an event; True when no copy was noted before."""
        filling = self._filling
        if event_id in filling or event_id in self._before:
            return False
        filling[event_id] = hops
        if len(filling) >= self._look_at:
            self._look()
        return True

    def shorter(self, event_id: str, hops: int) -> bool:
        """Note another copy of a known event; True when none before it came a shorter way."""
        known = self._filling if event_id in self._filling else self._before
        if hops >= known[event_id]:
            return False
        known[event_id] = hops
        return True

    def _look(self) -> None:
        """The filling generation is large enough; close it if it is old enough too, or too large."""
        now = self._clock()
        young = now - self._begun < self._floor
        if young and len(self._filling) < MAX_SIZE // 2:
            self._look_at = min(len(self._filling) + _LOOK_EVERY, MAX_SIZE // 2)
            return
        if young:
            self.evicted_early += len(self._before)
        self._before, self._filling = self._filling, {}
        self._begun, self._look_at = now, self._size
