"""How far a reader may move its cursor: up to the first event that somebody still has to decide about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

__all__ = ["Frontier"]


class Frontier:
    """Tracks positions that are read but not decided.

    :param position: everything up to here is decided.
    """

    def __init__(self, position: int) -> None:
        self._read = position
        self._open: Counter[int] = Counter()

    @property
    def read(self) -> int:
        """How far has been read."""
        return self._read

    @property
    def decided(self) -> int:
        """The highest position with nothing open at or below it."""
        return min(self._open) - 1 if self._open else self._read

    def advance(self, position: int) -> None:
        """Everything up to ``position`` has been read and its events are open or decided."""
        self._read = max(self._read, position)

    def open(self, position: int) -> Callable[[], None]:
        """Hold the cursor below ``position`` until the returned function is called, once."""
        self._open[position] += 1

        def decide() -> None:
            self._open[position] -= 1
            if not self._open[position]:
                del self._open[position]

        return decide
