"""What an expression can see while it is evaluated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias

from memql.auth import Actor
from memql.engine.context import IdSequence, RequestContext, format_instant

__all__ = ["Env", "Invocation", "Invoke", "ValueTables"]

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class ValueTables(Protocol):
    """Variables and secrets, loaded before an expression that asks for them is evaluated."""

    def variable(self, name: str, *, system_only: bool) -> str | None:
        """The value of an active variable row, partition before global, or global only; None when there is
        none."""
        ...

    def secret(self, name: str, *, system_only: bool) -> str | None:
        """The plaintext of an active secret, in the same order; None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Invocation:
    """One effect an expression asks for.

    ``kind`` ``call``: ``target`` is the resolved key of a query, mutation, logic or builtin, ``args`` its one
    argument (an object; a text for a builtin's string profile). ``policy``: a decision policy's key and its
    object. ``si``: a prompt's key and ``{"fields", "provider", "ttl"}``. ``publishEvent``: ``args`` is
    ``{"topic", "payload"}``.
    """

    kind: Literal["call", "policy", "si", "publishEvent"]
    target: str
    args: Any


Invoke: TypeAlias = Callable[[Invocation], Awaitable[Any]]
"""Carries out an :class:`Invocation` and gives its value."""


@dataclass(slots=True, kw_only=True)
class Env:
    """The values behind the names of an expression.

    ``row`` is what ``payload`` and the intrinsics are members of in a filter (in an automation's ``@filter``
    it also has ``topic`` and ``kind``). ``bindings`` are the names of a body, ``event`` and ``steps``
    included. ``tables`` is needed only where the compiled expression says so.
    """

    actor: Actor
    moment: datetime
    args: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    bindings: Mapping[str, Any] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    tables: ValueTables | None = None
    ids: IdSequence | None = None

    @property
    def now(self) -> str:
        """``now``; formatted when asked for, as few expressions ask."""
        return format_instant(self.moment)

    @classmethod
    def of(
        cls,
        ctx: RequestContext,
        args: Mapping[str, Any] = _EMPTY,
        *,
        bindings: Mapping[str, Any] = _EMPTY,
        row: Mapping[str, Any] = _EMPTY,
        tables: ValueTables | None = None,
    ) -> Env:
        """The environment of a call."""
        return cls(
            actor=ctx.actor,
            moment=ctx.now,
            args=args,
            variables=ctx.variables,
            bindings=bindings,
            row=row,
            config=ctx.config,
            tables=tables,
            ids=ctx.ids,
        )
