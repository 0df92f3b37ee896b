"""Tools: what a model may call, and the query or construct that answers (spec "Construct rules", Tool)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from memql.errors import MemqlError
from memql.lang import ast
from memql.lang.annotations import Bound
from memql.lang.catalog import Tool
from memql.lang.checker.arguments import argument_problems
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.tree import Declared
from memql.lang.checker.walk import walk
from memql.lang.parser import parse_read
from memql.lang.schemas import input_schema

__all__ = ["bind_quoted", "read_tools"]

_QUOTED: Final = re.compile(r"\$args((?:\.[A-Za-z_][A-Za-z0-9_]*)+)")


def read_tools(check: Check) -> dict[str, Tool]:
    """Check and build every tool."""
    return {declared.key: _tool(check, declared) for declared in check.tree.of_kind("tool")}


def _tool(check: Check, declared: Declared) -> Tool:
    marks = declared.marks
    fields = check.args[declared] or ()
    query, function = _handler(check, declared)
    return Tool(
        **common(check, declared),
        fields=fields,
        query=query,
        function=function,
        input_schema=input_schema(fields),
        execution_time=marks.text("executionTime"),
        allowed_roles=marks.strings("allowedRoles"),
        scopes=marks.strings("scopes"),
        requires=marks.strings("requires"),
        client_execution=marks.has("clientExecution"),
        destructive=marks.has("destructive"),
        requires_confirmation=marks.has("requiresConfirmation"),
    )


def _handler(check: Check, declared: Declared) -> tuple[ast.Read | None, str]:
    mark = declared.marks.get("handler")
    if mark is None:
        check.report.error(
            "bad-handler",
            declared.span,
            f'{declared.name} has no handler: add @handler(type="query", query="..") or '
            '@handler(type="function", name="..")',
        )
        return None, ""
    if mark.problems:
        return None, ""
    wanted, other = ("query", "name") if mark.text("type") == "query" else ("name", "query")
    if wanted not in mark.values or other in mark.values:
        _bad(check, mark, f"a handler of type {mark.text('type')} takes {wanted}=.. and no {other}=..")
        return None, ""
    if wanted == "name":
        return None, _function(check, declared, mark, mark.text("name"))
    return _query(check, declared, mark), ""


def _function(check: Check, declared: Declared, mark: Bound, name: str) -> str:
    found = _target(check, declared, mark, name)
    if found is None:
        return ""
    fields = check.args_of(declared) or {}
    given = ast.ObjectExpr(tuple((field, ast.Name(field)) for field in fields), span=mark.span)
    for _, problem in argument_problems(given, found, check):
        _bad(check, mark, problem)
    return found.key


def _target(check: Check, declared: Declared, mark: Bound, name: str) -> Declared | None:
    tree = check.tree
    if not tree.anywhere(name) and name not in declared.file.imports:
        if name not in tree.lost:
            _bad(check, mark, f"there is no construct {name!r}{did_you_mean(name, tree.names('calls'))}")
        return None
    return check.names.find(declared, "calls", name, mark.span)


def _query(check: Check, declared: Declared, mark: Bound) -> ast.Read | None:
    try:
        read: ast.Read = bind_quoted(parse_read(mark.text("query")))
    except MemqlError as error:
        _bad(check, mark, f"the query does not parse: {error.message}")
        return None
    _check_placeholders(check, declared, mark, read)
    for call in _calls(read):
        assert isinstance(call.callee, ast.Name)
        target = _target(check, declared, mark, call.callee.name)
        if target is None:
            continue
        given = call.args[0] if call.args else ast.ObjectExpr(call.named, span=call.span)
        if isinstance(given, ast.ObjectExpr):
            for _, problem in argument_problems(given, target, check):
                _bad(check, mark, problem)
    return read


def bind_quoted(node: Any) -> Any:
    """A handler's query where text that is nothing but ``$args.x`` has become that variable, to be bound typed."""
    if isinstance(node, ast.Literal) and isinstance(node.value, str) and (match := _QUOTED.fullmatch(node.value)):
        expr: ast.Expr = ast.Var("args", span=node.span)
        for name in match[1].split(".")[1:]:
            expr = ast.Member(expr, name, span=node.span)
        return expr
    if isinstance(node, tuple):
        return tuple(bind_quoted(one) for one in node)
    if not hasattr(node, "span"):
        return node
    return replace(node, **{name: bind_quoted(getattr(node, name)) for name in type(node).__slots__})


def _calls(read: ast.Read) -> Iterator[ast.Call]:
    while isinstance(read, ast.DirectiveRead):
        read = read.read
    if isinstance(read, ast.CallRead):
        yield read.call


def _check_placeholders(check: Check, declared: Declared, mark: Bound, read: ast.Read) -> None:
    fields = check.args_of(declared) or {}
    for part in walk(read):
        if isinstance(part, ast.Var) and part.name != "args":
            _bad(check, mark, f"${part.name} is no argument; write $args.{part.name}")
        elif isinstance(part, ast.Literal) and isinstance(part.value, str) and "$args." in part.value:
            _bad(check, mark, f"{part.value!r} pastes an argument into text; $args.x stands alone, or alone in quotes")
        elif isinstance(part, ast.Member) and part.base == ast.Var("args") and part.name not in fields:
            hint = did_you_mean(str(part.name), fields) or f"; it has: {listing(fields)}"
            _bad(check, mark, f"{declared.name} has no field {part.name!r} for $args.{part.name}{hint}")


def _bad(check: Check, mark: Bound, message: str) -> None:
    check.report.error("bad-handler", mark.span, f"@handler: {message}")
