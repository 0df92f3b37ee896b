"""Answers kept for a while, until a concept they were read from is written: ``@cache`` and ``@cacheable``.

An answer is keyed on what was asked, with which values, and by whom. Whoever learns of a write calls
:meth:`AnswerCache.evict`; an answer whose reading began before that is not kept, so that none outlives the eviction.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["MAX_TTL", "AnswerCache", "Ticket"]

MAX_TTL = 300.0
"""Seconds; longer wishes are cut."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What must be presented to have an answer kept: the writes that were known when its reading began."""

    key: Hashable
    moment: int


@dataclass(frozen=True, slots=True)
class _Entry:
    answer: Any
    size: int
    expires: float
    concepts: tuple[str, ...]


class AnswerCache:
    """Answers by key, least recently used first out.

    ``in_use`` is set as soon as something may be kept here; who looks after writes elsewhere waits for it.

    :param max_size: the most that may be kept, in rows.
    """

    def __init__(
        self, *, max_entries: int = 1000, max_size: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.in_use = asyncio.Event()
        self._clock = clock
        self._max_entries = max_entries
        self._max_size = max_size
        self._size = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._keys_of: defaultdict[str, set[Hashable]] = defaultdict(set)
        self._evictions = 0
        self._evicted: dict[str, int] = {}
        self._cleared = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Any:
        """The kept answer, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.answer

    def begin(self, key: Hashable) -> Ticket:
        """Before a read: note which writes it will have seen."""
        self.in_use.set()
        return Ticket(key, self._evictions)

    def keep(self, ticket: Ticket, concepts: Iterable[str], answer: Any, ttl: float, *, size: int = 1) -> None:
        """After a read: keep its answer, unless one of the concepts it was read from was written meanwhile."""
        concepts = tuple(concepts)
        if ticket.moment < self._cleared or any(self._evicted.get(one, 0) > ticket.moment for one in concepts):
            return
        self._drop(ticket.key)
        self.in_use.set()
        self._entries[ticket.key] = _Entry(answer, size, self._clock() + min(ttl, MAX_TTL), concepts)
        self._size += size
        for concept in concepts:
            self._keys_of[concept].add(ticket.key)
        while len(self._entries) > self._max_entries or (self._size > self._max_size and self._entries):
            self._drop(next(iter(self._entries)))

    def evict(self, concept: str) -> None:
        """A row of the concept was written: drop what was read from it."""
        self._evictions += 1
        self._evicted[concept] = self._evictions
        for key in list(self._keys_of.get(concept, ())):
            self._drop(key)

    def clear(self) -> None:
        """Drop everything, and what is being read now."""
        self._evictions += 1
        self._cleared = self._evictions
        self._evicted.clear()
        for key in list(self._entries):
            self._drop(key)

    def sweep(self) -> None:
        """Drop what has expired."""
        now = self._clock()
        for key in [key for key, entry in self._entries.items() if entry.expires <= now]:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._size -= entry.size
        for concept in entry.concepts:
            self._keys_of[concept].discard(key)
