"""How long to wait before the next dial (spec "Connection lifecycle and backoff", "Connections")."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Backoff"]


class Backoff:
    """Doubling waits with full jitter, from ``first`` to ``most`` seconds; a connection that held long enough starts
    them over."""

    def __init__(
        self,
        first: float = 1.0,
        most: float = 30.0,
        stable_after: float = 10.0,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first
        self._most = most
        self.stable_after = stable_after
        """Seconds that a connection must hold for the waits to start over."""
        self._uniform = uniform
        self._bound = first

    def next_wait(self) -> float:
        """Seconds to wait before dialing again."""
        bound, self._bound = self._bound, min(self._bound * 2, self._most)
        return self._uniform(0, bound)

    def connected_for(self, seconds: float) -> None:
        """A connection lived so long."""
        if seconds >= self.stable_after:
            self._bound = self._first
