"""Which concepts the rows of a filter can be of, told by its text alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from functools import reduce
from typing import TYPE_CHECKING

from memql.engine.read.links import FUNCTIONS, links_between, links_within
from memql.engine.read.place import Place, row_path
from memql.errors import Code, MemqlError
from memql.ids import parse_id
from memql.lang import ast
from memql.lang.catalog import Catalog

if TYPE_CHECKING:
    from memql.engine.read.resolver import Resolver

__all__ = ["concepts_of", "id_variables", "no_concept", "require_concept"]

Concepts = frozenset[str] | None


def concepts_of(resolver: Resolver, expr: ast.Expr | None, place: Place) -> Concepts:
    """The concepts a row must be of to satisfy a filter; None when the filter does not say.

    :raises MemqlError: ``UNKNOWN_CONCEPT`` for a concept that is not registered.
    """
    match expr:
        case ast.BoolOp(op="&&", items=items):
            known = [found for item in items if (found := concepts_of(resolver, item, place)) is not None]
            return reduce(frozenset.intersection, known) if known else None
        case ast.BoolOp(op="||", items=items):
            parts = [concepts_of(resolver, item, place) for item in items]
            whole = frozenset(concept for part in parts for concept in part or ())
            return None if None in parts else whole
        case ast.Compare(op="==" | "in"):
            return _compared(resolver, expr, place)
        case ast.Name(name=name):
            return _named(resolver, name, place)
        case ast.Call() if (query := resolver.inlined_query(expr, place)) is not None:
            return frozenset({query.concept})
        case ast.Relation(function=function, filter=inner):
            return _related(resolver, function, inner, place)
        case _:
            return None


def _compared(resolver: Resolver, expr: ast.Compare, place: Place) -> Concepts:
    path = row_path(expr.left)
    if path is None or path[1] or path[0] not in ("concept", "id"):
        return None
    options = expr.right.items if expr.op == "in" and isinstance(expr.right, ast.ListExpr) else (expr.right,)
    found: set[str] = set()
    for option in options:
        concept = (
            _named_concept(resolver.catalog, option, place)
            if path[0] == "concept"
            else _concept_of_id(resolver, option)
        )
        if concept is None:
            return None
        found.add(concept)
    return frozenset(found)


def _named_concept(catalog: Catalog, expr: ast.Expr, place: Place) -> str | None:
    match expr:
        case ast.ConceptRef(id=name) | ast.Literal(value=str() as name):
            return require_concept(catalog, name)
        case ast.Name(name=name) if name in place.scope.concepts:
            return place.scope.concepts[name]
        case _:
            return None


def _concept_of_id(resolver: Resolver, expr: ast.Expr) -> str | None:
    match expr:
        case ast.Var(name=name):
            return resolver.id_concepts.get(name)
        case ast.Literal(value=str() as text):
            concept = parse_id(text, resolver.catalog.concepts.__contains__).concept
            return require_concept(resolver.catalog, concept) if concept else None
        case _:
            return None


def require_concept(catalog: Catalog, name: str) -> str:
    """The name, if a concept of that id is registered.

    :raises MemqlError: ``UNKNOWN_CONCEPT``, with the nearest one.
    """
    if name in catalog.concepts:
        return name
    near = get_close_matches(name, catalog.concepts, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise MemqlError(
        Code.UNKNOWN_CONCEPT,
        f"no concept {name!r} is registered{hint}",
        suggestion={"didYouMean": near[0]} if near else None,
        context=name,
    )


def _named(resolver: Resolver, name: str, place: Place) -> Concepts:
    if name in place.expanding:
        return None
    if name in place.lets:
        inner = replace(place, expanding=place.expanding | {name})
        return concepts_of(resolver, place.lets[name], inner)
    key = place.scope.predicates.get(name)
    if key is None:
        return None
    spec = resolver.catalog.specs[key]
    return concepts_of(resolver, spec.filter, replace(place, scope=spec.scope, lets={}))


def _related(resolver: Resolver, function: str, inner: ast.Expr, place: Place) -> Concepts:
    known = concepts_of(resolver, inner, place.about(None))
    if function == "ids":
        return known
    if known is None or function not in FUNCTIONS:
        return None
    depth = None if function == "aliasOf" else place.depth
    if depth != 1:
        links_between(resolver.catalog, function, known, None)
        return frozenset(link.result_concept for link in links_within(resolver.catalog, function, known, depth))
    links = links_between(resolver.catalog, function, known, place.concepts)
    return frozenset(link.result_concept for link in links)


def id_variables(expr: ast.Expr | None) -> Iterator[str]:
    """The variables that the filter's AND lists compare with ``id``."""
    match expr:
        case ast.BoolOp(items=items):
            for item in items:
                yield from id_variables(item)
        case ast.Relation(filter=inner):
            yield from id_variables(inner)
        case ast.Compare(op="==" | "in", left=left, right=right) if row_path(left) == ("id", ()):
            options = right.items if isinstance(right, ast.ListExpr) else (right,)
            yield from (option.name for option in options if isinstance(option, ast.Var))


def no_concept(expr: ast.Expr | None) -> MemqlError:
    """The error for a filter that does not say which rows it is about."""
    return MemqlError(
        Code.INVALID_ARGUMENT,
        "the filter does not say which concept it is about; add concept==<concept id> to the AND list, or give a "
        'full id such as id=="v1:ops:job:j1"',
        position=expr.span.start if expr is not None else None,
    )
