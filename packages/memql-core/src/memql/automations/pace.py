"""``@rateLimit`` of triggered runs: when each may begin, so that none is lost and not too many begin at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from memql.lang.catalog import RateLimit

__all__ = ["Pace"]


class Pace:
    """The turns of every automation, in this process. A run that must wait has its turn reserved.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given: dict[str, deque[float]] = {}
        self._begun: dict[str, deque[float]] = {}
        self._reserved: dict[tuple[str, str], float] = {}

    def wait(self, name: str, key: str, limit: RateLimit) -> float:
        """Seconds until the run ``key`` of an automation may begin; 0 takes the turn."""
        now = self._clock()
        given, begun = _last(self._given, name, limit), _last(self._begun, name, limit)
        turn = self._reserved.pop((name, key), None)
        if turn is None:
            turn = max(now, _next(given, limit))
            given.append(turn)
        # Who comes late for its turn begins late, and so does the one after it.
        turn = max(turn, _next(begun, limit))
        if turn <= now:
            begun.append(now)
            return 0.0
        self._forget_missed(now - limit.per)
        self._reserved[(name, key)] = turn
        return turn - now

    def _forget_missed(self, moment: float) -> None:
        """Drop what was reserved for runs that another process has begun, or nobody."""
        while self._reserved and (first := next(iter(self._reserved.items())))[1] < moment:
            del self._reserved[first[0]]


def _last(times: dict[str, deque[float]], name: str, limit: RateLimit) -> deque[float]:
    found = times.get(name)
    if found is None or found.maxlen != limit.requests:
        found = times[name] = deque(found or (), limit.requests)
    return found


def _next(times: deque[float], limit: RateLimit) -> float:
    return times[0] + limit.per if len(times) == limit.requests else float("-inf")
