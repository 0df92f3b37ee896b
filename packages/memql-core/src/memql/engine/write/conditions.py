"""Who may write which row: the filter of a mutation and ``@rowAuthz`` of a concept (spec "Four classes").

Both are tested on the latest version of the row. What needs the graph, such as a relationship function, is asked
of the reader; everything else is decided in process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memql.engine.context import RequestContext, format_instant
from memql.engine.ports import Reader
from memql.engine.values import Compiled, Env, TypeScope, ValueTables, compile_filter
from memql.engine.values.walk import walk
from memql.errors import Code, MemqlError
from memql.graph.log import Head
from memql.lang import ast
from memql.lang.catalog import ArgSpec, Catalog, Concept, Mutation, Query, Scope

__all__ = ["Condition", "RowRuleGuard", "not_found", "row_of"]

_ID = "row id"
"""The argument that names the tested row; no declared argument can have this name."""


def not_found(concept: str, node_id: str) -> MemqlError:
    """The error for a row that is not there, or that the caller may not know of."""
    return MemqlError(Code.NOT_FOUND, f"{node_id} does not exist, or you may not change it", context=concept)


def row_of(head: Head) -> dict[str, Any]:
    """A stored version as filters see it."""
    return {
        "id": head.id,
        "concept": head.concept,
        "type": head.type,
        "createdAt": format_instant(head.created_at),
        "createdBy": head.created_by,
        "payload": head.payload,
        "schema": head.schema,
        "provenance": head.provenance,
        "metadata": head.metadata,
    }


@dataclass(frozen=True, slots=True)
class Condition:
    """The filter of a mutation, compiled: ``gates`` are its terms on the actor alone, ``row`` those on the row.

    ``query`` is set instead of ``row`` when the terms need the graph: it yields the row if they hold.
    """

    gates: tuple[Compiled, ...]
    row: Compiled | None = None
    query: Query | None = None

    @property
    def tests_row(self) -> bool:
        """Whether the latest version takes part."""
        return self.row is not None or self.query is not None

    @property
    def needs_tables(self) -> bool:
        """Whether variables must be loaded before it is tested."""
        return any(part.needs_tables for part in (*self.gates, *((self.row,) if self.row else ())))

    def check_gates(self, name: str, env: Env) -> None:
        """Test the terms on the actor.

        :raises MemqlError: ``FORBIDDEN`` when one does not hold.
        """
        if not all(gate.evaluate(env) for gate in self.gates):
            raise MemqlError(
                Code.FORBIDDEN, f"{name} is not open to role {env.actor.role!r}", details={"function": name}
            )

    async def holds(
        self,
        row: Mapping[str, Any],
        args: Mapping[str, Any],
        ctx: RequestContext,
        reader: Reader,
        tables: ValueTables | None,
    ) -> bool:
        """Whether the terms on the row hold for its latest version."""
        if self.query is not None:
            return bool(await reader.nodes(self.query, {**args, _ID: row["id"]}, ctx))
        if self.row is None:
            return True
        return bool(self.row.evaluate(Env.of(ctx, args, row=row, tables=tables)))


def compile_condition(mutation: Mutation, catalog: Catalog) -> Condition | None:
    """The compiled filter of a mutation, None without one."""
    if mutation.filter is None:
        return None
    concept = catalog.concepts[mutation.concept]
    types = TypeScope.of(concept, mutation.args)
    gates, rest = [], []
    for term in _terms(mutation.filter):
        if _needs_graph(term, mutation.scope, catalog):
            rest.append(term)
            continue
        compiled = compile_filter(term, mutation.scope, catalog, types=types)
        if compiled.reads_row or not _mentions_actor(term, mutation.scope, catalog):
            rest.append(term)
        else:
            gates.append(compiled)
    if not rest:
        return Condition(tuple(gates))
    row_filter: ast.Expr = rest[0] if len(rest) == 1 else ast.BoolOp("&&", tuple(rest))
    if _needs_graph(row_filter, mutation.scope, catalog):
        return Condition(tuple(gates), query=_membership(mutation, row_filter))
    return Condition(tuple(gates), row=compile_filter(row_filter, mutation.scope, catalog, types=types))


def _terms(expr: ast.Expr) -> tuple[ast.Expr, ...]:
    return expr.items if isinstance(expr, ast.BoolOp) and expr.op == "&&" else (expr,)


def _predicates(term: ast.Expr, scope: Scope, catalog: Catalog) -> list[tuple[ast.Expr, Scope]]:
    """The filters of the specs and traits a term names directly."""
    names = [node.name for node in walk(term) if isinstance(node, ast.Name)]
    specs = [catalog.specs[scope.predicates[name]] for name in names if name in scope.predicates]
    return [(spec.filter, spec.scope) for spec in specs]


def _needs_graph(term: ast.Expr, scope: Scope, catalog: Catalog) -> bool:
    """Whether a term has a relationship function or an inlined query, in the specs it names too."""
    for node in walk(term):
        if isinstance(node, ast.Relation):
            return True
        if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name) and node.callee.name in scope.calls:
            return True
    return any(_needs_graph(inner, within, catalog) for inner, within in _predicates(term, scope, catalog))


def _mentions_actor(term: ast.Expr, scope: Scope, catalog: Catalog) -> bool:
    if any(isinstance(node, ast.Name) and node.name == "actor" for node in walk(term)):
        return True
    return any(_mentions_actor(inner, within, catalog) for inner, within in _predicates(term, scope, catalog))


def _id_is_argument() -> ast.Expr:
    return ast.Compare("==", ast.Name("id"), ast.Member(ast.Name("args"), _ID))


def _id_argument() -> ArgSpec:
    return ArgSpec(name=_ID, type=ast.ScalarType("string"), required=True, json_schema={"type": "string"})


def _membership(mutation: Mutation, row_filter: ast.Expr) -> Query:
    """A query that yields the row of an id if a filter holds for it."""
    return Query(
        key=f"{mutation.key} (row condition)",
        name=mutation.name,
        namespace=mutation.namespace,
        file=mutation.file,
        span=mutation.span,
        scope=mutation.scope,
        concept=mutation.concept,
        args=(*mutation.args, _id_argument()),
        filter=ast.BoolOp("&&", (_id_is_argument(), row_filter)),
        access=mutation.access,
    )


class RowRuleGuard:
    """``@rowAuthz`` of one concept, for writes. The system and the cluster owner pass everything."""

    def __init__(self, concept: Concept) -> None:
        self._concept = concept
        self._rule = concept.row_rule
        self._query = self._visible() if self._rule is not None and self._rule.via else None

    @property
    def by_graph(self) -> bool:
        """Whether a new row can be judged only once it stands in the graph."""
        return self._query is not None

    def applies(self, ctx: RequestContext) -> bool:
        """Whether there is a rule that this caller is subject to."""
        return self._rule is not None and not self._rule.public and not ctx.actor.bypasses_row_rules

    def check_caller(self, ctx: RequestContext) -> None:
        """Check what needs no row.

        :raises MemqlError: ``FORBIDDEN`` when only the cluster owner may write the concept.
        """
        if self.applies(ctx) and self._rule is not None and self._rule.cluster_owner:
            raise MemqlError(Code.FORBIDDEN, f"only the cluster owner may write {self._concept.key}")

    def check_new(self, node_id: str, payload: Mapping[str, Any], ctx: RequestContext) -> None:
        """Check a row that is to be stored by the caller.

        :raises MemqlError: ``FORBIDDEN`` when it would belong to somebody else.
        """
        if not self.owns(node_id, ctx.actor.created_by, payload, ctx):
            assert self._rule is not None
            raise MemqlError(
                Code.FORBIDDEN,
                f"rows of {self._concept.key} belong to the user in {self._rule.owner}; you may write only your own",
            )

    async def may_change(self, head: Head, ctx: RequestContext, reader: Reader) -> bool:
        """Whether the caller may write over a stored, live row."""
        if not self.applies(ctx):
            return True
        return self.owns(head.id, head.created_by, head.payload, ctx) and await self.is_visible(head.id, ctx, reader)

    async def is_visible(self, node_id: str, ctx: RequestContext, reader: Reader) -> bool:
        """Whether a ``via`` rule shows the caller the row as it stands."""
        return self._query is None or bool(await reader.nodes(self._query, {_ID: node_id}, ctx))

    def owns(self, node_id: str, created_by: str, payload: Mapping[str, Any], ctx: RequestContext) -> bool:
        """Whether an ``owner`` rule, if there is one, makes the row the caller's or does not bind the caller."""
        field = self._rule.owner if self._rule is not None and self.applies(ctx) else ""
        if not field:
            return True
        owner = {"id": node_id, "createdBy": created_by}.get(field, payload.get(field))
        user = ctx.actor.user_id
        return bool(user) and (user in owner if isinstance(owner, list) else owner == user)

    def _visible(self) -> Query:
        """A query that yields the row of an id if the reader's own row rule lets the caller see it."""
        concept = self._concept
        return Query(
            key=f"{concept.key} (row rule)",
            name=concept.name,
            namespace=concept.namespace,
            file=concept.file,
            span=concept.span,
            scope=concept.scope,
            concept=concept.key,
            args=(_id_argument(),),
            filter=_id_is_argument(),
            access="granted",
        )
