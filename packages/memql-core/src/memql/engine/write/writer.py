"""The executor of writes behind the engine: raw requests, named mutations, the engine's own inserts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import anyio
import msgspec

from memql.engine.context import RequestContext, format_instant
from memql.engine.ports import Reader
from memql.engine.result import Meta, Result
from memql.engine.values import ValueTables, bind_args
from memql.engine.write.audit import AUDIT_CONCEPT, audit_row
from memql.engine.write.intents import Intent
from memql.engine.write.mutations import MutationPlan, compile_mutation
from memql.engine.write.payloads import PayloadRules
from memql.engine.write.pipeline import Outcome, Pipeline, version_number
from memql.engine.write.requests import RawPlans, RawWrite, known_concept
from memql.engine.write.tables import load_tables
from memql.errors import MemqlError
from memql.events.event import Event
from memql.graph.database import Connection, Database
from memql.ids import new_id
from memql.lang.catalog import Catalog, Mutation
from memql.secrets.keys import MasterKey

__all__ = ["GraphWriter"]

T = TypeVar("T")

_RETRY_PAUSE: Final = 0.05
"""Seconds before the first repetition of a ``@retry`` mutation; doubles each time."""
_encode = msgspec.json.Encoder().encode


class _Compiled:
    """What is compiled for one catalog, on demand."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.requests = RawPlans(catalog)
        self._rules: dict[str, PayloadRules] = {}
        self._mutations: dict[str, MutationPlan] = {}

    def rules(self, concept: str) -> PayloadRules:
        rules = self._rules.get(concept)
        if rules is None:
            rules = self._rules[concept] = PayloadRules(known_concept(self.catalog, concept))
        return rules

    def mutation(self, mutation: Mutation) -> MutationPlan:
        plan = self._mutations.get(mutation.key)
        if plan is None or plan.mutation is not mutation:
            plan = compile_mutation(mutation, self.catalog, self.rules(mutation.concept))
            self._mutations[mutation.key] = plan
        return plan


class GraphWriter:
    """Implements :class:`memql.engine.ports.Writer`; safe to share between tasks.

    :param catalog: gives the tree in force; a call finishes with the one it began with.
    :param publish: takes each event after its commit; must not wait.
    :param reader: answers row conditions that need the graph.
    :param master_key: opens secrets for ``secret(..)``.
    :param salt: mixed into ids derived from content.
    """

    def __init__(
        self,
        database: Database,
        catalog: Callable[[], Catalog],
        publish: Callable[[Event], None],
        *,
        reader: Callable[[], Reader],
        master_key: MasterKey | None = None,
        salt: str = "",
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._reader = reader
        self._master_key = master_key
        self._salt = salt
        self._pipeline = Pipeline(database, publish, reader, salt)
        self._compiled = _Compiled(catalog())

    @property
    def salt(self) -> str:
        """What is mixed into ids derived from content."""
        return self._salt

    async def request(self, request: RawWrite, ctx: RequestContext) -> Result:
        """Run a raw write; that the caller may write raw is the facade's check.

        :raises MemqlError: ``UNKNOWN_CONCEPT``, ``INVALID_ARGUMENT``, ``RELATIONSHIP_NOT_FOUND`` and those of
            :meth:`memql.engine.write.pipeline.Pipeline.run`.
        """
        compiled = self._current()
        plan = compiled.requests.plan(request)
        tables = await self.tables(ctx) if plan.needs_tables else None
        rules = compiled.rules(plan.concept.key)
        return await self.run(plan.intent(rules, ctx, tables), ctx)

    async def mutate(self, mutation: Mutation, args: Mapping[str, Any], ctx: RequestContext) -> Result:
        """Run a named mutation; the result's one node is the written row.

        :raises MemqlError: ``INVALID_ARGUMENT`` before anything runs, ``FORBIDDEN`` and ``NOT_FOUND`` by the
            mutation's class, and those of :meth:`memql.engine.write.pipeline.Pipeline.run`.
        """
        plan = self._current().mutation(mutation)
        if mutation.audit:
            self.rules(AUDIT_CONCEPT)
        bound = bind_args(mutation.args, args, mutation.name)
        intent: Intent | None = None
        try:
            tables = await self.tables(ctx) if plan.needs_tables else None
            intent = plan.intent(bound, ctx, tables, self._reader())
            return await self._repeated(plan, intent, ctx)
        except MemqlError as error:
            if mutation.audit:
                apart = replace(ctx, connection=None, deferred=None)
                await self._audit(mutation, intent.id if intent else None, error, apart)
            raise

    async def insert(
        self, concept: str, payload: Mapping[str, Any], ctx: RequestContext, *, id: str | None = None
    ) -> Result:
        """Insert as the engine itself: through the whole pipeline, without a construct.

        :raises MemqlError: as :meth:`request`.
        """
        return await self.run(Intent(kind="insert", rules=self._current().rules(concept), id=id, payload=payload), ctx)

    async def create(self, concept: str, payload: Mapping[str, Any], ctx: RequestContext, *, id: str) -> bool:
        """Insert unless any version of the id exists, a tombstone included; whether it was written."""
        intent = Intent(kind="insert", rules=self._current().rules(concept), id=id, payload=payload, create_only=True)
        return (await self._pipeline.run(intent, ctx)).written

    async def transaction(self, work: Callable[[RequestContext], Awaitable[T]], ctx: RequestContext) -> T:
        """Run several writes as one: all of them are stored or none, and their events follow after the commit. Inside
        somebody's transaction they are part of that.

        :param work: writes in the context that it is given.
        """
        if ctx.connection is not None:
            return await work(ctx)
        events: list[Event] = []

        async def inside(connection: Connection) -> T:
            return await work(replace(ctx, connection=connection, deferred=events))

        result = await self._database.transaction(inside)
        self._pipeline.emit(events, ctx)
        return result

    async def tables(self, ctx: RequestContext) -> ValueTables:
        """The variables and secrets as they stand now, in the transaction of the call if it has one."""
        return await load_tables(ctx.connection or self._database, self._master_key)

    def rules(self, concept: str) -> PayloadRules:
        """The payload rules of a concept.

        :raises MemqlError: ``UNKNOWN_CONCEPT``.
        """
        return self._current().rules(concept)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _current(self) -> _Compiled:
        catalog = self._catalog()
        if catalog is not self._compiled.catalog:
            self._compiled = _Compiled(catalog)
        return self._compiled

    async def run(self, intent: Intent, ctx: RequestContext) -> Result:
        """Carry out a write that another part of the engine prepared; see :meth:`Pipeline.run`."""
        return _result(await self._pipeline.run(intent, ctx), intent.rules, ctx)

    async def _repeated(self, plan: MutationPlan, intent: Intent, ctx: RequestContext) -> Result:
        """Run, and again as ``@retry`` allows while the failure may pass; never inside somebody's transaction."""
        retry = plan.mutation.retry
        attempts = retry.count if retry is not None and ctx.connection is None else 0
        for attempt in range(attempts):
            try:
                return await self._attempt(plan, intent, ctx)
            except MemqlError as error:
                if not error.retryable:
                    raise
            await anyio.sleep(_RETRY_PAUSE * 2**attempt)
        return await self._attempt(plan, intent, ctx)

    async def _attempt(self, plan: MutationPlan, intent: Intent, ctx: RequestContext) -> Result:
        """Run once; with ``@audit`` the row about it commits with the write."""
        if not plan.mutation.audit:
            return await self.run(intent, ctx)
        return await self.transaction(lambda within: self._audited(plan, intent, within), ctx)

    async def _audited(self, plan: MutationPlan, intent: Intent, ctx: RequestContext) -> Result:
        result = await self.run(intent, ctx)
        await self._audit(plan.mutation, result.meta.server_id, None, ctx)
        return result

    async def _audit(
        self, mutation: Mutation, target: str | None, error: MemqlError | None, ctx: RequestContext
    ) -> None:
        concept, payload, system = audit_row("mutation", mutation.name, target, error, ctx)
        await self.insert(concept, payload, system, id=new_id())


def _result(outcome: Outcome, rules: PayloadRules, ctx: RequestContext) -> Result:
    row = outcome.row
    payload = row.payload if ctx.actor.has_role("admin") else rules.mask(row.payload)
    node = {
        "id": row.id,
        "concept": row.concept,
        "type": row.type,
        "createdAt": format_instant(row.created_at),
        "createdBy": row.created_by,
        "payload": payload,
    }
    meta = Meta(server_id=row.id, version=version_number(row.created_at), client_id=ctx.client_id)
    return Result(nodes=[_encode(node)], roots=1, meta=meta)
