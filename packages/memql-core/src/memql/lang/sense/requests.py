"""What a raw request may be made of (spec "Raw query language")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from memql.lang.catalog import Kind
from memql.lang.sense.entries import Entry, construct_entry, name_entry, word_entries
from memql.lang.sense.expressions import concept_ids, expression, operators
from memql.lang.sense.place import ends_operand
from memql.lang.sense.surroundings import Surroundings
from memql.lang.sense.vocabulary import DIRECTIVE_WORDS, INTROSPECTION_WORDS, WRITE_REQUESTS

__all__ = ["request"]

_CALLED: Final[tuple[Kind, ...]] = ("query", "mutation", "logic", "builtin")


def request(around: Surroundings) -> Iterator[Entry]:
    """The beginnings of reads and writes, or what continues a filter."""
    place = around.place
    items = place.items
    if ends_operand(items):
        yield from operators(rank=20)
        return
    if not items:
        yield from word_entries(DIRECTIVE_WORDS, "directive", rank=25)
        for declared in around.index.of_kinds(*_CALLED):
            if not declared.marks.has("internal"):
                yield construct_entry(declared, called=True)
        yield name_entry("concept", "property", "The concept of the rows.", rank=8, insert="concept == ")
        yield from concept_ids(around)
        if place.region.name == "request":
            yield from word_entries(WRITE_REQUESTS, "keyword", rank=30)
            yield from word_entries(INTROSPECTION_WORDS, "function", rank=40)
    yield from expression(around, "R")
