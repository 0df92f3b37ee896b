"""What bodies and steps ask of the rest of the engine: calls, policies, models, events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from memql.engine.context import RequestContext
from memql.engine.journal import Nature
from memql.engine.logic.publishing import Publisher
from memql.engine.ports import Callables
from memql.engine.values import Invocation
from memql.errors import Code, MemqlError
from memql.lang.catalog import Builtin

__all__ = ["Calls", "Models", "PolicyRunner"]


class Models(Protocol):
    """Model calls, as ``si(..)`` makes them."""

    async def run(
        self,
        name: str,
        data: Mapping[str, Any],
        ctx: RequestContext,
        *,
        provider: str | None = None,
        ttl: float | None = None,
    ) -> Any:
        """Render a prompt, ask its provider, decode the answer; ``UNAVAILABLE`` when none answers."""
        ...


class PolicyRunner(Protocol):
    """Decision policies, as bodies reach them."""

    async def decide(self, key: str, args: Mapping[str, Any], ctx: RequestContext) -> Any:
        """Evaluate a decision policy for a body."""
        ...


class Calls:
    """Carries out invocations; in a durable run through its journal."""

    def __init__(
        self, callables: Callables, publisher: Publisher, policies: PolicyRunner, models: Models | None
    ) -> None:
        self._callables = callables
        self._publisher = publisher
        self._policies = policies
        self._models = models

    async def perform(self, invocation: Invocation, ctx: RequestContext) -> Any:
        """Carry out one effect and give its value.

        :raises MemqlError: whatever the called construct raises; ``UNAVAILABLE`` for ``si(..)`` without
            models.
        """
        if ctx.journal is None:
            return await self._perform(invocation, ctx)
        nature = self._nature(invocation)
        if nature is None:
            return await self._perform(invocation, ctx)

        async def perform(inner: RequestContext) -> Any:
            return await self._perform(invocation, inner)

        target = invocation.target or invocation.kind
        return await ctx.journal.call(_place(ctx), target, nature, perform, ctx)

    def _nature(self, invocation: Invocation) -> Nature | None:
        """What the call does; None when it consists of calls that have places of their own."""
        match invocation.kind:
            case "policy":
                return None
            case "si":
                return Nature.OUTSIDE
            case "publishEvent":
                return Nature.WRITE
        catalog = self._callables.catalog
        if invocation.target in catalog.queries:
            return Nature.READ
        if invocation.target in catalog.mutations:
            return Nature.WRITE
        if logic := catalog.logics.get(invocation.target):
            return Nature.WRITE if logic.atomic else None
        return Nature.OUTSIDE

    async def _perform(self, invocation: Invocation, ctx: RequestContext) -> Any:
        match invocation.kind:
            case "call":
                return await self._callables.invoke(invocation.target, self._arguments(invocation), ctx)
            case "policy":
                return await self._policies.decide(invocation.target, invocation.args or {}, ctx)
            case "publishEvent":
                return await self._publisher.publish_event(invocation.args, ctx)
            case "si":
                return await self._ask(invocation, ctx)

    def _arguments(self, invocation: Invocation) -> Any:
        args = {} if invocation.args is None else invocation.args
        target = self._callables.catalog.callable(invocation.target)
        if isinstance(args, Mapping) or isinstance(target, Builtin):
            return args
        raise MemqlError(
            Code.INVALID_ARGUMENT,
            f"{invocation.target} takes an object of arguments, not {type(args).__name__}",
            context=invocation.target,
        )

    async def _ask(self, invocation: Invocation, ctx: RequestContext) -> Any:
        if self._models is None:
            raise MemqlError(
                Code.UNAVAILABLE, f"si({invocation.target!r}): no model provider is installed on this node"
            )
        asked = invocation.args
        return await self._models.run(
            invocation.target, asked["fields"], ctx, provider=asked["provider"], ttl=asked["ttl"]
        )


def _place(ctx: RequestContext) -> str:
    """Where a call stands in its run: the id sequence's path without the run's own key."""
    assert ctx.ids is not None, "a journal belongs to a run, and a run has ids"
    return "/".join(ctx.ids.path[1:])
