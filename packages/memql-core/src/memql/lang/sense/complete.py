"""``complete``: what may stand at the cursor, most likely first."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from memql.lang import ast
from memql.lang.catalog import Catalog
from memql.lang.checker.tree import Declared
from memql.lang.sense.candidates import candidates
from memql.lang.sense.document import open_document
from memql.lang.sense.entries import Entry
from memql.lang.sense.index import index_of, tree_path
from memql.lang.sense.model import Completion
from memql.lang.sense.place import place_at
from memql.lang.sense.surroundings import Surroundings

__all__ = ["complete"]

_ELSEWHERE: Final = 15
_INSIDE: Final = 100
"""Added to the rank of what holds the written word, but does not begin with it."""


def complete(source: str, line: int, column: int, path: str, catalog: Catalog) -> tuple[Completion, ...]:
    """What may stand at a place, in text that need not parse. Never raises.

    :param line: from 1.
    :param column: in characters, from 1.
    :param path: the file's path in the tree; anything that does not end in ``.memql`` makes it a raw request.
    """
    document = open_document(source, tree_path(catalog, path))
    offset = document.offset(line, column)
    if document.in_comment(offset):
        return ()
    place = place_at(document, offset)
    around = Surroundings(place, index_of(catalog, document))
    span = place.span
    found: dict[tuple[str, str], Completion] = {}
    for candidate in candidates(around):
        entry = _as_known(candidate, around)
        if (rank := _rank(entry, place.word)) is not None:
            found.setdefault((entry.label, entry.kind), _completion(replace(entry, rank=rank), span))
    return tuple(sorted(found.values(), key=lambda one: (one.sort_priority, one.label)))


def _as_known(entry: Entry, around: Surroundings) -> Entry:
    """A construct as the file knows it: by its alias, or last with what to import when it is not imported."""
    declared = entry.about
    if not isinstance(declared, Declared) or around.place.region.name == "use":
        return entry
    alias = around.index.alias(declared, around.path)
    if alias:
        text = alias + entry.insert_text.removeprefix(declared.name)
        return replace(entry, label=alias, insert_text=text) if entry.label == declared.name else entry
    if missing := around.index.importable(declared, around.path):
        documentation = f"{entry.documentation}\n\nImport it: `{missing}`".strip()
        return replace(entry, rank=entry.rank + _ELSEWHERE, documentation=documentation)
    return entry


def _rank(entry: Entry, word: str) -> int | None:
    """The rank of an entry given what is written of it, or None when it does not fit."""
    label, written = entry.label.lower(), word.lower()
    if label.startswith(written):
        return entry.rank
    return entry.rank + _INSIDE if written in label else None


def _completion(entry: Entry, span: ast.Span) -> Completion:
    return Completion(
        label=entry.label,
        kind=entry.kind,
        span=span,
        insert_text=entry.insert_text,
        detail=entry.detail,
        documentation=entry.documentation,
        sort_priority=entry.rank,
        is_snippet=entry.is_snippet,
    )
