"""Recall: the passages nearest to a question among the rows that the asker may read (spec "No key at all").

Candidates are the newest rows of every concept that has text and the newest that share a word with the question. Every
row, those of the context included, comes from :class:`memql.engine.readable.ReadableRows`, which applies the row rules;
nothing else is read. Equal data gives equal answers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio

from memql.agent.local_embedding import LocalEmbedding
from memql.agent.passages import Labels, Layout, Passage, Row, label_of, passages_of, pointed_ids
from memql.agent.questions import search_text, search_words
from memql.auth import Actor
from memql.engine.readable import ReadableRows
from memql.engine.tools.model_errors import si_error
from memql.errors import first_of
from memql.graph.database import Database
from memql.lang.catalog import Catalog, Concept

__all__ = ["Found", "Recall", "Recalled"]

log = logging.getLogger(__name__)

MAX_ROWS: Final = 40
"""Rows of one concept that are looked at for being new, and as many for sharing a word."""
MAX_PASSAGES: Final = 2000
MAX_CHARACTERS: Final = 1024 * 1024
SEARCH_SECONDS: Final = 3.0
"""How long either look at the rows of one concept may take; it is left out then, and told."""
TOTAL_SECONDS: Final = 20.0
_MOST_LABELS: Final = 500
_QUESTION: Final = 4000
_AT_ONCE: Final = 4
_HOPS: Final = 2
_BOOKKEEPING: Final = frozenset({"platform", "cluster", "identity"})
"""Namespaces of what the system keeps about itself: never quoted, whoever asks."""


@dataclass(frozen=True, slots=True)
class Found:
    """A passage and how near it is to the question, alone or with its context, whichever is nearer: at most 1, rounded
    to four places."""

    passage: Passage
    similarity: float


@dataclass(frozen=True, slots=True)
class Recalled:
    """Passages, nearest first, one for each row. ``partial`` says that some rows took too long to read."""

    found: Sequence[Found]
    partial: bool = False


class Recall:
    """See the module."""

    def __init__(
        self, catalog: Callable[[], Catalog], readable: ReadableRows, database: Database, embedding: LocalEmbedding
    ) -> None:
        self._catalog = catalog
        self._readable = readable
        self._database = database
        self._embedding = embedding
        self._layouts = _Layouts(catalog())

    async def find(self, question: str, actor: Actor, limit: int) -> Recalled:
        """The nearest passages.

        :raises MemqlError: ``si.timeout`` after 20 s, and what the database raises.
        """
        try:
            with anyio.fail_after(TOTAL_SECONDS):
                return await self._find(question[:_QUESTION], actor, limit)
        except TimeoutError as error:
            raise si_error("si.timeout", f"recall took more than {TOTAL_SECONDS:g} s") from error

    async def _find(self, question: str, actor: Actor, limit: int) -> Recalled:
        layouts = self._current()
        words = await search_words(question, self._database)
        collected = _Collected(layouts)
        await _each(
            [one for one in layouts.all if _is_quotable(one)],
            lambda layout: self._candidates(layout, words, actor, collected),
        )
        labels = await self._labels(collected.rows, actor, layouts)
        found = await self._ranked(question, collected.passages(labels))
        return Recalled(_best_of_each_row(found)[:limit], collected.partial)

    def _current(self) -> _Layouts:
        if self._layouts.catalog is not self._catalog():
            self._layouts = _Layouts(self._catalog())
        return self._layouts

    # --- candidates ------------------------------------------------------------------------------------------------

    async def _candidates(self, layout: Layout, words: list[str], actor: Actor, collected: _Collected) -> None:
        concept, readable = layout.concept, self._readable
        await self._collect(concept, readable.newest(concept, actor, MAX_ROWS), collected)
        if words:
            search = search_text(words)
            found = readable.matching(concept, layout.texts, search, actor, MAX_ROWS)
            await self._collect(concept, found, collected)

    async def _collect(self, concept: Concept, rows: Awaitable[Iterable[Row]], collected: _Collected) -> None:
        with anyio.move_on_after(SEARCH_SECONDS) as scope:
            collected.add(await rows)
        if scope.cancelled_caught:
            log.warning("recall left out rows of %s: reading them took more than %g s", concept.key, SEARCH_SECONDS)
            collected.partial = True

    # --- context ---------------------------------------------------------------------------------------------------

    async def _labels(self, rows: Mapping[str, Row], actor: Actor, layouts: _Layouts) -> Labels:
        """The names of the rows pointed to, as far as the actor may read those."""
        near: dict[str, Row] = {}
        level = rows
        for _ in range(_HOPS):
            level = await self._pointed_rows(_pointed_to(level.values(), layouts, known=near), actor, layouts)
            near.update(level)
        labels: dict[str, tuple[str, ...]] = {}
        for _ in range(_HOPS):
            labels = {id: label_of(row, layouts[row], labels) for id, row in near.items()}
        return labels

    async def _pointed_rows(self, wanted: Mapping[str, list[str]], actor: Actor, layouts: _Layouts) -> dict[str, Row]:
        found: dict[str, Row] = {}

        async def fetch(key: str) -> None:
            rows = await self._readable.of_ids(layouts.catalog.concepts[key], wanted[key], actor)
            found.update((str(row["id"]), row) for row in rows)

        await _each(sorted(wanted), fetch)
        return found

    # --- ranking ---------------------------------------------------------------------------------------------------

    async def _ranked(self, question: str, passages: Sequence[Passage]) -> list[Found]:
        texts, wholes = ([getattr(passage, name) for passage in passages] for name in ("text", "whole"))
        vectors = await self._embedding.vectors([question, *texts, *wholes])
        alone, together = (vectors[1:] @ vectors[0]).reshape(2, -1)
        found = [
            Found(passage, round(float(max(nearness)), 4))
            for passage, *nearness in zip(passages, alone, together, strict=True)
        ]
        # Newer before older where both are as near; sorting is stable, so the last key comes first.
        found.sort(key=lambda one: (one.passage.id, one.passage.field))
        found.sort(key=lambda one: one.passage.created_at, reverse=True)
        found.sort(key=lambda one: one.similarity, reverse=True)
        return found


class _Layouts:
    """The layouts of a tree."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._by_concept = {key: Layout.of(concept) for key, concept in catalog.concepts.items()}

    def __getitem__(self, row: Row) -> Layout:
        return self._by_concept[row["concept"]]

    @property
    def all(self) -> Iterable[Layout]:
        """Those of every concept."""
        return self._by_concept.values()


class _Collected:
    """The candidate rows, within the bounds."""

    def __init__(self, layouts: _Layouts) -> None:
        self._layouts = layouts
        self.rows: dict[str, Row] = {}
        self.partial = False

    def add(self, rows: Iterable[Row]) -> None:
        self.rows.update((str(row["id"]), row) for row in rows)

    def passages(self, labels: Labels) -> list[Passage]:
        """Those of all rows; of the newest ones where there are too many."""
        newest = sorted(self.rows.values(), key=lambda row: (row["createdAt"], row["id"]), reverse=True)
        found: list[Passage] = []
        left = MAX_CHARACTERS
        for row in newest:
            for passage in passages_of(row, self._layouts[row], labels):
                left -= len(passage.whole)
                if left < 0 or len(found) >= MAX_PASSAGES:
                    return found
                found.append(passage)
        return found


def _is_quotable(layout: Layout) -> bool:
    concept = layout.concept
    return not concept.secret_store and concept.namespace not in _BOOKKEEPING and bool(layout.texts)


def _pointed_to(rows: Iterable[Row], layouts: _Layouts, *, known: Mapping[str, Row]) -> dict[str, list[str]]:
    """The ids that rows point to, by concept, in order and bounded."""
    wanted: dict[str, dict[str, None]] = {}
    for row in rows:
        for pointer in layouts[row].pointers.values():
            target = layouts.catalog.concepts.get(pointer.target)
            if target is None or target.secret_store:
                continue
            ids = wanted.setdefault(pointer.target, {})
            for id in pointed_ids(row, pointer):
                if id not in known and len(ids) < _MOST_LABELS:
                    ids[id] = None
    return {concept: list(ids) for concept, ids in wanted.items() if ids}


def _best_of_each_row(found: Iterable[Found]) -> list[Found]:
    best: dict[str, Found] = {}
    for one in found:
        best.setdefault(one.passage.id, one)
    return list(best.values())


async def _each(items: Iterable[Any], work: Callable[[Any], Awaitable[None]]) -> None:
    """Do something for every item, a few at a time.

    :raises MemqlError: the first failure.
    """
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def one(item: Any) -> None:
        async with limiter:
            await work(item)

    try:
        async with anyio.create_task_group() as group:
            for item in items:
                group.start_soon(one, item)
    except ExceptionGroup as failures:
        raise first_of(failures) from None
