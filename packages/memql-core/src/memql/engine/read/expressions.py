"""Values over row data as SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from memql.engine.read.fields import ANYTHING
from memql.engine.read.params import array_text, as_json, quoted
from memql.engine.read.slots import SKIPPED, Tag
from memql.engine.read.terms import (
    Arithmetic,
    At,
    Choice,
    Column,
    Fallback,
    Folded,
    Holds,
    Items,
    Members,
    Negative,
    Path,
    Predicate,
    Value,
)
from memql.engine.read.writing import Row, Writing

__all__ = ["Constant", "Operand", "WritePredicate", "json_path", "json_sql", "operand", "text_path"]

_COLUMNS = {
    "id": "id", "concept": "concept", "type": "type", "createdBy": "created_by", "createdAt": "created_at",
}  # fmt: skip

WritePredicate: TypeAlias = Callable[[Predicate, Row], "str | bool"]


@dataclass(frozen=True, slots=True)
class Operand:
    """A value over row data: ``json`` is its jsonb (null for null), ``text`` its text if it is a string.

    ``kinds`` are its possible JSON types. ``column`` tells a column of type text, which is never null and needs no
    check of its type; ``moment`` the timestamptz it names, null if none.
    """

    json: str
    text: str
    kinds: frozenset[str]
    moment: str
    column: bool = False
    is_moment: bool = False

    @property
    def string_check(self) -> str:
        """A condition that the value is a string; empty when it always is."""
        return "" if self.column else f" AND jsonb_typeof({self.json}) = 'string'"

    @property
    def missing(self) -> str:
        """A condition that the value is null."""
        return "FALSE" if self.column or self.is_moment else f"{self.text} IS NULL"


@dataclass(frozen=True, slots=True)
class Constant:
    """A folded value: its slot, and the tag it has in this statement."""

    slot: int
    tag: Tag

    @property
    def matches_nothing(self) -> bool:
        """Whether no stored value can equal it: it has a text that none can hold, or was not evaluated."""
        return self.tag in ("z", SKIPPED) or (self.tag.startswith("l") and "z" in self.tag)


def operand(value: Value, row: Row, writing: Writing, predicate: WritePredicate) -> Operand | Constant:
    """A value as it takes part in a comparison."""
    match value:
        case Folded(slot=slot):
            return Constant(slot, writing.tags[slot])
        case Column(name="createdAt"):
            moment = row.column("created_at")
            text = f"memql_moment({moment})"
            return Operand(f"to_jsonb({text})", text, frozenset({"string"}), moment, is_moment=True)
        case Column(name=name):
            text = row.column(_COLUMNS[name])
            return Operand(f"to_jsonb({text})", text, frozenset({"string"}), f"memql_instant({text})", column=True)
        case Path(root=root, segments=segments, field=field):
            text = text_path(row.column(root), segments)
            return Operand(json_path(row.column(root), segments), text, field.kinds, f"memql_instant({text})")
        case _:
            json = json_sql(value, row, writing, predicate)
            text = f"({json} #>> '{{}}')"
            return Operand(json, text, ANYTHING.kinds, f"memql_instant(memql_string({json}))")


def json_path(column: str, segments: tuple[str | int, ...]) -> str:
    """A member of a jsonb column as jsonb, in the words of the declared indexes."""
    if not segments:
        return column
    if len(segments) == 1 and isinstance(segments[0], str):
        return f"({column} -> {quoted(segments[0])})"
    return f"({column} #> {_path_literal(segments)})"


def text_path(column: str, segments: tuple[str | int, ...]) -> str:
    """A member of a jsonb column as text, in the words of the declared indexes."""
    if len(segments) == 1 and isinstance(segments[0], str):
        return f"({column} ->> {quoted(segments[0])})"
    return f"({column} #>> {_path_literal(segments)})"


def _path_literal(segments: tuple[str | int, ...]) -> str:
    plain = all(isinstance(part, int) or part.isidentifier() for part in segments)
    parts = map(str, segments)
    return quoted("{" + ",".join(parts) + "}" if plain else array_text(parts))


def constant_json(constant: Constant, writing: Writing) -> str:
    """A folded value as jsonb; null for null and for what no row can hold."""
    if constant.tag == "0" or constant.matches_nothing:
        return "NULL::jsonb"
    return writing.params.add(constant.slot, as_json, "jsonb")


def json_sql(value: Value, row: Row, writing: Writing, predicate: WritePredicate) -> str:
    """A value as jsonb; SQL null for null."""

    def part(inner: Value) -> str:
        return json_sql(inner, row, writing, predicate)

    match value:
        case Folded(slot=slot):
            return constant_json(Constant(slot, writing.tags[slot]), writing)
        case Column() | Path():
            found = operand(value, row, writing, predicate)
            assert isinstance(found, Operand)
            return f"memql_given({found.json})" if isinstance(value, Path) else found.json
        case At(base=base, index=index):
            return f"memql_at({part(base)}, {part(index)})"
        case Arithmetic(op=op, left=left, right=right):
            return f"memql_arithmetic({quoted(op)}, {part(left)}, {part(right)})"
        case Negative(operand=inner):
            return f"memql_arithmetic('-', '0'::jsonb, {part(inner)})"
        case Fallback(items=items):
            *first, last = map(part, items)
            cases = " ".join(f"WHEN NOT memql_blank({item}) THEN {item}" for item in first)
            return f"CASE {cases} ELSE {last} END"
        case Choice(test=test, then=then, otherwise=otherwise):
            return f"CASE WHEN {_sql(predicate(test, row))} THEN {part(then)} ELSE {part(otherwise)} END"
        case Items(items=items):
            return f"jsonb_build_array({', '.join(map(part, items))})"
        case Members(entries=entries):
            pairs = ", ".join(f"{quoted(name)}, {part(item)}" for name, item in entries)
            return f"jsonb_strip_nulls(jsonb_build_object({pairs}))"
        case Holds(predicate=inner_predicate):
            return f"to_jsonb(({_sql(predicate(inner_predicate, row))}) IS TRUE)"


def _sql(found: str | bool) -> str:
    if isinstance(found, bool):
        return "TRUE" if found else "FALSE"
    return found
