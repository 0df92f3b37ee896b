"""What a filter means, resolved: predicates over one row, with everything free of row data folded into slots.

Names are looked up, specs and inlined queries expanded, paths typed, relationship functions turned into links. A slot
stands for a value known before the database is asked; :mod:`memql.engine.read.slots` evaluates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from memql.engine.read.fields import FieldInfo
from memql.engine.read.links import Link

__all__ = [
    "ALWAYS",
    "Arithmetic",
    "At",
    "Choice",
    "Column",
    "Comparison",
    "Either",
    "Every",
    "Fallback",
    "Flag",
    "Folded",
    "Given",
    "Holds",
    "InSet",
    "Items",
    "Known",
    "Members",
    "Negative",
    "Not",
    "Path",
    "Predicate",
    "Selection",
    "Value",
]


@dataclass(frozen=True, slots=True)
class Folded:
    """A value free of row data: the slot that holds it."""

    slot: int


@dataclass(frozen=True, slots=True)
class Column:
    """An intrinsic with a column of its own: never null, and of one type."""

    name: Literal["id", "concept", "type", "createdBy", "createdAt"]


@dataclass(frozen=True, slots=True)
class Path:
    """A member of a JSON column; ``segments`` is empty for the column itself."""

    root: Literal["payload", "metadata", "provenance", "schema"]
    segments: tuple[str | int, ...]
    field: FieldInfo


@dataclass(frozen=True, slots=True)
class At:
    """``base[index]`` where either side is computed."""

    base: Value
    index: Value


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left op right``."""

    op: str
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Negative:
    """``-operand``."""

    operand: Value


@dataclass(frozen=True, slots=True)
class Fallback:
    """The first item that is neither null nor blank text, else the last."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """``test ? then : otherwise``."""

    test: Predicate
    then: Value
    otherwise: Value


@dataclass(frozen=True, slots=True)
class Items:
    """A list with elements over row data."""

    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Members:
    """An object with members over row data."""

    entries: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class Holds:
    """A predicate as a boolean value."""

    predicate: Predicate


Value: TypeAlias = Folded | Column | Path | At | Arithmetic | Negative | Fallback | Choice | Items | Members | Holds


@dataclass(frozen=True, slots=True)
class Every:
    """All items hold; an empty list is true."""

    items: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Some item holds; a list from which all items left is true."""

    items: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The exact negation."""

    item: Predicate


@dataclass(frozen=True, slots=True)
class Given:
    """A term that leaves its list when the condition in ``slot`` is false (``?.`` and ``when``)."""

    slot: int
    item: Predicate


@dataclass(frozen=True, slots=True)
class Known:
    """A condition free of row data."""

    slot: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """``left op right``; ``instants`` tells whether texts compare as moments. ``op`` is never a negated one."""

    op: Literal["==", "<", "<=", ">", ">=", "in", "has", "startsWith", "matches"]
    left: Value
    right: Value
    instants: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """A value in the place of a condition: holds when it is true."""

    value: Value


@dataclass(frozen=True, slots=True)
class Selection:
    """The live rows of some concepts that satisfy a predicate."""

    concepts: frozenset[str]
    predicate: Predicate


@dataclass(frozen=True, slots=True)
class InSet:
    """Whether the row is in the set a relationship function yields over ``inner``; ``ids`` has no links.

    ``depth`` is how many levels it goes, None for as many as there are; ``visible`` are the rows it may pass through,
    one selection per concept, where it goes further than one level.
    """

    function: str
    links: tuple[Link, ...]
    inner: Selection
    depth: int | None = 1
    visible: tuple[Selection, ...] = ()


Predicate: TypeAlias = Every | Either | Not | Given | Known | Comparison | Flag | InSet

ALWAYS = Every(())
"""True of every row."""
