"""``@cache``: results kept for a while, until a concept they were read from is written.

A result is keyed on its plan, the values it was run with, and who asked. Whoever publishes writes calls
:meth:`ResultCache.evict`; a read that began before a write is not kept, so that it cannot outlive the eviction.
"""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from memql.engine.result import Result

__all__ = ["MAX_TTL", "ResultCache", "Ticket"]

MAX_TTL = 300.0
"""Seconds; longer wishes are cut."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a read must present to have its result kept: the state of its concepts when it began."""

    key: Hashable
    generations: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    result: Result
    expires: float
    concepts: tuple[str, ...]


class ResultCache:
    """Results by key, least recently used first out."""

    def __init__(
        self, *, max_entries: int = 1000, max_rows: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_rows = max_rows
        self._rows = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._keys_of: defaultdict[str, set[Hashable]] = defaultdict(set)
        self._generations: defaultdict[str, int] = defaultdict(int)

    def get(self, key: Hashable) -> Result | None:
        """The kept result, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires <= self._clock():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.result

    def begin(self, key: Hashable, concepts: Iterable[str]) -> Ticket:
        """Before a read: note which writes it will have seen."""
        return Ticket(key, tuple((concept, self._generations[concept]) for concept in concepts))

    def keep(self, ticket: Ticket, result: Result, ttl: float) -> None:
        """After a read: keep its result, unless one of its concepts was written meanwhile."""
        if any(self._generations[concept] != generation for concept, generation in ticket.generations):
            return
        self._drop(ticket.key)
        concepts = tuple(concept for concept, _ in ticket.generations)
        self._entries[ticket.key] = _Entry(result, self._clock() + min(ttl, MAX_TTL), concepts)
        self._rows += _size(result)
        for concept in concepts:
            self._keys_of[concept].add(ticket.key)
        while len(self._entries) > self._max_entries or (self._rows > self._max_rows and self._entries):
            self._drop(next(iter(self._entries)))

    def evict(self, concept: str) -> None:
        """A row of the concept was written: drop what was read from it."""
        self._generations[concept] += 1
        for key in list(self._keys_of.get(concept, ())):
            self._drop(key)

    def clear(self) -> None:
        """Drop everything: another tree is in force."""
        for concept in list(self._keys_of):
            self.evict(concept)

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._rows -= _size(entry.result)
        for concept in entry.concepts:
            self._keys_of[concept].discard(key)


def _size(result: Result) -> int:
    return len(result.nodes) + len(result.edges) + len(result.data) + 1
