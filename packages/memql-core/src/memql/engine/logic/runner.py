"""Runs logic: the implementation of :class:`memql.engine.ports.LogicRunner`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import anyio
from psycopg import AsyncConnection

from memql.engine.context import RequestContext
from memql.engine.logic.bodies import Body, Frame, compile_body
from memql.engine.logic.calls import Calls, Models
from memql.engine.logic.policies import Policies, TablesLoader
from memql.engine.logic.publishing import Publisher
from memql.engine.ports import Callables
from memql.engine.values import NOT_RAN, Env, TypeScope, bind_args
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.graph.database import Database
from memql.lang.catalog import Logic

__all__ = ["ATOMIC_TIMEOUT", "Runner"]

ATOMIC_TIMEOUT: Final = 300.0
"""Seconds a transaction of an ``@atomic`` body may take unless the logic has a ``@timeout``."""


class Runner:
    """Runs the logic of the tree in force.

    :param callables: what bodies call: the engine.
    :param tables: loads variables and secrets for bodies that ask for them.
    :param policies: decides for bodies; without it policies that leave rows are ``UNAVAILABLE``.
    :param models: answers ``si(..)``; without it such calls are ``UNAVAILABLE``.
    """

    def __init__(
        self,
        callables: Callables,
        database: Database,
        publisher: Publisher,
        *,
        tables: TablesLoader,
        models: Models | None = None,
        policies: Policies | None = None,
    ) -> None:
        self._callables = callables
        self._database = database
        self._publisher = publisher
        self.tables = tables
        self._compiled: dict[str, tuple[Logic, Body]] = {}
        self.policies = policies or Policies(callables, tables)
        self.calls = Calls(callables, publisher, self.policies, models)

    async def run(self, logic: Logic, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Run a logic and give what it returns; a list of nodes keeps its nodes.

        :raises MemqlError: ``INVALID_ARGUMENT`` for its arguments, ``RESOURCE_EXHAUSTED`` when calls nest or
            loops run too far, ``TIMEOUT`` past its ``@timeout``, and what the body raises. Writes made before
            a failure stay, unless the logic is ``@atomic``.
        """
        ctx.check_depth(logic.name)
        bound = bind_args(logic.args, args, logic.name)
        limit = logic.annotations.timeout
        if limit is None:
            return await self._run(logic, bound, ctx)
        try:
            with anyio.fail_after(limit):
                return await self._run(logic, bound, ctx)
        except TimeoutError as error:
            raise MemqlError(
                Code.TIMEOUT, f"logic {logic.name} did not finish within {limit:g} s", retryable=True
            ) from error

    async def _run(self, logic: Logic, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        if logic.atomic and ctx.connection is None:
            return await self._atomic(logic, args, ctx)
        return await self._body(logic, args, ctx)

    async def _atomic(self, logic: Logic, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        deferred: list[Event] = []

        async def work(connection: AsyncConnection[Any]) -> Any:
            inner = replace(ctx, connection=connection, deferred=deferred, journal=None)
            return await self._body(logic, args, inner)

        value = await self._database.transaction(work, timeout=logic.annotations.timeout or ATOMIC_TIMEOUT)
        for event in deferred:
            self._publisher.publish(event)
        return value

    async def _body(self, logic: Logic, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        body = self._compile(logic)
        tables = await self.tables(ctx) if body.needs_tables else None
        env = Env.of(ctx, args, bindings={}, tables=tables)
        frame = Frame(env, ctx, self.calls.perform)
        await body.run(frame)
        return None if frame.value is NOT_RAN else frame.value

    def _compile(self, logic: Logic) -> Body:
        known = self._compiled.get(logic.key)
        if known is not None and known[0] is logic:
            return known[1]
        body = compile_body(
            logic.body, logic.order, logic.scope, self._callables.catalog, TypeScope.of(None, logic.args)
        )
        self._compiled[logic.key] = (logic, body)
        return body
