"""Tools: what a model may call, run as the caller (spec "Construct rules", Tool; "Tools").

A tool's ``query`` handler was parsed when the tree loaded; arguments are bound into it as values, never as text, so
nothing in an argument can change what runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from memql.engine.access import role_refusal
from memql.engine.context import RequestContext
from memql.engine.result import Result
from memql.engine.values import bind_args
from memql.errors import Code, MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Tool

__all__ = ["ClientExecution", "Dispatcher", "Stamp", "ToolContent", "ToolOutcome"]

Stamp = Callable[[RequestContext], Any]
"""The value of an ``@autoInjected`` field for one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContent:
    """One item of a tool's answer."""

    type: str = "text"
    text: str = ""
    mime_type: str = ""
    data: str = ""
    uri: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """What a tool call gives: content, or one text item that explains the failure."""

    content: tuple[ToolContent, ...]
    is_error: bool = False


class ClientExecution(Protocol):
    """Runs a ``@clientExecution`` tool in the caller's own session."""

    async def __call__(self, tool: Tool, args: Mapping[str, Any], ctx: RequestContext) -> ToolOutcome:
        """Ask the client and wait, bounded by the tool's ``@timeout`` (30 s without one)."""
        ...


class Dispatcher:
    """Lists and calls tools."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        invoke: Callable[[str, Mapping[str, Any], RequestContext], Awaitable[Any]],
        run_query: Callable[[ast.Read, RequestContext], Awaitable[Result]],
    ) -> None:
        self._catalog = catalog
        self._invoke = invoke
        self._run_query = run_query
        self._stamps: dict[str, Stamp] = {
            "callerId": lambda ctx: ctx.actor.created_by,
            "userId": lambda ctx: ctx.actor.user_id,
            "actorId": lambda ctx: ctx.actor.created_by,
            "ownerUserId": lambda ctx: ctx.actor.user_id,
        }

    def register_stamp(self, field: str, stamp: Stamp) -> None:
        """Say how an ``@autoInjected`` field of that name is filled; roles add theirs."""
        self._stamps[field] = stamp

    def visible(self, ctx: RequestContext) -> list[Tool]:
        """The tools this caller may call, by name."""
        tools = self._catalog().tools
        return [tools[name] for name in sorted(tools) if not _refusal(tools[name], ctx)]

    async def call(
        self, name: str, args: Mapping[str, Any], ctx: RequestContext, client: ClientExecution | None = None
    ) -> ToolOutcome:
        """Run a tool as the caller; failures of the tool are outcomes, not errors."""
        try:
            return await self._call(name, args, ctx, client)
        except MemqlError as error:
            return ToolOutcome(content=(ToolContent(text=str(error)),), is_error=True)

    async def _call(
        self, name: str, args: Mapping[str, Any], ctx: RequestContext, client: ClientExecution | None
    ) -> ToolOutcome:
        tool = self._catalog().tools.get(name)
        if tool is None:
            raise MemqlError(Code.UNKNOWN_FUNCTION, f"no tool is called {name!r}; tools() lists them", context=name)
        if reason := _refusal(tool, ctx):
            raise MemqlError(Code.FORBIDDEN, f"tool {name} {reason}")
        bound = self._bind(tool, args, ctx)
        if tool.client_execution:
            if client is None:
                raise MemqlError(
                    Code.UNAVAILABLE, f"CLIENT_TOOL_UNREACHABLE: tool {name} runs in a client, and none is connected"
                )
            return await client(tool, bound, ctx)
        if tool.query is not None:
            return _outcome(await self._run_query(_bind_read(tool.query, bound), ctx))
        return _outcome(await self._invoke(tool.function, bound, ctx))

    def _bind(self, tool: Tool, args: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        injected = {field.name: field for field in tool.fields if field.auto_injected}
        given = {name: value for name, value in args.items() if name not in injected}
        visible = tuple(field for field in tool.fields if not field.auto_injected)
        bound = dict(bind_args(visible, given, tool.name))
        for name in injected:
            stamp = self._stamps.get(name)
            if stamp is None:
                raise MemqlError(Code.UNAVAILABLE, f"tool {tool.name} needs {name}, which nothing on this node injects")
            bound[name] = stamp(ctx)
        return bound


def _refusal(tool: Tool, ctx: RequestContext) -> str:
    if tool.allowed_roles and ctx.actor.role not in tool.allowed_roles and not ctx.actor.bypasses_row_rules:
        return f"is for {', '.join(tool.allowed_roles)}; your role is {ctx.actor.role!r}"
    missing = [scope for scope in tool.scopes if not ctx.actor.has_permission(scope)]
    if missing:
        return f"needs the scope {', '.join(missing)}"
    return role_refusal(tool.annotations, ctx.actor)


_OMITTED = object()


def _bind_read(read: ast.Read, args: Mapping[str, Any]) -> ast.Read:
    """The handler's call with every ``$args.x`` replaced by its value; an omitted argument drops its key."""
    if isinstance(read, ast.DirectiveRead):
        return replace(read, read=_bind_read(read.read, args), args=tuple(_require(arg, args) for arg in read.args))
    if isinstance(read, ast.CallRead):
        call = read.call
        named = tuple((key, _bind(value, args)) for key, value in call.named)
        return replace(
            read,
            call=replace(
                call,
                args=tuple(_require(arg, args) for arg in call.args),
                named=tuple((key, value) for key, value in named if not _is_omitted(value)),
            ),
        )
    return replace(read, filter=_require(read.filter, args))


def _require(expr: ast.Expr, args: Mapping[str, Any]) -> ast.Expr:
    bound = _bind(expr, args)
    return ast.Literal(None) if _is_omitted(bound) else bound


def _is_omitted(expr: ast.Expr) -> bool:
    return isinstance(expr, ast.Var) and expr.name == "args"


def _bind(expr: ast.Expr, args: Mapping[str, Any]) -> ast.Expr:
    """One expression; a ``Var("args")`` stands for an omitted argument."""
    path = _argument_path(expr)
    if path is not None:
        value = _look_up(path, args)
        return ast.Var("args") if value is _OMITTED or value is None else to_expr(value)
    if isinstance(expr, ast.ObjectExpr):
        bound = ((key, _bind(value, args)) for key, value in expr.entries)
        return replace(expr, entries=tuple((key, value) for key, value in bound if not _is_omitted(value)))
    if isinstance(expr, ast.ListExpr):
        return replace(expr, items=tuple(_require(item, args) for item in expr.items))
    if isinstance(expr, ast.Compare | ast.BinaryOp):
        return replace(expr, left=_require(expr.left, args), right=_require(expr.right, args))
    if isinstance(expr, ast.BoolOp):
        return replace(expr, items=tuple(_require(item, args) for item in expr.items))
    if isinstance(expr, ast.Unary):
        return replace(expr, operand=_require(expr.operand, args))
    if isinstance(expr, ast.Relation):
        return replace(expr, filter=_require(expr.filter, args))
    if isinstance(expr, ast.Call):
        return replace(
            expr,
            args=tuple(_require(arg, args) for arg in expr.args),
            named=tuple((key, _require(value, args)) for key, value in expr.named),
        )
    return expr


def _argument_path(expr: ast.Expr) -> tuple[str | int, ...] | None:
    if isinstance(expr, ast.Literal) and isinstance(expr.value, str) and expr.value.startswith("$args."):
        return tuple(expr.value.removeprefix("$args.").split("."))
    segments: list[str | int] = []
    while isinstance(expr, ast.Member):
        segments.append(expr.name)
        expr = expr.base
    if segments and isinstance(expr, ast.Var) and expr.name == "args":
        return tuple(reversed(segments))
    return None


def _look_up(path: tuple[str | int, ...], args: Mapping[str, Any]) -> Any:
    value: Any = args
    for segment in path:
        if isinstance(value, Mapping):
            value = value.get(str(segment), _OMITTED)
        elif isinstance(value, list) and str(segment).isdigit() and int(segment) < len(value):
            value = value[int(segment)]
        else:
            return _OMITTED
    return value


def to_expr(value: Any) -> ast.Expr:
    """A JSON value as the expression that denotes it."""
    if isinstance(value, Mapping):
        return ast.ObjectExpr(tuple((str(key), to_expr(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ast.ListExpr(tuple(to_expr(item) for item in value))
    return ast.Literal(value)


def _outcome(value: Any) -> ToolOutcome:
    if isinstance(value, Result):
        text = value.to_json().decode()
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return ToolOutcome(content=(ToolContent(type="json", text=text, mime_type="application/json"),))
