"""Builders of raw requests: reads with their directives, inserts, updates and deletes (spec "Raw query language")."""

from __future__ import annotations

from typing import Any

from memql.lang import ast
from memql.lang._build_expressions import Filter
from memql.lang._source import ParseError, Source, action
from memql.lang.lexer import Token

__all__: list[str] = []

_REQUEST_ARGS = {
    "insert": ((), ("id", "payload", "parent", "aliasOf")),
    "update": (("id", "payload"), ("id", "payload", "ifVersion")),
    "delete": (("id",), ("id", "reason")),
}


@action("request")
def _request(s: Source, c: list[Any], start: int, end: int) -> ast.Request:
    return ast.Request(tuple(c[:-1]), c[-1], span=s.span(start, end))


@action("let")
def _let(s: Source, c: list[Any], start: int, end: int) -> tuple[str, ast.Expr]:
    _no_options(s, start, end)
    return c[0].value, c[1].expr


# --- reads -----------------------------------------------------------------------------------------------------------


@action("read")
def _read(s: Source, c: list[Any], start: int, end: int) -> ast.Read:
    read: ast.Read = c[0]
    return read


@action("closed_read", "bare_read")
def _filter_read(s: Source, c: list[Any], start: int, end: int) -> ast.Read:
    return _read_of(s, c[0], start, end)


@action("dated_read", "bare_dated_read")
def _dated_read(s: Source, c: list[Any], start: int, end: int) -> ast.Read:
    """``r @ "ts"``; around a call it is the directive of the same meaning."""
    read = _read_of(s, c[0], start, end)
    stamp = c[1].value if isinstance(c[1], Token) else "latest"
    if isinstance(read, ast.FilterRead):
        return ast.FilterRead(read.filter, stamp, read.concept_cache, read.concept_fields, span=read.span)
    at: ast.Expr = ast.Literal(stamp) if isinstance(c[1], Token) else ast.Name("latest")
    return ast.DirectiveRead("asOf", read, (at,), span=s.span(start, end))


@action("latest")
def _latest(s: Source, c: list[Any], start: int, end: int) -> None:
    return None


def _read_of(s: Source, built: Filter, start: int, end: int) -> ast.Read:
    cache, fields = s.concept_cache, s.concept_fields
    s.concept_cache = s.concept_fields = None
    expr = built.expr
    span = s.span(start, end)
    if isinstance(expr, ast.Call) and isinstance(expr.callee, ast.Name):
        if len(expr.args) > 1:
            at = expr.args[1].span
            raise ParseError(
                f"`{expr.callee.name}` takes one argument here: an object, a text, or names with values",
                at.start,
                at.end,
            )
        return ast.CallRead(expr, span=span)
    return ast.FilterRead(expr, None, cache, fields, span=span)


@action("counted_concept")
def _counted_concept(s: Source, c: list[Any], start: int, end: int) -> ast.DirectiveRead:
    """``count v1:a:b`` is short for ``count(concept==v1:a:b)``."""
    span = s.span(start, end)
    concept = ast.Compare("==", ast.Name("concept", span=span), c[0], span=span)
    return ast.DirectiveRead("count", ast.FilterRead(concept, span=span), (), span=span)


@action("directive")
def _directive(s: Source, c: list[Any], start: int, end: int) -> ast.DirectiveRead:
    word: Token = c[0]
    inner = c[1]
    while isinstance(inner, ast.DirectiveRead):
        if inner.directive == word.value:
            raise ParseError(f"`{word.value}` stands around this read twice", word.start, word.end)
        inner = inner.read
    return ast.DirectiveRead(word.value, c[1], tuple(c[2:]), span=s.span(start, end))


@action("scoped_concept")
def _scoped_concept(s: Source, c: list[Any], start: int, end: int) -> ast.Name:
    if not s.raw:
        raise ParseError(
            "`concept@cache(..)` and `concept@fields(..)` belong to raw requests; annotate the query instead",
            start,
            end,
        )
    return ast.Name("concept", span=s.span(start, start + len("concept")))


@action("concept_option")
def _concept_option(s: Source, c: list[Any], start: int, end: int) -> None:
    word: Token = c[0]
    values = [item.value if isinstance(item, ast.Literal) else None for item in c[1:]]
    if word.value == "cache" and s.concept_cache is None:
        if len(values) == 1 and type(values[0]) is int:
            s.concept_cache = values[0]
            return
        raise ParseError("`@cache` takes one whole number of seconds", start, end)
    if word.value == "fields" and s.concept_fields is None:
        fields = tuple(value for value in values if isinstance(value, str))
        if len(fields) == len(values):
            s.concept_fields = fields
            return
        raise ParseError("`@fields` takes names in quotes", start, end)
    raise ParseError("`concept` takes `@cache(n)` once and `@fields(..)` once", start, end)


def _no_options(s: Source, start: int, end: int) -> None:
    if s.concept_cache is not None or s.concept_fields is not None:
        raise ParseError("`@cache` and `@fields` belong to the read, not to an inline spec", start, end)


# --- writes ----------------------------------------------------------------------------------------------------------


def _named_args(kind: str, c: list[Any], start: int, end: int) -> tuple[tuple[str, ast.Expr], ...]:
    required, allowed = _REQUEST_ARGS[kind]
    seen: set[str] = set()
    for name, _ in c:
        if name.value not in allowed or name.value in seen:
            problem = "is given twice" if name.value in seen else f"is no argument of `{kind}`"
            raise ParseError(f"`{name.value}` {problem}; it takes {', '.join(allowed)}", name.start, name.end)
        seen.add(name.value)
    for missing in required:
        if missing not in seen:
            raise ParseError(f"`{kind}` needs `{missing}=`", start, end)
    return tuple((name.value, value) for name, value in c)


@action("request_arg")
def _request_arg(s: Source, c: list[Any], start: int, end: int) -> tuple[Token, ast.Expr]:
    return c[0], c[1]


@action("insert")
def _insert(s: Source, c: list[Any], start: int, end: int) -> ast.InsertRequest:
    return ast.InsertRequest(c[0].value, _named_args("insert", c[1:], start, end), span=s.span(start, end))


@action("update")
def _update(s: Source, c: list[Any], start: int, end: int) -> ast.UpdateRequest:
    return ast.UpdateRequest(c[0].value, _named_args("update", c[1:], start, end), span=s.span(start, end))


@action("delete")
def _delete(s: Source, c: list[Any], start: int, end: int) -> ast.DeleteRequest:
    return ast.DeleteRequest(c[0].value, _named_args("delete", c[1:], start, end), span=s.span(start, end))
