"""The facade of the engine: text or a name in, a :class:`~memql.engine.result.Result` out.

It parses (cached), looks up, checks who may call, bounds the time, and hands over to the executor of the construct.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, TypeAlias

import msgspec

from memql.auth import Actor
from memql.engine.access import RateLimiter, authorize_call, require_account, require_raw, require_raw_read
from memql.engine.caching import AnswerCache
from memql.engine.context import RequestContext
from memql.engine.freshness import Freshness
from memql.engine.logic import Policies
from memql.engine.ports import LogicRunner, Reader
from memql.engine.read import Listings
from memql.engine.read.directives import CURSOR, continued, take_apart
from memql.engine.readable import ReadableRows
from memql.engine.result import Meta, Result
from memql.engine.tools.builtins import Builtins
from memql.engine.tools.dispatch import Dispatcher
from memql.engine.tools.models import Models
from memql.engine.visibility import may_see
from memql.engine.write import GraphWriter
from memql.engine.write.variables import ValueStore
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.lang import ast
from memql.lang.catalog import Builtin, Catalog, Logic, Mutation, Query
from memql.lang.parser import parse_request

__all__ = ["DEFAULT_TIMEOUT", "Engine", "Executors"]

DEFAULT_TIMEOUT = 30.0
"""Seconds a call may take unless ``@timeout`` or the caller says otherwise."""
MAX_TIMEOUT = 300.0
_CALLS = (ast.CallRead, ast.DirectiveRead)

Target: TypeAlias = Query | Mutation | Logic | Builtin


@dataclass(frozen=True, slots=True, kw_only=True)
class Executors:
    """The parts behind the facade, one per kind of construct."""

    reader: Reader
    listings: Listings
    writer: GraphWriter
    logic: LogicRunner
    policies: Policies
    builtins: Builtins
    models: Models
    tools: Dispatcher
    values: ValueStore
    cache: AnswerCache
    freshness: Freshness


class Engine:
    """One engine over one database, serving one catalog at a time; safe to share between tasks.

    Build it with :func:`memql.engine.assembly.build_engine`.
    """

    def __init__(self, catalog: Catalog, executors: Callable[[Engine], Executors]) -> None:
        self._catalog = catalog
        self._limiter = RateLimiter()
        parts = executors(self)
        self.reader = parts.reader
        self.listings = parts.listings
        self.writer = parts.writer
        self.logic = parts.logic
        self.policies = parts.policies
        self.builtins = parts.builtins
        self.models = parts.models
        self.tools = parts.tools
        self.values = parts.values
        self.cache = parts.cache
        self.freshness = parts.freshness
        self.readable = ReadableRows(parts.reader)

    @property
    def catalog(self) -> Catalog:
        """The tree in force."""
        return self._catalog

    def use(self, catalog: Catalog) -> None:
        """Serve another catalog from the next call on; calls under way finish with the one they began with."""
        self._catalog = catalog

    # --- clients ---------------------------------------------------------------------------------------------------

    async def execute(
        self,
        text: str,
        *,
        actor: Actor,
        variables: Mapping[str, Any] | None = None,
        client_id: str = "",
        cursor: str = "",
        timeout: float | None = None,
        context: RequestContext | None = None,
    ) -> Result:
        """Run raw text (spec "Raw query language").

        :param cursor: of the meta of a page: the next page of the same query, with the same values.
        :param timeout: seconds; bounded by 300.
        :raises MemqlError: with any code; nothing else escapes but cancellation.
        """
        started = time.perf_counter()
        request = parse_request(text)
        ctx = context or RequestContext(actor=actor, variables=variables or {}, client_id=client_id)
        target = self._target(request.operation)
        limit = timeout or (target.annotations.timeout if target else None) or DEFAULT_TIMEOUT
        with _Deadline(limit, target.name if target else "the query"):
            result = await self._run(request, target, ctx, cursor)
        return _finish(result, started, ctx)

    async def call(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        *,
        actor: Actor,
        client_id: str = "",
        timeout: float | None = None,
        context: RequestContext | None = None,
    ) -> Result:
        """Run a named query, mutation, logic or builtin with typed arguments, as a client would.

        :raises MemqlError: as :meth:`execute`.
        """
        started = time.perf_counter()
        target = self.lookup(name)
        ctx = context or RequestContext(actor=actor, client_id=client_id)
        with _Deadline(timeout or target.annotations.timeout or DEFAULT_TIMEOUT, name):
            result = await self._call(target, args or {}, ctx)
        return _finish(result, started, ctx)

    def lookup(self, name: str) -> Target:
        """The callable of that name; ``query``/``mutation``/``logic`` prefixes are part of it.

        :raises MemqlError: ``UNKNOWN_FUNCTION``, with the nearest names.
        """
        catalog = self._catalog
        target = catalog.callable(name)
        if target is not None:
            return target
        raise unknown_function(catalog, name)

    async def run(self, read: ast.Read, ctx: RequestContext) -> Result:
        """Run a parsed read as a construct does: a tool's handler with its arguments bound.

        :raises MemqlError: as :meth:`execute`.
        """
        inner = ctx.called_by_construct()
        return await self._run(ast.Request((), read), self._target(read), inner)

    async def may_read(self, event: Event, actor: Actor) -> bool:
        """Whether the actor may see an event; for a graph event, whether it may read the row."""
        return await may_see(event, actor, self._catalog, self.reader)

    # --- bodies ----------------------------------------------------------------------------------------------------

    async def invoke(self, key: str, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Call a construct as a body does: a query or mutation yields decoded nodes, a logic its value.

        :raises MemqlError: as :meth:`execute`; ``RESOURCE_EXHAUSTED`` when calls nest too deep.
        """
        inner = ctx.called_by_construct()
        inner.check_depth(key)
        target = self.lookup(key)
        authorize_call(target, inner)
        if isinstance(target, Query):
            return await self.reader.nodes(target, args, inner)
        if isinstance(target, Mutation):
            written = await self.writer.mutate(target, args, inner)
            return written.decoded_nodes()
        if isinstance(target, Logic):
            return await self.logic.run(target, args, inner)
        return await self.invoke_builtin(target, args, inner)

    async def invoke_builtin(self, builtin: Builtin, args: Any, ctx: RequestContext) -> Any:
        """Call a builtin through its argument profile."""
        return await self.builtins.run(builtin, args, ctx)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _target(self, operation: object) -> Target | None:
        core = _core_of(operation)
        if not isinstance(core, ast.CallRead) or not isinstance(core.call.callee, ast.Name):
            return None
        name = core.call.callee.name
        return None if self.builtins.is_introspection(name) else self.lookup(name)

    async def _run(self, request: ast.Request, target: Target | None, ctx: RequestContext, cursor: str = "") -> Result:
        operation = request.operation
        if isinstance(target, Query):
            assert isinstance(operation, _CALLS)
            authorize_call(target, ctx)
            self._count(target, ctx)
            return await self.reader.read(operation, {}, ctx, cursor=cursor)
        if isinstance(operation, ast.InsertRequest | ast.UpdateRequest | ast.DeleteRequest):
            _refuse_cursor(cursor)
            require_raw(ctx, f"a raw {type(operation).__name__.removesuffix('Request').lower()}")
            return await self.writer.request(operation, ctx)
        if isinstance(target, Builtin) or self._introspects(operation):
            return await self._listing(operation, target, ctx, cursor)
        if target is None:
            require_raw_read(ctx, operation)
            return await self.reader.read(operation, dict(request.lets), ctx, cursor=cursor)
        _refuse_cursor(cursor)
        if isinstance(operation, ast.DirectiveRead):
            raise MemqlError(
                Code.SYNTAX_ERROR,
                f"{operation.directive}(..) goes around a read; {target.name} is not one, call it alone",
                position=operation.span.start,
            )
        assert isinstance(operation, ast.CallRead)
        args = self.builtins.call_arguments(operation.call, ctx)
        return await self._call(target, args, ctx)

    async def _listing(self, operation: ast.Read, target: Target | None, ctx: RequestContext, cursor: str) -> Result:
        """Run a builtin or an introspection call, with the directives around it."""
        listing = take_apart(operation)
        assert isinstance(listing.core, ast.CallRead)
        call, bare = listing.core.call, listing.core is operation and not cursor
        if cursor:
            listing = continued(listing, self.listings.max_results)
            ctx = replace(ctx, variables={**ctx.variables, CURSOR: cursor})
        self.listings.check(listing)
        args = self.builtins.call_arguments(call, ctx)
        if target is None:
            require_account(ctx)
            result = await self.builtins.introspect(call, ctx)
        else:
            result = await self._call(target, args, ctx)
        return result if bare else self.listings.directed(result, listing, args, ctx)

    def _introspects(self, operation: object) -> bool:
        core = _core_of(operation)
        return (
            isinstance(core, ast.CallRead)
            and isinstance(core.call.callee, ast.Name)
            and self.builtins.is_introspection(core.call.callee.name)
        )

    async def _call(self, target: Target, args: Any, ctx: RequestContext) -> Result:
        authorize_call(target, ctx)
        self._count(target, ctx)
        if isinstance(target, Query):
            return await self.reader.query(target, args, ctx)
        if isinstance(target, Mutation):
            return await self.writer.mutate(target, args, ctx)
        if isinstance(target, Logic):
            return to_result(await self.logic.run(target, args, ctx))
        return to_result(await self.invoke_builtin(target, args, ctx))

    def _count(self, target: Target, ctx: RequestContext) -> None:
        if target.annotations.rate_limit and not ctx.inner:
            self._limiter.check(target.name, target.annotations.rate_limit, ctx.actor)


def _core_of(operation: object) -> object:
    """What the directives of a request go around."""
    while isinstance(operation, ast.DirectiveRead):
        operation = operation.read
    return operation


def _refuse_cursor(cursor: str) -> None:
    if cursor:
        raise MemqlError(Code.INVALID_ARGUMENT, "only reads have pages; a cursor goes with the query it came from")


def unknown_function(catalog: Catalog, name: str) -> MemqlError:
    """The error for a name nobody answers to: disabled, misspelt or missing its prefix."""
    import difflib

    if name in catalog.disabled:
        return MemqlError(
            Code.UNKNOWN_FUNCTION, f"{catalog.disabled[name]} {name!r} is disabled; mark it @enabled", context=name
        )
    known = [*catalog.queries, *catalog.mutations, *catalog.logics, *catalog.builtins]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; functions() lists what there is"
    return MemqlError(
        Code.UNKNOWN_FUNCTION,
        f"no query, mutation, logic or builtin is called {name!r}{hint}",
        suggestion={"didYouMean": near} if near else None,
        context=name,
    )


def to_result(value: Any) -> Result:
    """What a body returned, as a client sees it: a result set is a bundle, a list is data, else one value."""
    encode = msgspec.json.encode
    if isinstance(value, Result):
        return value
    if isinstance(value, list):
        if value and all(_is_node(item) for item in value):
            return Result(
                nodes=[encode(item) for item in value],
                roots=len(value) if all("id" in item for item in value) else 0,
                meta=Meta(count=len(value)),
            )
        return Result(data=[encode(item) for item in value], meta=Meta(count=len(value)))
    return Result(data=[encode(value)], meta=Meta(count=1))


def _is_node(item: Any) -> bool:
    return isinstance(item, dict) and "concept" in item and "payload" in item


def _finish(result: Result, started: float, ctx: RequestContext) -> Result:
    """The result with what only the facade knows."""
    result.meta.took = int((time.perf_counter() - started) * 1000)
    result.meta.client_id = ctx.client_id
    return result


class _Deadline:
    """Bound a call; the expiry is a coded error that names what ran.

    ``asyncio.timeout`` with less around it, as every point query feels what stands here: one timer, which cancels the
    task once, and takes that back when nobody else cancelled it as well.
    """

    __slots__ = ("_before", "_expired", "_name", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float, name: str) -> None:
        self._seconds = min(seconds, MAX_TIMEOUT)
        self._name = name
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise MemqlError(
                Code.TIMEOUT, f"{self._name} did not finish within {self._seconds:g} s", retryable=True
            ) from error

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
