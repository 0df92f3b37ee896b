"""What stands around the rows of a page: the edges that led to them, and the nodes at the other ends.

The page becomes a common table expression; edges and further nodes follow it in the same statement, so that all come
from one snapshot. Each line of the result tells by its first column what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from memql.engine.read.conditions import Conditions
from memql.engine.read.links import EDGE_TYPES, Link
from memql.engine.read.params import quoted
from memql.engine.read.pointers import joined
from memql.engine.read.projection import Projector
from memql.engine.read.terms import Every, Given, InSet, Predicate, Selection
from memql.engine.read.walks import pairs, walk
from memql.engine.read.writing import Row

__all__ = ["EDGE", "NODE", "ROOT", "Expansion", "PageSql", "relations_of", "surround"]

ROOT, EDGE, NODE = "0", "1", "2"

_DEPTHS = "SELECT type, from_id, to_id, min(depth) AS depth FROM hop GROUP BY type, from_id, to_id"


@dataclass(frozen=True, slots=True)
class Expansion:
    """The relationships of a plain read's rows, followed ``depth`` levels."""

    links: tuple[Link, ...]
    depth: int
    visible: tuple[Selection, ...]


@dataclass(frozen=True, slots=True)
class PageSql:
    """The pieces of a page's statement: what it returns, whence, under which condition, in which order, how many.

    ``single`` tells that at most one row can match, which needs neither order nor limit.
    """

    columns: tuple[str, ...]
    source: str
    where: str
    order: str
    limit: str
    offset: str = ""
    single: bool = False

    def plain(self) -> str:
        """The statement without surroundings."""
        text = f"SELECT {', '.join(self.columns)} FROM {self.source} WHERE {self.where}"
        return text if self.single else f"{text} ORDER BY {self.order} LIMIT {self.limit}{self.offset}"


def relations_of(predicate: Predicate) -> Iterator[InSet]:
    """The relationship functions among the terms that every row satisfies: those that led to it."""
    match predicate:
        case Every(items=items):
            for item in items:
                yield from relations_of(item)
        case Given(item=item):
            yield from relations_of(item)
        case InSet(links=links) if links:
            yield predicate


def surround(
    page: PageSql,
    row: Row,
    conditions: Conditions,
    projector: Projector,
    relations: Sequence[InSet],
    expansion: Expansion | None,
    most: int,
) -> str:
    """The statement of a page with its edges and the nodes at their other ends.

    Its columns are the kind of line, then those of the page; an edge or a further node is in the second. At most
    ``most`` edges and nodes are wanted; one more line tells that there are too many.
    """
    names = [f"c{number}" for number in range(len(page.columns))]
    columns = ", ".join(f"{sql} AS {name}" for sql, name in zip(page.columns, names, strict=True))
    tables = [
        f"page AS MATERIALIZED (SELECT {row.alias}.id, {row.alias}.concept, {row.alias}.created_by, "
        f"{row.alias}.payload, row_number() OVER (ORDER BY {page.order}) AS place, {columns} "
        f"FROM {page.source} WHERE {page.where} ORDER BY {page.order} LIMIT {page.limit}{page.offset})"
    ]
    shown = f"page.place < {page.limit}"
    writer = _Hops(conditions, Row("page", row.concepts), projector, shown)
    for relation in relations:
        writer.relation(relation)
    if expansion is not None:
        start = f"SELECT page.id FROM page WHERE {shown}"
        writer.walked(start, expansion.links, expansion.depth, expansion.visible)
    blanks = "".join(", NULL" for _ in names[1:])
    lines = [f"SELECT '{ROOT}', {', '.join(names)}, place FROM page"]
    if writer.hops:
        tables += [*writer.tables, f"hop AS MATERIALIZED ({' UNION '.join(writer.hops)})"]
        nodes = " UNION ".join(writer.nodes)
        # Types and ids hold no character that JSON escapes.
        edge = (
            """'{"type":"' || type || '","fromId":"' || from_id || '","toId":"' || to_id || '","depth":' """
            "|| depth || '}'"
        )
        lines += [
            f"SELECT '{EDGE}', {edge}{blanks}, row_number() OVER (ORDER BY depth, type, from_id, to_id) "
            f"FROM ({_DEPTHS}) AS edges",
            f"SELECT '{NODE}', doc{blanks}, row_number() OVER (ORDER BY id) "
            f"FROM (SELECT DISTINCT ON (id) id, doc FROM ({nodes}) AS touched) AS nodes "
            f"WHERE NOT EXISTS (SELECT FROM page WHERE page.id = nodes.id AND {shown})",
        ]
    final = f"SELECT * FROM ({' UNION ALL '.join(lines)}) AS lines(kind, {', '.join(names)}, place)"
    return f"WITH RECURSIVE {', '.join(tables)} {final} ORDER BY kind, place LIMIT {page.limit} + {most + 1}"


class _Hops:
    """Collects the steps between rows: tables they need, ``hop`` queries, and queries for the nodes they touch."""

    def __init__(self, conditions: Conditions, page: Row, projector: Projector, shown: str) -> None:
        self.conditions = conditions
        self.page = page
        self.projector = projector
        self.shown = shown
        self.tables: list[str] = []
        self.hops: list[str] = []
        self.nodes: list[str] = []

    def relation(self, relation: InSet) -> None:
        if relation.depth == 1:
            for link in relation.links:
                self._direct(link, relation.inner)
            return
        start = self.conditions.subselect(relation.inner, lambda row: row.column("id"))
        if start is not None:
            self.walked(start, relation.links, relation.depth, relation.visible)

    def _direct(self, link: Link, inner: Selection) -> None:
        """One level: the page joined with the rows below the function."""
        if link.result_concept not in self.page.concepts or link.inner_concept not in inner.concepts:
            return
        writing = self.conditions.writing
        other = Row(writing.alias(), frozenset({link.inner_concept}))
        found = self.conditions.where(Selection(other.concepts, inner.predicate), other)
        if found is None:
            return
        holder, pointed = (self.page, other) if link.result == "holder" else (other, self.page)
        start, end = (holder, pointed) if link.edge_starts_at == "holder" else (pointed, holder)
        concept = writing.concept_condition("page", frozenset({link.result_concept}))
        where = f"{self.shown} AND {concept} AND {joined(link, holder, pointed)} AND {found[1]}"
        origin = f"FROM page CROSS JOIN {found[0]} WHERE {where}"
        self.hops.append(
            f"SELECT {quoted(EDGE_TYPES[link.type])} AS type, {start.column('id')} AS from_id, "
            f"{end.column('id')} AS to_id, 1 AS depth {origin}"
        )
        self.nodes.append(f"SELECT {other.column('id')} AS id, {self.projector.node(other)} AS doc {origin}")

    def walked(self, start: str, links: Iterable[Link], depth: int | None, visible: Sequence[Selection]) -> None:
        """Several levels: every step of the walk."""
        found = pairs(self.conditions, links, visible)
        if found is None:
            return
        pair, walked = f"pair{len(self.tables)}", f"walk{len(self.tables)}"
        body = walk(start, depth, walked, pair)
        self.tables += [f"{pair} AS MATERIALIZED ({found})", f"{walked}(root, id, depth) AS ({body})"]
        bound = f" WHERE {walked}.depth < {depth}" if depth is not None else ""
        level = f"{walked}.depth + 1" if depth is not None else "1"
        hop = (
            f"SELECT {pair}.type, {pair}.from_id, {pair}.to_id, {level} AS depth "
            f"FROM {walked} JOIN {pair} ON {pair}.near = {walked}.id{bound}"
        )
        self.hops.append(hop)
        for selection in visible:
            self._touched(hop, selection)

    def _touched(self, hop: str, selection: Selection) -> None:
        row = Row(self.conditions.writing.alias(), selection.concepts)
        found = self.conditions.where(selection, row)
        if found is None:
            return
        ends = f"SELECT steps.from_id FROM ({hop}) AS steps UNION SELECT steps.to_id FROM ({hop}) AS steps"
        self.nodes.append(
            f"SELECT {row.column('id')} AS id, {self.projector.node(row)} AS doc FROM {found[0]} "
            f"WHERE {row.column('id')} IN ({ends}) AND {found[1]}"
        )
