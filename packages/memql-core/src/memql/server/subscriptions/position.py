"""Which log positions a subscription has behind it, exactly, although commits come out of order.

Numbers are drawn when a version is written but become visible when its transaction commits, so "everything up to the
last one seen" would lose a late commit. A position is therefore a settled number, below which nothing can appear any
more, and the numbers beyond it that were dealt with already. As text it is the cursor of a subscription:
``120`` or ``120:3,7-9``, the latter relative to the former.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memql.errors import Code, MemqlError

__all__ = ["MAX_CURSOR", "Position"]

MAX_CURSOR = 1024
"""Characters. A position that needs more has no cursor until more is settled: the one before stays valid, and resuming
from it repeats events rather than losing one."""

_CURSOR = re.compile(r"(\d{1,19})(?::(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*))?")


class Position:
    """Mutable; one per subscription."""

    __slots__ = ("_ahead", "settled")

    def __init__(self, settled: int, ahead: Iterable[int] = ()) -> None:
        self.settled = settled
        self._ahead = {number for number in ahead if number > settled}

    @classmethod
    def parse(cls, cursor: str) -> Position:
        """From a cursor.

        :raises MemqlError: ``INVALID_ARGUMENT`` when it is none.
        """
        match = _CURSOR.fullmatch(cursor) if len(cursor) <= MAX_CURSOR else None
        if match is None:
            raise MemqlError(
                Code.INVALID_ARGUMENT,
                f"config.resumeAfter {cursor[:40]!r} is no cursor; pass one that an event brought, unchanged",
            )
        settled = int(match[1])
        return cls(settled, _expand(settled, match[2]) if match[2] else ())

    def admit(self, number: int) -> bool:
        """Record that a number is dealt with; False when it was before."""
        if number <= self.settled or number in self._ahead:
            return False
        self._ahead.add(number)
        return True

    def settle(self, upto: int) -> None:
        """Everything up to ``upto`` has been dealt with or did not concern the subscription."""
        if upto > self.settled:
            self.settled = upto
            self._ahead = {number for number in self._ahead if number > upto}

    def cursor(self) -> str:
        """The position as text; empty when it would be longer than :data:`MAX_CURSOR`."""
        if not self._ahead:
            return str(self.settled)
        if len(self._ahead) > MAX_CURSOR * 4:
            return ""
        text = f"{self.settled}:{','.join(_ranges(self.settled, self._ahead))}"
        return text if len(text) <= MAX_CURSOR else ""


def _ranges(base: int, numbers: Iterable[int]) -> Iterable[str]:
    first = last = -1
    for number in sorted(numbers):
        offset = number - base
        if offset == last + 1 and first >= 0:
            last = offset
            continue
        if first >= 0:
            yield str(first) if first == last else f"{first}-{last}"
        first = last = offset
    if first >= 0:
        yield str(first) if first == last else f"{first}-{last}"


def _expand(base: int, text: str) -> list[int]:
    out: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        if last < first or len(out) + last - first > MAX_CURSOR * 8:
            raise MemqlError(Code.INVALID_ARGUMENT, f"config.resumeAfter has the impossible range {part!r}")
        out.extend(range(base + first, base + last + 1))
    return out
