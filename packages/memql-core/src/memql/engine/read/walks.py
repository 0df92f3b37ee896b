"""Traversals of more than one level: recursive queries over the pairs of rows that links join.

``walk`` holds the rows reached with their level; each row is entered once per level, so rings end with the depth, and
an unbounded walk (alias groups) keeps no level and ends when nothing new is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from memql.engine.read.links import EDGE_TYPES, Link
from memql.engine.read.params import quoted
from memql.engine.read.pointers import pointer_values
from memql.engine.read.terms import InSet, Selection
from memql.engine.read.writing import Row

if TYPE_CHECKING:
    from memql.engine.read.conditions import Conditions

__all__ = ["pairs", "walk", "walk_ids"]


def pairs(conditions: Conditions, links: Iterable[Link], visible: Iterable[Selection]) -> str | None:
    """``SELECT type, near, far, from_id, to_id`` for every pair of visible rows that a link joins."""
    selections = {next(iter(selection.concepts)): selection for selection in visible}
    found = [part for link in links if (part := _pairs_of(conditions, link, selections)) is not None]
    return " UNION ALL ".join(found) if found else None


def _pairs_of(conditions: Conditions, link: Link, visible: Mapping[str, Selection]) -> str | None:
    writing = conditions.writing
    holder, pointed = (Row(writing.alias(), frozenset({concept})) for concept in (link.holder, link.target))
    holders = conditions.where(visible[link.holder], holder)
    targets = conditions.where(visible[link.target], pointed)
    if holders is None or targets is None:
        return None
    sources = f"{holders[0]} CROSS JOIN {targets[0]}"
    join = f"{pointer_values(link, holder)} = {pointed.column('id')}"
    if link.many:
        pointer = writing.alias()
        sources = (
            f"{holders[0]} CROSS JOIN LATERAL {pointer_values(link, holder)} AS {pointer}(id) CROSS JOIN {targets[0]}"
        )
        join = f"{pointer}.id = {pointed.column('id')}"
    ids = {"holder": holder.column("id"), "pointed": pointed.column("id")}
    other = {"holder": "pointed", "pointed": "holder"}
    far, start = link.result, link.edge_starts_at
    return (
        f"SELECT {quoted(EDGE_TYPES[link.type])} AS type, {ids[other[far]]} AS near, {ids[far]} AS far, "
        f"{ids[start]} AS from_id, {ids[other[start]]} AS to_id "
        f"FROM {sources} WHERE {join} AND {holders[1]} AND {targets[1]}"
    )


def walk(start: str, depth: int | None, name: str = "walk", pair: str = "pair") -> str:
    """The body of the recursive table ``name(root, id, depth)`` over the table ``pair``.

    :param start: a query for the ids to start from.
    """
    level = f"{name}.depth + 1" if depth is not None else "1"
    bound = f" WHERE {name}.depth < {depth}" if depth is not None else ""
    return (
        f"SELECT start.id, start.id, 0 FROM ({start}) AS start(id) UNION "
        f"SELECT {name}.root, {pair}.far, {level} FROM {name} JOIN {pair} ON {pair}.near = {name}.id{bound}"
    )


def walk_ids(conditions: Conditions, in_set: InSet) -> str | None:
    """A subquery for the ids that a relationship function reaches; None when it reaches none."""
    start = conditions.subselect(in_set.inner, lambda row: row.column("id"))
    joined = pairs(conditions, in_set.links, in_set.visible)
    if start is None or joined is None:
        return None
    return (
        f"WITH RECURSIVE pair AS MATERIALIZED ({joined}), walk(root, id, depth) AS ({walk(start, in_set.depth)}) "
        "SELECT walk.id FROM walk WHERE walk.depth > 0 AND walk.id <> walk.root"
    )
