"""Decision policies: functions of actor, arguments, specs, other policies and queries, without writes (spec
"Construct rules", Policy)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import msgspec

from memql.engine.caching import MAX_TTL, AnswerCache
from memql.engine.context import RequestContext
from memql.engine.logic.bodies import Body, Frame, Performer, compile_body
from memql.engine.logic.policy_records import PolicyRecords
from memql.engine.ports import Callables
from memql.engine.values import NOT_RAN, Env, Invocation, TypeScope, ValueTables, bind_args
from memql.engine.write.tables import TABLE_CONCEPTS
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Policy, Query

__all__ = ["Policies", "PolicyOutcome", "TablesLoader"]

_encode = msgspec.json.Encoder(order="sorted").encode

TablesLoader: TypeAlias = Callable[[RequestContext], Awaitable[ValueTables]]
"""Loads the variables and secrets of a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOutcome:
    """What a decision policy gave: its value and, when asked for, how it came to it.

    The trace is ``{"policy", "args", "bindings", "calls", "result"}``; ``calls`` holds the queries and
    policies it asked, in order, each with its result.
    """

    value: Any
    trace: dict[str, Any] | None = None


@dataclass(slots=True)
class _Evaluation:
    """One evaluation under way: what it was given, what it asked, what it read, what came of it."""

    args: Mapping[str, Any]
    calls: list[dict[str, Any]] = field(default_factory=list)
    bindings: dict[str, Any] = field(default_factory=dict)
    concepts: set[str] = field(default_factory=set)
    value: Any = None
    reused: bool = False

    def shown_bindings(self) -> dict[str, Any]:
        return {name: None if bound is NOT_RAN else bound for name, bound in self.bindings.items()}

    def trace(self, policy: Policy) -> dict[str, Any]:
        return {
            "policy": policy.name,
            "args": dict(self.args),
            "bindings": self.shown_bindings(),
            "calls": self.calls,
            "result": self.value,
        }


@dataclass(frozen=True, slots=True)
class _Kept:
    """The answer of a ``@cacheable`` policy, and what it was read from."""

    policy: Policy
    value: Any
    concepts: frozenset[str]


class Policies:
    """Evaluates the decision policies of the tree in force.

    :param records: writes the rows of ``@audited`` and ``@traces_persisted``; without it such policies are
        ``UNAVAILABLE``.
    :param cache: keeps the answers of ``@cacheable`` policies.
    :param reads: the concepts that a query reads.
    """

    def __init__(
        self,
        callables: Callables,
        tables: TablesLoader,
        *,
        records: PolicyRecords | None = None,
        cache: AnswerCache | None = None,
        reads: Callable[[Query], Iterable[str]] | None = None,
    ) -> None:
        self._callables = callables
        self._tables = tables
        self._records = records
        self._cache = cache
        self._reads = reads
        self._compiled: dict[str, tuple[Policy, Body]] = {}

    async def evaluate(
        self, name: str, args: Mapping[str, Any], ctx: RequestContext, *, trace: bool = False
    ) -> PolicyOutcome:
        """Evaluate for a client.

        :raises MemqlError: ``UNKNOWN_FUNCTION`` when there is no decision policy of that name, ``FORBIDDEN``
            when it is not for clients (``details.policy`` says which mark it lacks), ``INVALID_ARGUMENT`` for
            its arguments.
        """
        policy = self._lookup(name)
        if policy.tier != "bff":
            raise _not_for_clients(name, "POLICY_TIER_MISMATCH", '@tier("bff")')
        if not policy.frontend_visible:
            raise _not_for_clients(name, "POLICY_NOT_FRONTEND_VISIBLE", "@frontend_visible")
        traced = trace or policy.returns_trace
        found = await self._recorded(policy, args, ctx, afresh=traced)
        return PolicyOutcome(value=found.value, trace=found.trace(policy) if traced else None)

    async def decide(self, key: str, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Evaluate for a body or another policy.

        :raises MemqlError: ``UNKNOWN_FUNCTION`` or ``INVALID_ARGUMENT``.
        """
        return (await self._recorded(self._lookup(key), args, ctx)).value

    # --- one evaluation ----------------------------------------------------------------------------------------------

    async def _recorded(
        self, policy: Policy, args: Mapping[str, Any], ctx: RequestContext, *, afresh: bool = False
    ) -> _Evaluation:
        """Evaluate, and leave the rows that the policy's marks ask for before anybody gets the answer.

        A failure leaves them too, outside of a transaction that it takes back.
        """
        ctx.check_depth(policy.name)
        if self._records is None and (policy.audited or policy.traces_persisted):
            raise MemqlError(Code.UNAVAILABLE, f"policy {policy.name} leaves rows, and nothing here stores them")
        found = _Evaluation(bind_args(policy.args, args, policy.name))
        try:
            await self._answer(policy, found, ctx, afresh=afresh)
        except MemqlError as error:
            await self._leave_rows(policy, found, error, replace(ctx, connection=None, deferred=None))
            raise
        await self._leave_rows(policy, found, None, ctx)
        return found

    async def _leave_rows(
        self, policy: Policy, found: _Evaluation, error: MemqlError | None, ctx: RequestContext
    ) -> None:
        if self._records is None:
            return
        if policy.traces_persisted and not found.reused:
            await self._records.trace(policy, found, error, ctx)
        if policy.audited:
            await self._records.audit(policy, error, ctx)

    async def _answer(self, policy: Policy, found: _Evaluation, ctx: RequestContext, *, afresh: bool) -> None:
        """Evaluate, or reuse what an earlier evaluation for the same caller and arguments gave."""
        if self._cache is None or not policy.cacheable or ctx.connection is not None:
            return await self._run(policy, found, ctx)
        key = _cache_key(policy, found.args, ctx)
        kept = None if afresh else self._cache.get(key)
        if isinstance(kept, _Kept) and kept.policy is policy:
            found.value, found.reused = kept.value, True
            found.concepts.update(kept.concepts)
            return None
        ticket = self._cache.begin(key)
        await self._run(policy, found, ctx)
        answer = _Kept(policy, found.value, frozenset(found.concepts))
        size = len(found.value) if isinstance(found.value, list | dict) else 1
        return self._cache.keep(ticket, answer.concepts, answer, MAX_TTL, size=size)

    async def _run(self, policy: Policy, found: _Evaluation, ctx: RequestContext) -> None:
        body = self._body(policy)
        tables = None
        if body.needs_tables:
            tables = await self._tables(ctx)
            found.concepts.update(TABLE_CONCEPTS)
        env = Env.of(ctx, found.args, bindings=found.bindings, tables=tables)
        frame = Frame(env, ctx.called_by_construct(), self._performer(policy, found))
        await body.run(frame)
        found.value = frame.value

    def _performer(self, policy: Policy, found: _Evaluation) -> Performer:
        async def perform(invocation: Invocation, ctx: RequestContext) -> Any:
            query = self._callables.catalog.queries.get(invocation.target) if invocation.kind == "call" else None
            if invocation.kind == "policy":
                asked = await self._recorded(self._lookup(invocation.target), invocation.args or {}, ctx)
                found.concepts |= asked.concepts
                value = asked.value
            elif query is not None:
                value = await self._callables.invoke(invocation.target, invocation.args, ctx)
                if self._reads is not None:
                    found.concepts.update(self._reads(query))
            else:
                raise MemqlError(
                    Code.INVALID_ARGUMENT,
                    f"policy {policy.name} may ask specs, policies and queries only, not "
                    f"{invocation.target or invocation.kind}",
                )
            call = {"kind": invocation.kind, "target": invocation.target, "args": invocation.args, "result": value}
            found.calls.append(call)
            return value

        return perform

    def _lookup(self, name: str) -> Policy:
        policy = self._callables.catalog.policies.get(name)
        if policy is None:
            raise MemqlError(
                Code.UNKNOWN_FUNCTION,
                f"no policy is called {name!r}",
                details={"policy": "POLICY_UNKNOWN"},
                context=name,
            )
        if policy.returns is None and policy.body is None:
            raise MemqlError(
                Code.UNKNOWN_FUNCTION,
                f"{name} is a routing policy: it chooses providers for prompts and decides nothing",
                details={"policy": "POLICY_UNKNOWN"},
                context=name,
            )
        return policy

    def _body(self, policy: Policy) -> Body:
        known = self._compiled.get(policy.key)
        if known is not None and known[0] is policy:
            return known[1]
        if policy.body is not None:
            block, order = policy.body, policy.order or tuple(range(len(policy.body.statements)))
        else:
            assert policy.returns is not None
            block, order = ast.Block((ast.ReturnStmt(policy.returns),)), (0,)
        body = compile_body(block, order, policy.scope, self._callables.catalog, TypeScope.of(None, policy.args))
        self._compiled[policy.key] = (policy, body)
        return body


def _cache_key(policy: Policy, args: Mapping[str, Any], ctx: RequestContext) -> tuple[Any, ...]:
    """What an answer belongs to: the policy, its arguments, and everything a policy can see of the caller."""
    actor = ctx.actor
    who = (actor.user_id, actor.role, actor.identity_id, actor.is_cluster_owner, actor.primary_email, actor.principal)
    return ("policy", policy.key, _encode(args), who, actor.permissions, _encode(actor.claims), _encode(ctx.config))


def _not_for_clients(name: str, reason: str, mark: str) -> MemqlError:
    return MemqlError(
        Code.FORBIDDEN,
        f"policy {name} is not for clients: it lacks {mark}",
        details={"policy": reason},
        context=name,
    )
