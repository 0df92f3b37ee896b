"""Which log positions a subscription has behind it, exactly, although commits come out of order.

Numbers are drawn when a version is written but become visible when its transaction commits, so "everything up to the
last one seen" would lose a late commit. A position is therefore a settled place, below which nothing can appear any
more, and the places beyond it that were dealt with already. As text it is the cursor of a subscription:
``120`` or ``120:3,7-9``, the latter relative to the former.

A version of the log has two places, because an update is two events: ``created`` and then ``updated``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from memql.errors import Code, MemqlError
from memql.events import Event

__all__ = ["MAX_AHEAD", "MAX_CURSOR", "Position", "first_place", "last_place", "place", "version_of"]

MAX_CURSOR = 2048
"""Characters of a cursor."""

MAX_AHEAD = 256
"""Places beyond the settled one that a cursor lists. A position with more has no cursor until more is settled: the one
before stays valid, and resuming from it repeats events rather than losing one."""

_CURSOR = re.compile(r"(\d{1,19})(?::(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*))?")


def place(event: Event) -> int:
    """The place of a graph event."""
    assert event.log_seq is not None
    return first_place(event.log_seq) + (event.kind == "NODE_UPDATED")


def first_place(number: int) -> int:
    """The first place of the version with that log number."""
    return 2 * number


def last_place(number: int) -> int:
    """The last place of the version with that log number."""
    return 2 * number + 1


def version_of(at: int) -> int:
    """The number of the last version that lies wholly at or before a place."""
    return (at - 1) // 2


class Position:
    """Mutable; one per subscription."""

    __slots__ = ("_ahead", "_begun", "settled")

    def __init__(self, settled: int, ahead: Iterable[int] = ()) -> None:
        self.settled = settled
        self._ahead = {at for at in ahead if at > settled}
        self._begun: set[int] = set()

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

    @property
    def ahead(self) -> int:
        """How many places beyond the settled one are dealt with."""
        return len(self._ahead)

    def admit(self, at: int) -> bool:
        """Begin to deal with a place; False when that was done or begun before."""
        if at <= self.settled or at in self._ahead or at in self._begun:
            return False
        self._begun.add(at)
        return True

    def finish(self, at: int) -> None:
        """A place that was admitted is dealt with: from here on the cursor covers it."""
        self._begun.discard(at)
        if at > self.settled:
            self._ahead.add(at)

    def settle(self, upto: int) -> None:
        """Everything up to ``upto`` has been dealt with or did not concern the subscription."""
        if upto > self.settled:
            self.settled = upto
            self._ahead = {at for at in self._ahead if at > upto}

    def cursor(self) -> str:
        """The position as text; empty while more than :data:`MAX_AHEAD` places are ahead."""
        if not self._ahead:
            return str(self.settled)
        if len(self._ahead) > MAX_AHEAD:
            return ""
        text = f"{self.settled}:{','.join(_ranges(self.settled, self._ahead))}"
        return text if len(text) <= MAX_CURSOR else ""


def _ranges(base: int, places: Iterable[int]) -> Iterable[str]:
    first = last = -1
    for at in sorted(places):
        offset = at - base
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
        if last < first or len(out) + last - first >= MAX_AHEAD:
            raise MemqlError(Code.INVALID_ARGUMENT, f"config.resumeAfter has the impossible range {part!r}")
        out.extend(range(base + first, base + last + 1))
    return out
