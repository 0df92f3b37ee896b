"""From the syntax of a filter to what it means: see :mod:`memql.engine.read.terms`.

One resolver serves one plan. It looks names up, expands specs and inlined queries in place, finds out which concepts a
row can be of, and folds everything free of row data into slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from memql.engine.read import inference, operands, rules
from memql.engine.read.links import FUNCTIONS, Link, links_between, links_within
from memql.engine.read.place import ENGINE_NAMES, ROW_ROOTS, ArgPath, Place, argument_paths, children, row_path
from memql.engine.read.slots import Run, Slot, SlotTable
from memql.engine.read.terms import (
    ALWAYS,
    Comparison,
    Either,
    Every,
    Flag,
    Given,
    InSet,
    Known,
    Not,
    Predicate,
    Selection,
)
from memql.engine.values import ArgumentBinder, Env, TypeScope, compile_expr, compile_filter, descend
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Query

__all__ = ["Resolver"]


class Resolver:
    """Resolves the filters and values of one plan.

    :param id_concepts: the concept of the id that a variable of the request holds, where a filter names no concept.
    """

    def __init__(self, catalog: Catalog, slots: SlotTable, id_concepts: Mapping[str, str]) -> None:
        self.catalog = catalog
        self.slots = slots
        self.id_concepts = id_concepts
        self.needs_tables = False
        self.concepts_read: set[str] = set()
        self.secret_read = ""

    # --- selections ------------------------------------------------------------------------------------------------

    def selection(self, expr: ast.Expr | None, place: Place, *, default_filters: bool = False) -> Selection:
        """The rows of a filter, row rules included.

        :param place: its ``concepts`` are those of the rows, if the construct says so.
        :param default_filters: whether ``@defaultFilter`` of the concepts applies: raw reads.
        :raises MemqlError: ``INVALID_ARGUMENT`` when neither a concept nor a full id says which rows are meant.
        """
        inferred = inference.concepts_of(self, expr, place) if expr is not None else None
        place = place.narrowed(inferred)
        if place.concepts is None:
            raise inference.no_concept(expr)
        self.concepts_read |= place.concepts
        items = [self.predicate(expr, place)] if expr is not None else []
        if default_filters:
            items += rules.default_filters(self, place)
        if not place.unruled:
            items += rules.row_rules(self, place)
        return Selection(place.concepts, Every(tuple(items)) if len(items) != 1 else items[0])

    # --- predicates ------------------------------------------------------------------------------------------------

    def predicate(self, expr: ast.Expr, place: Place) -> Predicate:
        """What an expression in the place of a condition means."""
        match expr:
            case ast.BoolOp(op=op, items=items):
                return self._list(items, place, every=op == "&&", whole=expr)
            case ast.Unary(op="!", operand=operand):
                return Not(self.predicate(operand, place))
            case ast.OptionalTerm(term=term):
                return self._given(argument_paths(term), term, place)
            case ast.When(path=path, body=body):
                return self._given(frozenset({cast("ArgPath", path)}), body, place)
            case ast.Relation():
                return self._in_set(expr, place)
            case ast.Compare() if self.reads_row(expr, place):
                return self._comparison(expr, place)
            case ast.Name(name=name) if (found := self._named(name, place)) is not None:
                return found
            case ast.Call() if (query := self.inlined_query(expr, place)) is not None:
                return self._inline(expr, query, place)
            case _ if self.reads_row(expr, place):
                return Flag(operands.value(self, expr, place))
            case _:
                return Known(self.condition(expr, place))

    def _list(self, items: Sequence[ast.Expr], place: Place, *, every: bool, whole: ast.Expr) -> Predicate:
        if every:
            place = place.narrowed(inference.concepts_of(self, whole, place))
        terms: list[Predicate] = []
        for item in items:
            inner = place if every else place.narrowed(inference.concepts_of(self, item, place))
            term = self.predicate(item, inner)
            terms.append(term)
            if isinstance(term, Known):
                # What follows a decided condition is evaluated only where the condition leaves it open.
                place = place.guarded(term.slot, every)
        return Every(tuple(terms)) if every else Either(tuple(terms))

    def _given(self, paths: frozenset[ArgPath], body: ast.Expr, place: Place) -> Predicate:
        ordered = tuple(paths)

        def all_given(env: Env) -> bool:
            return all(descend(env.args, path) is not None for path in ordered)

        slot = self.slot(all_given, place)
        return Given(slot, self.predicate(body, place.guarded(slot, True, paths)))

    def _comparison(self, expr: ast.Compare, place: Place) -> Predicate:
        match expr.right:
            case ast.Literal(value=str() as text) if text.endswith(":*") and row_path(expr.left) == ("id", ()):
                every = ast.ConceptRef(text.removesuffix(":*"), span=expr.right.span)
                expr = ast.Compare(expr.op, ast.Name("concept"), every, span=expr.span)
        left = operands.side(self, expr.left, expr.right, expr.op, place)
        right = operands.side(self, expr.right, expr.left, expr.op, place)
        op = {"!=": "==", "not in": "in"}.get(expr.op, expr.op)
        instants = operands.is_moment(self, left, expr.left, place) or operands.is_moment(
            self, right, expr.right, place
        )
        left, right = operands.as_moments(self, (left, right), instants)
        found = Comparison(op, left, right, instants)  # type: ignore[arg-type]
        return found if op == expr.op else Not(found)

    def _named(self, name: str, place: Place) -> Predicate | None:
        """The spec, trait or inline spec of that name, in place."""
        if name in place.lets:
            if name in place.expanding:
                raise MemqlError(Code.INVALID_ARGUMENT, f"the inline spec {name} refers to itself")
            inner = replace(place, expanding=place.expanding | {name})
            return self.predicate(place.lets[name], inner)
        key = place.scope.predicates.get(name)
        if key is None:
            self._check_names(ast.Name(name), place)
            return None
        spec = self.catalog.specs[key]
        return self.predicate(spec.filter, replace(place, scope=spec.scope, lets={}, args={}))

    def inlined_query(self, expr: ast.Expr, place: Place) -> Query | None:
        """The query a filter calls, if it calls one."""
        if isinstance(expr, ast.Call) and isinstance(expr.callee, ast.Name):
            name = expr.callee.name
            return self.catalog.queries.get(place.scope.calls.get(name, name))
        return None

    def _inline(self, call: ast.Call, query: Query, place: Place) -> Predicate:
        if query.key in place.expanding:
            raise MemqlError(Code.INVALID_ARGUMENT, f"the query {query.name} calls itself in its filter")
        if place.concepts is not None and query.concept not in place.concepts:
            raise MemqlError(
                Code.INVALID_ARGUMENT, f"{query.name} is about {query.concept}; the filter is about other rows"
            )
        inner = Place(
            query.scope,
            place.concepts,
            {spec.name: spec for spec in query.args},
            frame=self._frame(call, query, place),
            guards=place.guards,
            unruled=place.unruled,
            expanding=place.expanding | {query.key},
        )
        return ALWAYS if query.filter is None else self.predicate(query.filter, inner)

    def _frame(self, call: ast.Call, query: Query, place: Place) -> int:
        """The slot with the environment of an inlined query: its arguments are computed where it is called."""
        given: ast.Expr = ast.ObjectExpr(call.named) if call.named else ast.ObjectExpr(())
        if len(call.args) == 1:
            given = call.args[0]
        if self.reads_row(given, place):
            raise MemqlError(Code.INVALID_ARGUMENT, f"{query.name}: arguments in a filter cannot be row data")
        args = self.run(given, place)
        bind = ArgumentBinder(query.name, query.args).bind

        def environment(env: Env) -> Env:
            return replace(env, args=bind(args(env)))

        return self.slots.add(Slot(environment, place.frame, place.guards))

    def _in_set(self, relation: ast.Relation, place: Place) -> Predicate:
        function = relation.function
        known = inference.concepts_of(self, relation.filter, place.about(None))
        if function == "ids":
            inner = self.selection(relation.filter, place.about(known or place.concepts))
            return InSet(function, (), inner)
        if function not in FUNCTIONS:
            raise MemqlError(Code.UNKNOWN_FUNCTION, f"there is no relationship function {function}(..)")
        depth = None if function == "aliasOf" else place.depth
        outer = place.concepts if depth == 1 else None
        links = links_between(self.catalog, function, known, outer)
        concepts = known or frozenset(link.inner_concept for link in links)
        inner = self.selection(relation.filter, place.about(concepts))
        if depth == 1:
            return InSet(function, links, inner)
        links = links_within(self.catalog, function, concepts, depth)
        return InSet(function, links, inner, depth, self.visible(links, place))

    def visible(self, links: Iterable[Link], place: Place) -> tuple[Selection, ...]:
        """The rows that traversals over some links may pass through: one selection per concept, row rules included."""
        ends = sorted({concept for link in links for concept in (link.holder, link.target)})
        return tuple(self.selection(None, place.about(frozenset({concept}))) for concept in ends)

    # --- folding ---------------------------------------------------------------------------------------------------

    def reads_row(self, expr: ast.Expr, place: Place) -> bool:
        """Whether an expression depends on row data, so that it cannot be folded."""
        match expr:
            case ast.Name(name=name):
                if name in place.lets:
                    return name in place.expanding or self.reads_row(place.lets[name], place)
                key = place.scope.predicates.get(name)
                if key is not None:
                    return not self.catalog.specs[key].is_context
                return name in ROW_ROOTS
            case ast.Relation():
                return True
            case ast.Call() if self.inlined_query(expr, place) is not None:
                return True
            case ast.Call(callee=ast.Name(), args=args, named=named):
                return any(self.reads_row(part, place) for part in (*args, *(value for _, value in named)))
            case _:
                return any(self.reads_row(part, place) for part in children(expr))

    def run(self, expr: ast.Expr, place: Place) -> Run:
        """An expression free of row data, compiled."""
        self._check_names(expr, place)
        types = TypeScope(None, place.args)
        compiled = compile_expr(expr, place.scope, self.catalog, mode="filter", types=types)
        self.needs_tables = self.needs_tables or compiled.needs_tables
        return compiled.evaluate

    def condition(self, expr: ast.Expr, place: Place) -> int:
        """The slot of a condition free of row data."""
        self._check_names(expr, place)
        types = TypeScope(None, place.args)
        compiled = compile_filter(expr, place.scope, self.catalog, types=types)
        self.needs_tables = self.needs_tables or compiled.needs_tables
        return self.slot(compiled.evaluate, place)

    def _check_names(self, expr: ast.Expr, place: Place) -> None:
        """Refuse names that mean nothing: in process they would read as null."""
        match expr:
            case ast.Name(name=name):
                known = (ROW_ROOTS, ENGINE_NAMES, place.lets, place.scope.predicates, place.scope.concepts)
                if not any(name in names for names in known):
                    raise unknown_name(name, [*place.scope.predicates, *place.lets])
            case ast.Call(callee=ast.Name(), args=args, named=named):
                for part in (*args, *(value for _, value in named)):
                    self._check_names(part, place)
            case _:
                for part in children(expr):
                    self._check_names(part, place)

    def slot(self, run: Run, place: Place, **traits: Any) -> int:
        """A slot evaluated where ``place`` is."""
        return self.slots.add(Slot(run, place.frame, place.guards, **traits))


def unknown_name(name: str, known: Sequence[str]) -> MemqlError:
    """The error for a bare name that is no spec, trait or inline spec."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else "; a field is written payload.<name>"
    return MemqlError(
        Code.INVALID_ARGUMENT,
        f"{name!r} is neither a spec nor a trait nor a field of the row{hint}",
        suggestion={"didYouMean": near[0]} if near else None,
        context=name,
    )
