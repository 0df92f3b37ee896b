"""What may stand inside a string: fields by their path, and names of constructs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from memql.lang.catalog import Kind
from memql.lang.sense.annotated import annotation_arguments
from memql.lang.sense.entries import Entry, construct_entry, field_entry, name_entry, word_entries
from memql.lang.sense.surroundings import Surroundings
from memql.lang.sense.vocabulary import INTRINSIC_WORDS

__all__ = ["in_string"]

_NAMES: Final[dict[str, tuple[Kind, ...]]] = {
    "si": ("prompt",), "spec": ("spec",), "policy": ("policy",), "shape": ("shape",), "shapeWithBundle": ("shape",),
}  # fmt: skip
_PATHS: Final = frozenset({"sort", "select", "sum", "avg", "min", "max", "field"})
_WRITES: Final = frozenset({"insert", "update", "delete"})
_DIRECTIONS: Final = ("asc", "desc")


def in_string(around: Surroundings) -> Iterator[Entry]:
    """What the text of the string at a place may be."""
    place = around.place
    region = place.region
    if region.name == "annotation":
        yield from annotation_arguments(place, around, quoted=True)
    elif region.name == "query":
        yield from _sort_key(around)
    elif region.name == "call" and region.subject in _PATHS:
        yield from _path(around)
        if region.subject == "sort" and place.document.text[place.start - 1] == '"':
            for direction in _DIRECTIONS:
                yield name_entry(direction, "value", "a direction", rank=20)
    elif region.name == "call" and region.subject in _WRITES:
        for declared in around.index.of_kinds("concept"):
            yield construct_entry(declared, label=declared.key)
    elif region.name == "call":
        for declared in around.index.of_kinds(*_NAMES.get(region.subject, ())):
            yield construct_entry(declared)


def _sort_key(around: Surroundings) -> Iterator[Entry]:
    items = around.place.items
    at = max((index for index, token in enumerate(items) if token.value == "sort"), default=-1)
    if at < 0:
        return
    string = around.place.string
    earlier = [
        token for token in items[at + 1 :] if token.kind == "," and (string is None or token.start < string.start)
    ]
    if len(earlier) % 2:
        for direction in _DIRECTIONS:
            yield name_entry(direction, "value", "a direction")
    else:
        yield from _path(around)


def _path(around: Surroundings) -> Iterator[Entry]:
    """A path written as text: what follows its last point."""
    place = around.place
    string = place.string
    written = place.document.text[string.start + 1 : place.start] if string is not None else ""
    root, *rest = written.split(".")[:-1] or [""]
    if root == "payload":
        for field, owner in around.payload_fields(tuple(rest)):
            yield field_entry(field, owner)
    elif not root:
        yield from word_entries(INTRINSIC_WORDS, "property", rank=20)
