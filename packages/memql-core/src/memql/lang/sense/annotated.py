"""Annotations at a place: which may stand there, and what their arguments may be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from memql.lang import ast
from memql.lang.annotations import ANNOTATIONS, AnnotationRow, Target, row_for
from memql.lang.catalog import Kind
from memql.lang.checker.tree import KINDS
from memql.lang.sense.entries import Entry, annotation_entry, construct_entry, field_entry, name_entry
from memql.lang.sense.index import fields_of
from memql.lang.sense.place import Place
from memql.lang.sense.surroundings import Surroundings

__all__ = ["annotation_arguments", "annotations_here", "rows_named"]

_TOP: Final[tuple[Target, ...]] = tuple(KINDS.values())
_LOOK_BACK: Final = 64
_CONCEPT_LEVEL: Final = "relationship"
_EVENTS: Final = ("node.created", "node.updated", "node.deleted")
_REFERENCES: Final[dict[tuple[str, str], tuple[Kind, ...]]] = {
    ("trigger", "concept"): ("concept",), ("relationship", "target"): ("concept",), ("rowAuthz", "via"): ("spec",),
    ("shape", "value"): ("shape",), ("defaultProvider", "value"): ("provider", "policy"),
    ("extends", "value"): ("provider",), ("primary", "value"): ("provider", "policy"),
    ("fallback", "value"): ("provider", "policy"), ("handler", "name"): ("query", "mutation", "logic", "builtin"),
}  # fmt: skip
_FIELD_NAMES: Final = frozenset(
    {("rowAuthz", "owner"), ("relationship", "field"), ("variant", "discriminator"), ("mergeFields", "values"),
     ("displayCard", "primary"), ("displayCard", "secondary"), ("displayCard", "tertiary"), ("displayCard", "status")}
)  # fmt: skip
_VALUES: Final = {
    ("trigger", "event"): _EVENTS,
    ("relationship", "type"): (
        "parent", "contains", "owns", "alias", "equals", "createdBy", "interactsWith", "references",
    ),
    ("relationship", "direction"): ("outgoing", "incoming", "bidirectional"),
    ("role", "values"): ("owner", "admin", "writer", "reader"),
}  # fmt: skip


def targets(place: Place) -> tuple[Target, ...]:
    """What an annotation at a place stands on; several while that is not written yet."""
    region = place.region
    match region.name:
        case "top":
            return _next_construct(place)
        case "concept":
            has_field = bool(region.path) or any(
                token.kind == "IDENT" and (not index or place.items[index - 1].kind != "@")
                for index, token in enumerate(place.items)
            )
            return ("field",) if has_field else ("concept",)
        case "args":
            return ("arg",)
        case "fields":
            fields: dict[str, Target] = {"builtin": "builtin field", "prompt": "prompt field", "tool": "tool field"}
            return (fields[region.subject],)
    return ()


def _next_construct(place: Place) -> tuple[Target, ...]:
    header = place.following_header
    return tuple(kind for kind in _TOP if header is None or kind == header.kind)


def annotations_here(place: Place) -> Iterator[Entry]:
    """The annotations that may stand at a place."""
    wanted = frozenset(targets(place))
    items = place.items[-_LOOK_BACK:]
    given = {token.value for before, token in pairwise(items) if before.kind == "@"}
    for row in ANNOTATIONS:
        if wanted & row.targets or (row.name == _CONCEPT_LEVEL and place.region.name == "concept"):
            is_repeated = place.region.name == "top" and row.name in given and not row.repeatable
            yield annotation_entry(row, rank=45 if is_repeated else 20)


def rows_named(name: str, place: Place) -> list[AnnotationRow]:
    """The rows of an annotation that stands at a place; all of that name when it may not stand there."""
    rows = [row for target in targets(place) if (row := row_for(name, target))]
    return rows or [row for row in ANNOTATIONS if row.name == name]


def annotation_arguments(place: Place, around: Surroundings, *, quoted: bool) -> Iterator[Entry]:
    """What may stand inside the brackets of an annotation: names of arguments, or the values of one.

    :param quoted: whether the cursor is inside a string.
    """
    name = place.region.subject
    rows = [row for row in ANNOTATIONS if row.name == name]
    items = place.items
    if items and items[-1].kind == "=" and len(items) > 1:
        argument = items[-2].value
    elif items and items[-1].kind == "STRING" and quoted and len(items) > 2 and items[-2].kind == "=":
        argument = items[-3].value
    else:
        argument = ""
        if not quoted:
            given = {name.value for name, sign in pairwise(items[-_LOOK_BACK:]) if sign.kind == "="}
            for param in {param.name: param for row in rows for param in row.params if not param.positional}.values():
                if param.name not in given:
                    yield name_entry(param.name, "argument", f"argument of @{name}", insert=f"{param.name}=")
    yield from _values(name, argument or _positional(rows), rows, around, quoted=quoted)


def _positional(rows: list[AnnotationRow]) -> str:
    return next((param.name for row in rows for param in row.params if param.positional), "")


def _values(
    name: str, argument: str, rows: list[AnnotationRow], around: Surroundings, *, quoted: bool
) -> Iterator[Entry]:
    choices = {choice for row in rows for param in row.params if param.name == argument for choice in param.choices}
    is_word = any(param.kind == "name" for row in rows for param in row.params if param.name == argument)
    for choice in (*sorted(choices), *_VALUES.get((name, argument), ())):
        text = choice if quoted or is_word else f'"{choice}"'
        yield name_entry(choice, "value", f"value of @{name}", insert=text)
    for declared in around.index.of_kinds(*_REFERENCES.get((name, argument), ())):
        yield construct_entry(declared)
    if (name, argument) in _FIELD_NAMES:
        for field, owner in _fields(around):
            entry = field_entry(field, owner)
            yield entry if quoted else name_entry(field.name, "field", entry.detail, insert=f'"{field.name}"')


def _fields(around: Surroundings) -> Iterator[tuple[ast.FieldDecl, str]]:
    place = around.place
    header = place.header or place.following_header
    if header is not None and header is place.header and header.kind == "concept":
        for local in place.own_fields:
            yield local.field, f"concept {header.name}"
    elif header is not None:
        name = header.name if header.kind == "concept" else header.concept
        concept = around.index.concept(name, around.path) if name else None
        for field in fields_of(concept) if concept else ():
            yield field, f"concept {name}"
