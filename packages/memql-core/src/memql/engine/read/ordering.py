"""Order and pages: sort keys as SQL, and the condition that continues after a cursor.

Nulls come last in either direction, ties are broken by id (in a history, by id and version), so the order is total
and a page continues exactly where the last one ended, whatever was inserted in front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from memql.engine.read import operands
from memql.engine.read.expressions import json_path, text_path
from memql.engine.read.params import as_text
from memql.engine.read.place import ROW_ROOTS, Place
from memql.engine.read.terms import Column, Path
from memql.engine.read.writing import Row, Writing
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.engine.read.resolver import Resolver

__all__ = ["SortKey", "after", "order_by", "parse_path", "sort_keys"]

Direction = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One SQL sort key: how to write it for a row, its type, its direction, and whether it can be null."""

    sql: Callable[[Row], str]
    type: str
    direction: Direction
    nullable: bool = True

    def order(self, row: Row) -> str:
        """The item of ORDER BY."""
        nulls = " NULLS LAST" if self.nullable and self.direction == "desc" else ""
        return f"{self.sql(row)} {self.direction.upper()}{nulls}"


def parse_path(text: str) -> tuple[str, tuple[str | int, ...]]:
    """The root and segments of a path written as text, such as ``payload.tags.0``.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it does not begin with a member of the row.
    """
    root, *rest = text.split(".")
    root = "metadata" if root == "meta" else root
    if root not in ROW_ROOTS or not all(rest):
        raise MemqlError(
            Code.INVALID_ARGUMENT,
            f"{text!r} is no member of a row; write payload.<field>, or one of {', '.join(sorted(ROW_ROOTS))}",
            context=text,
        )
    return root, tuple(int(part) if part.isdecimal() else part for part in rest)


def sort_keys(
    resolver: Resolver, fields: Sequence[tuple[str, Direction]], place: Place, *, history: bool
) -> tuple[SortKey, ...]:
    """The complete order of a read: its own keys, or newest first, then what makes it total.

    :raises MemqlError: ``INVALID_ARGUMENT`` for a path no concept has, or that holds lists or objects.
    """
    keys: list[SortKey] = []
    for text, direction in fields or (("createdAt", "desc"),):
        root, segments = parse_path(text)
        keys += _keys(operands.readable_value(resolver, root, segments, place), direction, text)
    keys.append(_column("id", "text", "asc"))
    if history:
        keys.append(_column("created_at", "timestamptz", "desc"))
    return tuple(keys)


def _column(name: str, type_: str, direction: Direction) -> SortKey:
    return SortKey(lambda row: row.column(name), type_, direction, nullable=False)


def _keys(value: Column | Path, direction: Direction, text: str) -> list[SortKey]:
    if isinstance(value, Column):
        name = {"createdBy": "created_by", "createdAt": "created_at"}.get(value.name, value.name)
        return [_column(name, "timestamptz" if name == "created_at" else "text", direction)]
    root, segments, field = value.root, value.segments, value.field

    def json(row: Row) -> str:
        return json_path(row.column(root), segments)

    def plain(row: Row) -> str:
        return text_path(row.column(root), segments)

    number = SortKey(lambda row: f"memql_number({json(row)})", "numeric", direction)
    words = SortKey(lambda row: f'({plain(row)} COLLATE "C")', "text", direction)
    moment = SortKey(lambda row: f"memql_instant({plain(row)})", "timestamptz", direction)
    if field.only("number"):
        return [number]
    if field.only("string"):
        return [moment if field.instant else words]
    if not field.kinds & {"number", "string", "bool"}:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{text} holds lists or objects, which have no order", context=text)
    # Values of any type: numbers, then texts (false before true among them).
    scalars = SortKey(
        lambda row: (
            f"(CASE WHEN jsonb_typeof({json(row)}) IN ('string', 'boolean') THEN {plain(row)} END COLLATE \"C\")"
        ),
        "text",
        direction,
    )
    return [scalars] if field.only("bool") else [number, scalars]


def order_by(keys: Sequence[SortKey], row: Row) -> str:
    """The ORDER BY list."""
    return ", ".join(key.order(row) for key in keys)


def after(keys: Sequence[SortKey], slots: Sequence[int], row: Row, writing: Writing) -> str:
    """The condition that a row comes after the one whose keys the slots hold."""
    alternatives: list[str] = []
    same: list[str] = []
    for key, slot in zip(keys, slots, strict=True):
        sql = key.sql(row)
        if writing.tags[slot] == "0":
            same.append(f"{sql} IS NULL")
            continue
        value = writing.params.add(slot, as_text, key.type)
        beyond = f"{sql} {'>' if key.direction == 'asc' else '<'} {value}"
        if key.nullable:
            beyond = f"({beyond} OR {sql} IS NULL)"
        alternatives.append(" AND ".join((*same, beyond)))
        same.append(f"{sql} = {value}")
    first, slot = keys[0], slots[0]
    condition = f"({' OR '.join(f'({part})' for part in alternatives)})"
    if first.nullable or writing.tags[slot] == "0":
        return condition
    # Implied by the rest, but something an index on the first key can begin at.
    value = writing.params.add(slot, as_text, first.type)
    return f"{first.sql(row)} {'>=' if first.direction == 'asc' else '<='} {value} AND {condition}"
