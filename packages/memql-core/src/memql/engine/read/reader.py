"""The reader: reads in, rows out as the bytes that PostgreSQL built."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from psycopg.pq.abc import PGresult

from memql.engine.caching import AnswerCache
from memql.engine.context import RequestContext
from memql.engine.read.answers import AskModel, fill_in
from memql.engine.read.cursors import CursorCodec
from memql.engine.read.directives import CURSOR, ReadRequest, clauses_of, continued, take_apart
from memql.engine.read.planner import Planner, id_concepts_of
from memql.engine.read.plans import Bound, Plan, Statement
from memql.engine.read.slots import Run
from memql.engine.read.surroundings import EDGE, NODE, ROOT
from memql.engine.result import Meta, Result, decode
from memql.engine.values import ArgumentBinder, Env, ValueTables, compile_expr
from memql.engine.write.tables import TABLE_CONCEPTS
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.graph.prepared import execute_prepared
from memql.lang import ast
from memql.lang.catalog import Catalog, Query

__all__ = ["GraphReader", "LoadTables"]

LoadTables = Callable[[RequestContext], Awaitable[ValueTables]]

_MAX_PLANS = 1024
_ROOT, _EDGE, _NODE = ROOT.encode(), EDGE.encode(), NODE.encode()
_NO_LETS: Mapping[str, ast.Expr] = {}


@dataclass(frozen=True, slots=True)
class _Raw:
    """A cached read of raw text; ``source`` is kept so that its identity stays its own."""

    source: object
    plan: Plan
    arguments: Run | None = None
    bind: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class _Named:
    """A cached named query: as declared, and without its shape for bodies."""

    query: Query
    bind: Callable[[Mapping[str, Any]], dict[str, Any]]
    declared: Plan
    unshaped: Plan


class GraphReader:
    """Runs reads (:class:`memql.engine.ports.Reader`).

    :param catalog: the tree in force; plans of an earlier one are dropped.
    :param signing_key: signs cursors; all nodes of a system share it.
    :param max_results: the default and largest page.
    :param ask_model: answers ``si(..)`` in templates; without it they are ``UNAVAILABLE``.
    :param cache: keeps results under ``@cache``.
    :param load_tables: loads variables for filters that ask for them (``var(..)``).
    """

    def __init__(
        self,
        database: Database,
        catalog: Callable[[], Catalog],
        *,
        signing_key: bytes,
        max_results: int = 10_000,
        load_tables: LoadTables | None = None,
        ask_model: AskModel | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._codec = CursorCodec(signing_key)
        self._max_results = max_results
        self._load_tables = load_tables
        self._ask = ask_model
        self._cache = AnswerCache() if cache is None else cache
        self._planner = Planner(catalog(), self._codec, max_results)
        self._raw: OrderedDict[tuple[Any, ...], _Raw] = OrderedDict()
        self._named: OrderedDict[int, _Named] = OrderedDict()

    # --- the port --------------------------------------------------------------------------------------------------

    async def read(
        self, read: ast.Read, lets: Mapping[str, ast.Expr], ctx: RequestContext, *, cursor: str = ""
    ) -> Result:
        """Run a raw read, a named query with or without directives around it included.

        :param cursor: continues the page whose meta had it.
        :raises MemqlError: any code of the spec's "Error codes" that concerns reads.
        """
        entry = self._prepared(read, lets, ctx, bool(cursor))
        env = Env.of(ctx)
        if cursor:
            env.variables = {**env.variables, CURSOR: cursor}
        if entry.plan.needs_tables:
            env.tables = await self._tables(ctx)
        if entry.arguments is not None and entry.bind is not None:
            env.args = entry.bind(entry.arguments(env))
        return await self._run(entry.plan, env, ctx)

    async def query(self, query: Query, args: Mapping[str, Any], ctx: RequestContext) -> Result:
        """Run a named query as declared: shaped data or a bundle."""
        named = self._named_plan(query)
        return await self._run_named(named.declared, named, args, ctx)

    async def nodes(self, query: Query, args: Mapping[str, Any], ctx: RequestContext) -> list[dict[str, Any]]:
        """Run a named query for a body: unshaped, decoded nodes."""
        named = self._named_plan(query)
        result = await self._run_named(named.unshaped, named, args, ctx)
        return result.decoded_nodes()

    def concepts_of(self, query: Query) -> frozenset[str]:
        """The concepts whose writes may change what a query gives."""
        plan = self._named_plan(query).unshaped
        return plan.concepts.union(TABLE_CONCEPTS) if plan.needs_tables else plan.concepts

    # --- plans -----------------------------------------------------------------------------------------------------

    def _current(self) -> Planner:
        catalog = self._catalog()
        if self._planner.catalog is not catalog:
            self._planner = Planner(catalog, self._codec, self._max_results)
            self._cache.clear()
            self._raw.clear()
            self._named.clear()
        return self._planner

    def _named_plan(self, query: Query) -> _Named:
        planner = self._current()
        found = self._named.get(id(query))
        if found is None:
            request = ReadRequest(core=ast.CallRead(ast.Call(ast.Name(query.name))))
            declared = planner.plan(clauses_of(query, request), query, _NO_LETS, {})
            unshaped = declared
            if declared.kind != "bundle":
                without = _without_projection(clauses_of(query, request))
                unshaped = planner.plan(without, query, _NO_LETS, {})
            bind = ArgumentBinder(query.name, query.args).bind
            found = self._named[id(query)] = _Named(query, bind, declared, unshaped)
            _trim(self._named)
        return found

    def _prepared(self, read: ast.Read, lets: Mapping[str, ast.Expr], ctx: RequestContext, goes_on: bool) -> _Raw:
        planner = self._current()
        key: tuple[Any, ...] = (id(read), goes_on)
        entry = self._raw.get(key)
        if entry is not None:
            self._raw.move_to_end(key)
            return entry
        request = take_apart(read)
        if isinstance(request.core, ast.CallRead):
            entry = self._prepare_call(planner, read, request, request.core.call, goes_on)
            return self._keep(key, entry)
        if goes_on:
            request = continued(request, self._max_results)
        id_concepts = id_concepts_of(planner.catalog, request, ctx.variables)
        by_ids = (*key, *sorted(id_concepts.items()))
        entry = self._raw.get(by_ids)
        if entry is not None:
            return entry
        try:
            return self._keep(key, _Raw((read, lets), planner.plan(request, None, lets, {})))
        except MemqlError:
            if not id_concepts:
                raise
        # Only an id given as a variable says which concept the filter is about: one plan for each.
        return self._keep(by_ids, _Raw((read, lets), planner.plan(request, None, lets, id_concepts)))

    def _prepare_call(
        self, planner: Planner, read: ast.Read, request: ReadRequest, call: ast.Call, goes_on: bool
    ) -> _Raw:
        query = _called_query(planner.catalog, call)
        request = clauses_of(query, request)
        if goes_on:
            request = continued(request, self._max_results)
        plan = planner.plan(request, query, _NO_LETS, {})
        given = _argument_object(call)
        arguments = compile_expr(given, planner.raw_place({}).scope, planner.catalog, mode="filter")
        plan.needs_tables = plan.needs_tables or arguments.needs_tables
        return _Raw(read, plan, arguments.evaluate, ArgumentBinder(query.name, query.args).bind)

    def _keep(self, key: tuple[Any, ...], entry: _Raw) -> _Raw:
        self._raw[key] = entry
        _trim(self._raw)
        return entry

    # --- running ---------------------------------------------------------------------------------------------------

    async def _run_named(self, plan: Plan, named: _Named, args: Mapping[str, Any], ctx: RequestContext) -> Result:
        env = Env.of(ctx, named.bind(args))
        if plan.needs_tables:
            env.tables = await self._tables(ctx)
        return await self._run(plan, env, ctx)

    async def _run(self, plan: Plan, env: Env, ctx: RequestContext) -> Result:
        if plan.reads_secrets and not env.actor.has_role("admin"):
            raise MemqlError(
                Code.FORBIDDEN,
                f"{plan.reads_secrets} is secret: filtering and sorting by it needs role admin or above",
                context=plan.reads_secrets,
            )
        bound = plan.evaluate(env)
        statement = bound.statement
        if statement is None:
            return _nothing(plan)
        params = bound.params()
        if not plan.cache_ttl or ctx.connection is not None:
            return await self._execute(plan, bound, statement, params, env, ctx)
        key = (plan.number, statement.sql, tuple(params), env.actor.user_id, env.actor.role)
        kept: Result | None = self._cache.get(key)
        if kept is not None:
            return kept.copy()
        ticket = self._cache.begin(key)
        result = await self._execute(plan, bound, statement, params, env, ctx)
        self._cache.keep(ticket, plan.concepts, result.copy(), plan.cache_ttl, size=result.size)
        return result

    async def _execute(
        self,
        plan: Plan,
        bound: Bound,
        statement: Statement,
        params: list[str | None],
        env: Env,
        ctx: RequestContext,
    ) -> Result:
        rows = await self._fetch(statement.sql, params, ctx)
        if plan.kind == "count":
            total = int(rows.get_value(0, 0) or 0)
            return Result(data=[str(total).encode()], meta=Meta(count=total))
        result = self._assemble(plan, bound, rows, env)
        if plan.models is not None:
            result.data = await fill_in(result.data, plan.models, self._ask, ctx)
        return result

    async def _fetch(self, sql: bytes, params: list[str | None], ctx: RequestContext) -> PGresult:
        values = [None if param is None else param.encode() for param in params]
        if ctx.connection is not None:
            return await execute_prepared(ctx.connection, sql, values)
        return await self._database.run_prepared(sql, values)

    def _assemble(self, plan: Plan, bound: Bound, rows: PGresult, env: Env) -> Result:
        limit = bound.values[plan.limit] - 1
        kinds = [rows.get_value(number, 0) for number in range(rows.ntuples)] if plan.surrounded else []
        found = kinds.count(_ROOT) if plan.surrounded else rows.ntuples
        count, column = min(found, limit), int(plan.surrounded)
        first = _column(rows, range(count), column)
        meta = Meta(count=count)
        if found > limit:
            meta.has_more = True
            meta.cursor = self._cursor(plan, rows, count - 1, env)
        if plan.kind == "data":
            return Result(data=first, meta=meta)
        result = Result(nodes=first, roots=count, meta=meta)
        if plan.kind == "both":
            result.data = _column(rows, range(count), column + 1)
        if plan.surrounded:
            if len(kinds) - found > self._max_results:
                raise MemqlError(
                    Code.RESOURCE_EXHAUSTED,
                    f"the read touches more than {self._max_results} edges and nodes around its rows; narrow it, take "
                    "smaller pages or go fewer levels",
                )
            result.edges = _column(rows, [at for at, kind in enumerate(kinds) if kind == _EDGE], 1)
            result.nodes = first + _column(rows, [at for at, kind in enumerate(kinds) if kind == _NODE], 1)
        return result

    def _cursor(self, plan: Plan, rows: PGresult, last: int, env: Env) -> str:
        if plan.columns:
            start = rows.nfields - plan.columns - int(plan.surrounded)
            raw = [rows.get_value(last, start + number) for number in range(plan.columns)]
            keys = [None if key is None else bytes(key).decode() for key in raw]
        else:
            node = decode(rows.get_value(last, int(plan.surrounded)) or b"{}")
            keys = [node["createdAt"], node["id"]]
        return self._codec.encode(keys, plan.identity(env))

    async def _tables(self, ctx: RequestContext) -> ValueTables:
        if self._load_tables is None:
            raise MemqlError(Code.UNAVAILABLE, "this reader has no access to variables")
        return await self._load_tables(ctx)


def _column(rows: PGresult, lines: Iterable[int], column: int) -> list[bytes]:
    """The JSON texts of some lines of a result."""
    value = rows.get_value
    return [value(line, column) or b"null" for line in lines]


def _nothing(plan: Plan) -> Result:
    if plan.kind == "count":
        return Result(data=[b"0"], meta=Meta(count=0))
    return Result(meta=Meta(count=0))


def _without_projection(request: ReadRequest) -> ReadRequest:
    return replace(request, shape=None, with_bundle=False, count=False)


def _called_query(catalog: Catalog, call: ast.Call) -> Query:
    name = call.callee.name if isinstance(call.callee, ast.Name) else ""
    target = catalog.callable(name)
    if isinstance(target, Query):
        return target
    if target is None:
        raise MemqlError(Code.UNKNOWN_FUNCTION, f"no query is called {name!r}", context=name)
    raise MemqlError(
        Code.SYNTAX_ERROR,
        f"{name} is no query, and directives go around reads only; call it alone",
        position=call.span.start,
        context=name,
    )


def _argument_object(call: ast.Call) -> ast.Expr:
    if call.named:
        return ast.ObjectExpr(call.named, span=call.span)
    if not call.args:
        return ast.ObjectExpr((), span=call.span)
    if len(call.args) == 1 and isinstance(call.args[0], ast.ObjectExpr):
        return call.args[0]
    raise MemqlError(
        Code.INVALID_ARGUMENT, 'a query takes one object or named arguments: queryJobs({customerId: "acme"})'
    )


def _trim(cache: OrderedDict[Any, Any]) -> None:
    while len(cache) > _MAX_PLANS:
        cache.popitem(last=False)
