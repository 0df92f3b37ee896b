"""Relationships as links: which rows point at which, and what a relationship function makes of them (spec
"Relationships", and the functions of "Raw query language")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from memql.errors import Code, MemqlError
from memql.lang.catalog import Catalog, Concept, Relationship

__all__ = ["EDGE_TYPES", "FUNCTIONS", "Link", "all_links", "links_between", "links_within", "neighbourhood"]

Side = Literal["holder", "pointed"]


@dataclass(frozen=True, slots=True)
class Link:
    """A field of ``holder`` rows that points at rows of ``target``.

    ``many`` tells a list of ids; ``field`` is ``createdBy`` for the intrinsic when ``intrinsic`` is set. ``reversed``
    is a relationship declared ``incoming``: the pointed row is the one that relates. ``result`` says on which side the
    rows a function yields stand.
    """

    type: str
    holder: str
    field: str
    target: str
    many: bool
    reversed: bool
    intrinsic: bool = False
    result: Side = "holder"

    @property
    def result_concept(self) -> str:
        """The concept of the rows the function yields."""
        return self.holder if self.result == "holder" else self.target

    @property
    def inner_concept(self) -> str:
        """The concept of the rows it starts from."""
        return self.target if self.result == "holder" else self.holder

    @property
    def edge_starts_at(self) -> Side:
        """Where the edge begins: a parent, a collection, an owner, or whoever declares the relationship."""
        forward: Side = "pointed" if self.type == "parent" else "holder"
        if not self.reversed:
            return forward
        return "holder" if forward == "pointed" else "pointed"


@dataclass(frozen=True, slots=True)
class _Function:
    """``sides`` are the sides the result may stand on for a plain link; a reversed one swaps them."""

    type: str
    sides: tuple[Side, ...]


FUNCTIONS: Final = {
    "childOf": _Function("parent", ("holder",)),
    "parentOf": _Function("parent", ("pointed",)),
    "contains": _Function("contains", ("pointed",)),
    "owns": _Function("owns", ("holder", "pointed")),
    "interactsWith": _Function("interactsWith", ("holder", "pointed")),
    "aliasOf": _Function("alias", ("holder", "pointed")),
    "equals": _Function("equals", ("holder", "pointed")),
    "createdBy": _Function("createdBy", ("pointed",)),
}
"""Relationship functions by name; ``ids`` follows no relationship."""

EDGE_TYPES: Final = {
    "parent": "child",
    "contains": "contains",
    "owns": "owns",
    "interactsWith": "interactions",
    "alias": "aliases",
    "equals": "equals",
    "createdBy": "createdBy",
    "references": "references",
}
"""Relationship type to the type of its edges."""


_WAYS: Final = {"outgoing": (False,), "incoming": (True,), "bidirectional": (False, True)}


def _declared(catalog: Catalog) -> Iterable[Link]:
    """Every link of the tree once, whichever side declares it."""
    return dict.fromkeys(
        link
        for concept in catalog.concepts.values()
        for relationship in concept.relationships
        if relationship.target in catalog.concepts
        for link in _links_of(concept, relationship)
    )


def _links_of(concept: Concept, relationship: Relationship) -> Iterator[Link]:
    name, many, field = relationship.type, relationship.many, relationship.field
    intrinsic = field == "createdBy"
    if relationship.direction == "incoming" and not intrinsic and concept.field(field) is None:
        # The other concept points here and relates to this one: what it would declare as outgoing.
        yield Link(name, relationship.target, field, concept.key, many, reversed=False)
        return
    for way_back in _WAYS[relationship.direction]:
        yield Link(name, concept.key, field, relationship.target, many, way_back, intrinsic)


def _facing(link: Link, side: Side) -> Link:
    return Link(link.type, link.holder, link.field, link.target, link.many, link.reversed, link.intrinsic, side)


def _opposite(side: Side) -> Side:
    return "pointed" if side == "holder" else "holder"


def _links(catalog: Catalog, wanted: Callable[[Link], bool], sides: tuple[Side, ...]) -> list[Link]:
    found = []
    for link in _declared(catalog):
        if wanted(link):
            found += [_facing(link, _opposite(side) if link.reversed else side) for side in sides]
    return found


def links_between(
    catalog: Catalog, function: str, inner: frozenset[str] | None, outer: frozenset[str] | None
) -> tuple[Link, ...]:
    """The links a relationship function follows from ``inner`` rows to ``outer`` rows; None is any concept.

    :raises MemqlError: ``RELATIONSHIP_NOT_FOUND`` when none is declared.
    """
    spec = FUNCTIONS[function]
    found = [
        link
        for link in _links(catalog, lambda link: link.type == spec.type, spec.sides)
        if (inner is None or link.inner_concept in inner) and (outer is None or link.result_concept in outer)
    ]
    if found:
        return tuple(found)
    where = " or ".join(sorted(inner)) if inner else "the rows below"
    into = f" to {' or '.join(sorted(outer))}" if outer else ""
    raise MemqlError(
        Code.RELATIONSHIP_NOT_FOUND,
        f"{function}(..) needs a relationship of type {spec.type} from {where}{into}, and none is declared; "
        f'add @relationship(type="{spec.type}", ..) to one of the concepts',
        context=function,
    )


def links_within(catalog: Catalog, function: str, start: frozenset[str], depth: int | None) -> tuple[Link, ...]:
    """The links a relationship function can follow from rows of some concepts in ``depth`` levels (None: any)."""
    spec = FUNCTIONS[function]
    declared = _links(catalog, lambda link: link.type == spec.type, spec.sides)
    return _closure(lambda concept: [link for link in declared if link.inner_concept == concept], start, depth)


def neighbourhood(catalog: Catalog, start: frozenset[str], depth: int) -> tuple[Link, ...]:
    """Every link within ``depth`` levels of rows of some concepts, from either end."""
    return _closure(lambda concept: all_links(catalog, concept), start, depth)


def _closure(follow: Callable[[str], Iterable[Link]], start: frozenset[str], depth: int | None) -> tuple[Link, ...]:
    found: dict[Link, None] = {}
    reached, level, left = set(start), set(start), depth
    while level and left != 0:
        links = [link for concept in sorted(level) for link in follow(concept)]
        found.update(dict.fromkeys(links))
        level = {link.result_concept for link in links} - reached
        reached |= level
        left = None if left is None else left - 1
    return tuple(found)


def all_links(catalog: Catalog, concept: str) -> tuple[Link, ...]:
    """Every link a concept takes part in, seen from its rows: the result is the other end."""
    found = []
    for link in _declared(catalog):
        if link.holder == concept:
            found.append(_facing(link, "pointed"))
        if link.target == concept:
            found.append(_facing(link, "holder"))
    return tuple(found)
