"""Builtins: the typed fronts of host code (spec "Construct rules", Builtin), and the calls that every tree answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from memql.engine.context import RequestContext
from memql.engine.ports import BuiltinExecutor
from memql.engine.result import Result
from memql.engine.values import bind_args, evaluate_call_argument
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Builtin

__all__ = ["Builtins", "Introspection"]

Introspection = Callable[[Any, RequestContext], Awaitable[Result]]
"""One introspection call: its argument as written (a list, an object, a string or None) and the context."""


Elsewhere = Callable[[Builtin, Mapping[str, Any], RequestContext], Awaitable[Any]]
"""Runs a builtin, with its arguments bound, on another node."""


class Builtins:
    """The registry of executors by name, and of the introspection calls."""

    def __init__(self, introspection: Mapping[str, Introspection]) -> None:
        self.elsewhere: Elsewhere | None = None
        """Runs a builtin whose executor is not on this node, where other nodes can be asked."""
        self._executors: dict[str, BuiltinExecutor] = {}
        self._introspection = dict(introspection)

    @property
    def executors(self) -> frozenset[str]:
        """The registered names, for the checker."""
        return frozenset(self._executors)

    def register(self, name: str, executor: BuiltinExecutor) -> None:
        """Add host code under an ``@executor`` name.

        :raises MemqlError: ``ALREADY_EXISTS`` when the name is taken.
        """
        if name in self._executors:
            raise MemqlError(Code.ALREADY_EXISTS, f"the executor {name!r} is registered already")
        self._executors[name] = executor

    def is_introspection(self, name: str) -> bool:
        """Whether the engine itself answers to this name."""
        return name in self._introspection

    async def introspect(self, call: ast.Call, ctx: RequestContext) -> Result:
        """Run an introspection call."""
        assert isinstance(call.callee, ast.Name)
        return await self._introspection[call.callee.name](self.call_arguments(call, ctx), ctx)

    def call_arguments(self, call: ast.Call, ctx: RequestContext) -> Any:
        """The argument of a raw call: named ones as a dict, else the one positional value, else an empty dict."""
        if call.named:
            return {name: evaluate_call_argument(value, ctx) for name, value in call.named}
        if not call.args:
            return {}
        if len(call.args) > 1:
            raise MemqlError(
                Code.INVALID_ARGUMENT,
                "a call takes one object, one string or named arguments, not several positional ones",
                position=call.args[1].span.start,
            )
        return evaluate_call_argument(call.args[0], ctx)

    async def run(self, builtin: Builtin, args: Any, ctx: RequestContext) -> Any:
        """Run a builtin through its argument profile.

        :raises MemqlError: ``INVALID_ARGUMENT`` for arguments it does not take, ``UNAVAILABLE`` when no installed
            role brings its executor, and whatever the executor raises.
        """
        executor = self._executors.get(builtin.executor)
        if executor is None and self.elsewhere is not None:
            return await self.elsewhere(builtin, _profile(builtin, args), ctx)
        if executor is None:
            raise MemqlError(
                Code.UNAVAILABLE,
                f"builtin {builtin.name} needs the executor {builtin.executor!r}, which nothing on this node provides",
                details={"executor": builtin.executor},
            )
        return await executor(_profile(builtin, args), ctx)


def _profile(builtin: Builtin, args: Any) -> Mapping[str, Any]:
    if builtin.profile == "none":
        if args:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{builtin.name} takes no arguments")
        return {}
    if isinstance(args, str):
        if builtin.profile == "object":
            raise MemqlError(Code.INVALID_ARGUMENT, f"{builtin.name} takes an object, not a string")
        args = {builtin.string_key: args}
    if not isinstance(args, Mapping):
        raise MemqlError(Code.INVALID_ARGUMENT, f"{builtin.name} takes an object, not {type(args).__name__}")
    declared = {field.name for field in builtin.fields}
    extra = {name: value for name, value in args.items() if name not in declared}
    if extra and builtin.additional_properties:
        known = {name: value for name, value in args.items() if name in declared}
        return {**bind_args(builtin.fields, known, builtin.name), **extra}
    return bind_args(builtin.fields, args, builtin.name)
