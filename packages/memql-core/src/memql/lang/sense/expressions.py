"""The operands and operators of expressions and filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from memql.lang.catalog import Kind
from memql.lang.functions import FUNCTIONS
from memql.lang.sense.entries import (
    Entry,
    concept_id_entry,
    construct_entry,
    function_entry,
    name_entry,
    word_entries,
)
from memql.lang.sense.surroundings import Surroundings
from memql.lang.sense.vocabulary import INTRINSIC_WORDS, OPERATOR_WORDS, RELATION_WORDS, ROOT_WORDS

__all__ = ["concept_ids", "expression", "operators"]

_CALLABLE: Final[tuple[Kind, ...]] = ("query", "mutation", "logic", "builtin")
_CONCEPT_ARGUMENT: Final = "canonicalId"
_FILTERED: Final = frozenset({"query", "mutation", "spec", "trait"})


def expression(around: Surroundings, places: str) -> Iterator[Entry]:
    """What an operand may begin with.

    :param places: letters of :data:`memql.lang.functions.Place`: which functions may stand here; R for a raw request.
    """
    place = around.place
    header = place.header
    if _after_concept(around) or (place.word.startswith("v") and ":" in place.word):
        yield from concept_ids(around)
        return
    if place.region.name == "call" and place.region.subject == _CONCEPT_ARGUMENT and place.items:
        for declared in around.index.of_kinds("concept"):
            yield construct_entry(declared, rank=5)
    is_filter = "F" in places or "R" in places
    if header is not None:
        yield from _roots(around, is_filter=is_filter)
    if is_filter:
        yield from _filter_terms(around)
    if "L" in places:
        yield from around.bindings()
        for declared in around.index.of_kinds(*_CALLABLE):
            yield construct_entry(declared, called=not _called(around))
    wanted = places.replace("R", "F")
    for function in FUNCTIONS.values():
        if any(letter in wanted for letter in function.places):
            yield function_entry(function)
    yield from word_entries(ROOT_WORDS, "value", rank=40, only=("true", "false", "null"))


def _roots(around: Surroundings, *, is_filter: bool) -> Iterator[Entry]:
    header = around.place.header
    kind = header.kind if header else ""
    names = ["actor", "now"]
    if around.place.args or kind == "automation":
        names.append("args")
    if is_filter:
        names.append("payload")
    if kind == "automation" and not is_filter:
        names += ["event", "steps"]
    yield from word_entries(ROOT_WORDS, "keyword", rank=12, only=names)
    if is_filter and around.place.region.name == "annotation":
        for name in ("topic", "kind"):
            yield name_entry(name, "property", "of the event")


def _filter_terms(around: Surroundings) -> Iterator[Entry]:
    if around.place.header is None:
        yield from word_entries(ROOT_WORDS, "keyword", rank=12, only=("payload",))
    yield from word_entries(INTRINSIC_WORDS, "property", rank=15, only=set(INTRINSIC_WORDS) - {"payload", "partition"})
    for declared in around.index.of_kinds("spec", "trait"):
        yield construct_entry(declared)
    yield from word_entries(RELATION_WORDS, "function", rank=35)
    if around.place.args:
        yield name_entry("when", "keyword", "A filter that counts only when an argument is given.", rank=35,
                         insert="when(args.$1) { $0 }")  # fmt: skip


def concept_ids(around: Surroundings) -> Iterator[Entry]:
    """Every concept by its id."""
    for declared in around.index.of_kinds("concept"):
        yield concept_id_entry(declared)


def _after_concept(around: Surroundings) -> bool:
    tokens, before = around.place.document.tokens, around.place.before
    if before < 2:
        return False
    return tokens[before - 1].kind in ("==", "!=") and tokens[before - 2].value == "concept"


def _called(around: Surroundings) -> bool:
    """Whether the call's bracket is written already."""
    return around.place.document.text[around.place.offset : around.place.offset + 1] == "("


def operators(*, rank: int) -> Iterator[Entry]:
    """What may follow an operand, as words."""
    yield from word_entries(OPERATOR_WORDS, "operator", rank=rank)
