"""Decision policies: functions of actor, arguments, specs, other policies and queries, without writes (spec
"Construct rules", Policy)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from memql.engine.context import RequestContext
from memql.engine.logic.bodies import Body, Frame, Performer, compile_body
from memql.engine.ports import Callables
from memql.engine.values import NOT_RAN, Env, Invocation, TypeScope, ValueTables, bind_args
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Policy

__all__ = ["Policies", "PolicyOutcome", "TablesLoader"]

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
class _Trace:
    calls: list[dict[str, Any]] = field(default_factory=list)


class Policies:
    """Evaluates the decision policies of the tree in force.

    :param perform: carries out the calls of a policy's body.
    """

    def __init__(self, callables: Callables, tables: TablesLoader) -> None:
        self._callables = callables
        self._tables = tables
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
        noted = _Trace() if trace or policy.returns_trace else None
        value, bindings = await self._run(policy, args, ctx, noted)
        if noted is None:
            return PolicyOutcome(value=value)
        shown = {name: None if bound is NOT_RAN else bound for name, bound in bindings.items()}
        return PolicyOutcome(
            value=value,
            trace={
                "policy": name,
                "args": dict(args),
                "bindings": shown,
                "calls": noted.calls,
                "result": value,
            },
        )

    async def decide(self, key: str, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Evaluate for a body or another policy.

        :raises MemqlError: ``UNKNOWN_FUNCTION`` or ``INVALID_ARGUMENT``.
        """
        value, _ = await self._run(self._lookup(key), args, ctx, None)
        return value

    async def _run(
        self, policy: Policy, args: Mapping[str, Any], ctx: RequestContext, trace: _Trace | None
    ) -> tuple[Any, Mapping[str, Any]]:
        ctx.check_depth(policy.name)
        body = self._body(policy)
        bindings: dict[str, Any] = {}
        tables = await self._tables(ctx) if body.needs_tables else None
        env = Env.of(ctx, bind_args(policy.args, args, policy.name), bindings=bindings, tables=tables)
        frame = Frame(env, ctx.called_by_construct(), self._performer(policy, trace))
        await body.run(frame)
        return frame.value, bindings

    def _performer(self, policy: Policy, trace: _Trace | None) -> Performer:
        async def perform(invocation: Invocation, ctx: RequestContext) -> Any:
            if invocation.kind == "policy":
                value = await self.decide(invocation.target, invocation.args or {}, ctx)
            elif invocation.kind == "call" and invocation.target in self._callables.catalog.queries:
                value = await self._callables.invoke(invocation.target, invocation.args, ctx)
            else:
                raise MemqlError(
                    Code.INVALID_ARGUMENT,
                    f"policy {policy.name} may ask specs, policies and queries only, not "
                    f"{invocation.target or invocation.kind}",
                )
            if trace is not None:
                asked = {"kind": invocation.kind, "target": invocation.target, "args": invocation.args}
                trace.calls.append({**asked, "result": value})
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


def _not_for_clients(name: str, reason: str, mark: str) -> MemqlError:
    return MemqlError(
        Code.FORBIDDEN,
        f"policy {name} is not for clients: it lacks {mark}",
        details={"policy": reason},
        context=name,
    )
