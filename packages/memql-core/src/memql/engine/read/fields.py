"""Declared types of payload paths: what a stored value may be, and whether the path can exist at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Concept, Field

__all__ = ["ANYTHING", "FieldInfo", "resolve_payload"]

_EVERY_KIND: Final = frozenset({"string", "number", "bool", "list", "object"})
_SCALAR_KINDS: Final = {
    "string": "string",
    "datetime": "string",
    "int": "number",
    "float": "number",
    "bool": "bool",
    "object": "object",
}


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """What is declared at the end of a path.

    ``kinds`` are the JSON types of well-formed values; ``instant`` tells date-times (of a list: its elements);
    ``target`` is the concept whose ids the value holds, if a relationship says so; ``secret`` values are masked.
    """

    kinds: frozenset[str] = _EVERY_KIND
    instant: bool = False
    target: str = ""
    secret: bool = False

    def only(self, kind: str) -> bool:
        """Whether well-formed values are of one JSON type."""
        return self.kinds == {kind}


ANYTHING: Final = FieldInfo()
"""Nothing is declared: any value may stand there."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """A place in a schema: the declared members below it, or a type."""

    type: ast.TypeExpr | None
    fields: tuple[Field, ...] | None
    secret: bool = False

    @classmethod
    def of(cls, field: Field, secret: bool) -> _Spot:
        fields = field.fields
        if field.variants:
            branches = tuple(member for branch in field.variants.values() for member in branch)
            fields = (*(fields or ()), *branches)
        return cls(field.type, fields or None, secret or field.secret)

    @property
    def is_list(self) -> bool:
        return isinstance(self.type, ast.ListType)

    def info(self) -> FieldInfo:
        if self.fields is not None and not self.is_list:
            return FieldInfo(frozenset({"object"}), secret=self.secret)
        match self.type:
            case ast.ScalarType(name=name):
                kind = _SCALAR_KINDS.get(name)
                kinds = frozenset({kind}) if kind else _EVERY_KIND
                return FieldInfo(kinds, name == "datetime", secret=self.secret)
            case ast.EnumType():
                return FieldInfo(frozenset({"string"}), secret=self.secret)
            case ast.ListType(item=item):
                instant = isinstance(item, ast.ScalarType) and item.name == "datetime"
                return FieldInfo(frozenset({"list"}), instant, secret=self.secret)
            case ast.MapType():
                return FieldInfo(frozenset({"object"}), secret=self.secret)
            case _:
                return FieldInfo(secret=self.secret)

    def step(self, segment: str | int) -> _Spot | None:
        """The place one step below; None when nothing can be there."""
        if self.fields is not None and isinstance(self.type, ast.ListType):
            # A list of blocks: its elements have the members.
            return _Spot(self.type.item, self.fields, self.secret) if isinstance(segment, int) else None
        if self.fields is not None:
            found = [_Spot.of(field, self.secret) for field in self.fields if field.name == segment]
            if len(found) > 1:
                return found[0] if all(spot == found[0] for spot in found) else _Spot(None, None, self.secret)
            return found[0] if found else None
        match self.type:
            case ast.ListType(item=item):
                return _Spot(item, None, self.secret) if isinstance(segment, int) else None
            case ast.MapType(value=value):
                return _Spot(value, None, self.secret)
            case ast.ScalarType(name=name) if _SCALAR_KINDS.get(name, "object") != "object":
                return None
            case ast.EnumType():
                return None
            case _:
                return _Spot(None, None, self.secret)


def _walk(concept: Concept, segments: Sequence[str | int]) -> _Spot | None:
    spot: _Spot | None = _Spot(None, concept.fields)
    for segment in segments:
        if spot is None:
            return None
        spot = spot.step(segment)
    return spot


def _known_below(concept: Concept, segments: Sequence[str | int]) -> list[str]:
    spot = _walk(concept, segments)
    return [field.name for field in spot.fields or ()] if spot is not None else []


def _info(concept: Concept, segments: tuple[str | int, ...]) -> FieldInfo | None:
    spot = _walk(concept, segments)
    if spot is None:
        return None
    info = spot.info()
    if len(segments) == 1:
        for relationship in concept.relationships:
            if relationship.field == segments[0] and relationship.direction != "incoming":
                return FieldInfo(info.kinds, info.instant, relationship.target, info.secret)
    return info


def resolve_payload(catalog: Catalog, concepts: Iterable[str], segments: tuple[str | int, ...]) -> FieldInfo:
    """What is declared at a payload path, over all concepts a row may be of.

    :param segments: the path below ``payload``.
    :raises MemqlError: ``INVALID_ARGUMENT`` with ``suggestion.didYouMean`` when no concept has such a path.
    """
    declared = [catalog.concepts[key] for key in sorted(concepts)]
    found = [info for concept in declared if (info := _info(concept, segments)) is not None]
    if not found:
        raise _unknown_path(declared, segments)
    targets = {info.target for info in found}
    return FieldInfo(
        frozenset[str]().union(*(info.kinds for info in found)),
        any(info.instant for info in found),
        targets.pop() if len(targets) == 1 else "",
        any(info.secret for info in found),
    )


def _unknown_path(concepts: Sequence[Concept], segments: tuple[str | int, ...]) -> MemqlError:
    names = " or ".join(concept.key for concept in concepts)
    shown = ".".join(map(str, segments))
    for size in range(len(segments)):
        parent, wrong = segments[:size], str(segments[size])
        known = [name for concept in concepts for name in _known_below(concept, parent)]
        if known and wrong not in known:
            near = get_close_matches(wrong, known, 1)
            better = ".".join(map(str, (*parent, near[0]))) if near else ""
            hint = f"; did you mean payload.{better}?" if better else f"; it has {', '.join(sorted(set(known)))}"
            return MemqlError(
                Code.INVALID_ARGUMENT,
                f"{names} has no field payload.{shown}{hint}",
                suggestion={"didYouMean": f"payload.{better}"} if better else None,
                context=f"payload.{shown}",
            )
    return MemqlError(
        Code.INVALID_ARGUMENT,
        f"{names} has nothing at payload.{shown}: the field above it holds single values",
        context=f"payload.{shown}",
    )
