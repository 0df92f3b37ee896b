"""Builders of expressions, filters and statements: one function per production of ``grammar.lark``."""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf
from typing import Any

from memql.lang import ast
from memql.lang._source import IF_VALUE, ParseError, Source, action
from memql.lang.lexer import Token
from memql.lang.words import DIRECTIVES

__all__ = ["Filter", "plain"]

_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter being built. ``special``: it has what no expression may have (``;``, ``,``, ``?.``, ``when``, sets)."""

    expr: ast.Expr
    special: bool


@dataclass(frozen=True, slots=True)
class _AndList:
    expr: ast.Expr
    special: bool
    signs: tuple[Token, ...]


def plain(value: Any) -> ast.Expr:
    """The operand of an operator; a bracket that only a filter may hold is refused."""
    if type(value) is Filter:
        if value.special:
            raise ParseError(
                "`;`, `,`, `?.`, `when` and relationship functions combine the terms of a filter; "
                "inside an operand write `&&` and `||`",
                value.expr.span.start,
                value.expr.span.end,
            )
        return value.expr
    expr: ast.Expr = value
    return expr


# --- literals and names ----------------------------------------------------------------------------------------------


@action("string")
def _string(s: Source, c: list[Any], start: int, end: int) -> ast.Literal:
    return ast.Literal(c[0].value, span=s.span(start, end))


@action("integer")
def _integer(s: Source, c: list[Any], start: int, end: int) -> ast.Literal:
    digits = c[0].value.lstrip("0") or "0"
    value = int(digits) if len(digits) <= 19 else _MAX_INT + 2
    if value > _MAX_INT:
        _settle_least_int(s)
        # The most negative number is written as a minus and digits that are one too many without it.
        if value > _MAX_INT + 1 or not s.text[:start].rstrip().endswith("-"):
            raise ParseError("the number does not fit into 64 bits", start, end)
        s.least_int = start
    return ast.Literal(value, span=s.span(start, end))


def _settle_least_int(s: Source) -> None:
    if s.least_int is not None:
        raise ParseError("the number does not fit into 64 bits", s.least_int, s.least_int + 19)


@action("float")
def _float(s: Source, c: list[Any], start: int, end: int) -> ast.Literal:
    value = float(c[0].value)
    if isinf(value):
        raise ParseError("the number is too large for a float", start, end)
    return ast.Literal(value, span=s.span(start, end))


@action("true")
def _true(s: Source, c: list[Any], start: int, end: int) -> ast.Literal:
    return ast.Literal(True, span=s.span(start, end))


@action("false")
def _false(s: Source, c: list[Any], start: int, end: int) -> ast.Literal:
    return ast.Literal(False, span=s.span(start, end))


@action("null")
def _null(s: Source, c: list[Any], start: int, end: int) -> ast.Literal:
    return ast.Literal(None, span=s.span(start, end))


@action("name")
def _name(s: Source, c: list[Any], start: int, end: int) -> ast.Name:
    if c[0].value == "if":
        raise ParseError(IF_VALUE, start, end, code="if-value")
    return ast.Name(c[0].value, span=s.span(start, end))


@action("concept_id")
def _concept_id(s: Source, c: list[Any], start: int, end: int) -> ast.ConceptRef:
    return ast.ConceptRef(c[0].value, span=s.span(start, end))


@action("variable")
def _variable(s: Source, c: list[Any], start: int, end: int) -> ast.Var:
    return ast.Var(c[0].value, span=s.span(start, end))


@action("list", "in_list")
def _list(s: Source, c: list[Any], start: int, end: int) -> ast.ListExpr:
    return ast.ListExpr(tuple(c), span=s.span(start, end))


@action("object", "bracketed_pairs")
def _object(s: Source, c: list[Any], start: int, end: int) -> ast.ObjectExpr:
    return ast.ObjectExpr(tuple(c), span=s.span(start, end))


@action("named")
def _named(s: Source, c: list[Any], start: int, end: int) -> tuple[str, ast.Expr]:
    return c[0].value, c[1]


@action("path_pair")
def _path_pair(s: Source, c: list[Any], start: int, end: int) -> tuple[str, ast.Expr]:
    return c[-1].value, _path(s, c, start, end)


@action("path")
def _path(s: Source, c: list[Any], start: int, end: int) -> ast.Expr:
    path: ast.Expr = ast.Name(c[0].value, span=s.span(start, c[0].end))
    for segment in c[1:]:
        path = _member(s, [path, segment], start, segment.end)
    return path


# --- operators -------------------------------------------------------------------------------------------------------


@action("member")
def _member(s: Source, c: list[Any], start: int, end: int) -> ast.Member:
    segment: Token = c[1]
    name: str | int = segment.value
    if segment.kind == "DOT_INT":
        digits = segment.value.lstrip("0") or "0"
        if len(digits) > 18:
            raise ParseError("the number is too large for a position in a list", segment.start, segment.end)
        name = int(digits)
    return ast.Member(plain(c[0]), name, span=s.span(start, end))


@action("index")
def _index(s: Source, c: list[Any], start: int, end: int) -> ast.Index:
    return ast.Index(plain(c[0]), c[1], span=s.span(start, end))


@action("call")
def _call(s: Source, c: list[Any], start: int, end: int) -> ast.Call:
    return ast.Call(_callee(s, c[0]), args=tuple(c[1:]), span=s.span(start, end))


@action("call_named")
def _call_named(s: Source, c: list[Any], start: int, end: int) -> ast.Call:
    return ast.Call(_callee(s, c[0]), named=tuple(c[1:]), span=s.span(start, end))


def _callee(s: Source, value: Any) -> ast.Expr:
    callee = plain(value)
    if s.raw and type(callee) is ast.Name and callee.name in DIRECTIVES:
        raise ParseError(
            f"`{callee.name}` is a directive: it goes around the whole read, not inside a filter or an argument",
            callee.span.start,
            callee.span.end,
            code="directive-in-body",
        )
    return callee


@action("negation")
def _negation(s: Source, c: list[Any], start: int, end: int) -> ast.Unary | Filter:
    span = s.span(start, end)
    if type(c[0]) is Filter:
        return Filter(ast.Unary("!", c[0].expr, span=span), c[0].special)
    return ast.Unary("!", c[0], span=span)


@action("negated_term")
def _negated_term(s: Source, c: list[Any], start: int, end: int) -> Filter:
    return Filter(ast.Unary("!", c[0].expr, span=s.span(start, end)), True)


@action("minus", "negative")
def _minus(s: Source, c: list[Any], start: int, end: int) -> ast.Expr:
    operand = plain(c[0])
    span = s.span(start, end)
    if isinstance(operand, ast.Literal) and "(" not in s.text[start : operand.span.start]:
        value = operand.value
        if operand.span.start == s.least_int:
            s.least_int = None
        if type(value) is int and value >= 0 and s.text[operand.span.start] != "-":
            return ast.Literal(-value, span=span)
        if type(value) is float and s.text[operand.span.start] != "-":
            return ast.Literal(-value, span=span)
    return ast.Unary("-", operand, span=span)


def _arithmetic(op: Any) -> None:
    @action(_ARITHMETIC[op])
    def build(s: Source, c: list[Any], start: int, end: int) -> ast.BinaryOp:
        return ast.BinaryOp(op, plain(c[0]), plain(c[1]), span=s.span(start, end))


_ARITHMETIC = {
    "??": "coalesce",
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
    "%": "modulo",
}
for _op in _ARITHMETIC:
    _arithmetic(_op)


@action("op")
def _operator(s: Source, c: list[Any], start: int, end: int) -> str:
    return str(c[0].value)


@action("in_op")
def _in_operator(s: Source, c: list[Any], start: int, end: int) -> str:
    return " ".join(token.value for token in c)


@action("compare")
def _compare(s: Source, c: list[Any], start: int, end: int) -> ast.Compare:
    return ast.Compare(c[1], plain(c[0]), plain(c[2]), span=s.span(start, end))


@action("and")
def _and(s: Source, c: list[Any], start: int, end: int) -> ast.BoolOp:
    return ast.BoolOp("&&", tuple(c), span=s.span(start, end))


@action("or")
def _or(s: Source, c: list[Any], start: int, end: int) -> ast.BoolOp:
    return ast.BoolOp("||", tuple(c), span=s.span(start, end))


@action("cond")
def _cond(s: Source, c: list[Any], start: int, end: int) -> ast.Cond:
    return ast.Cond(c[0], c[1], c[2], span=s.span(start, end))


@action("expr_group")
def _expr_group(s: Source, c: list[Any], start: int, end: int) -> ast.Expr:
    expr: ast.Expr = c[0]
    return expr


# --- filters ---------------------------------------------------------------------------------------------------------


@action("or_sign", "and_sign", "bare_or_sign")
def _sign(s: Source, c: list[Any], start: int, end: int) -> Token:
    token: Token = c[0]
    return token


@action("and_list", "ended_and_list")
def _and_list(s: Source, c: list[Any], start: int, end: int) -> _AndList:
    signs = tuple(c[1::2])
    terms = c[::2]
    special = any(type(term) is Filter and term.special for term in terms)
    exprs = tuple(term.expr if type(term) is Filter else term for term in terms)
    if len(exprs) == 1:
        return _AndList(exprs[0], special, ())
    special = special or any(sign.value == ";" for sign in signs)
    return _AndList(ast.BoolOp("&&", exprs, span=s.span(start, end)), special, signs)


@action("filter", "ended_filter", "bare_filter")
def _filter(s: Source, c: list[Any], start: int, end: int) -> Filter:
    lists: list[_AndList] = c[::2]
    signs: list[Token] = c[1::2]
    if not signs:
        return Filter(lists[0].expr, lists[0].special)
    _refuse_mixture(signs, [sign for part in lists for sign in part.signs])
    special = any(part.special for part in lists) or any(sign.value == "," for sign in signs)
    return Filter(ast.BoolOp("||", tuple(part.expr for part in lists), span=s.span(start, end)), special)


def _refuse_mixture(or_signs: list[Token], and_signs: list[Token]) -> None:
    culprit = next((sign for sign in and_signs if sign.value == ";"), None)
    other = or_signs[0]
    if culprit is None and and_signs:
        culprit, other = next((sign for sign in or_signs if sign.value == ","), None), and_signs[0]
    if culprit is not None:
        raise ParseError(
            f"`{culprit.value}` and `{other.value}` on one level: `;` is AND and `,` is OR; "
            "put brackets around the part that belongs together",
            culprit.start,
            culprit.end,
            code="filter-mixed",
        )


@action("filter_group")
def _filter_group(s: Source, c: list[Any], start: int, end: int) -> Filter:
    inner: Filter = c[0]
    return inner


@action("filter_group_cond")
def _filter_group_cond(s: Source, c: list[Any], start: int, end: int) -> ast.Cond:
    return ast.Cond(plain(c[0]), c[1], c[2], span=s.span(start, end))


@action("optional")
def _optional(s: Source, c: list[Any], start: int, end: int) -> Filter:
    return Filter(ast.OptionalTerm(plain(c[0]), span=s.span(start, end)), True)


@action("when")
def _when(s: Source, c: list[Any], start: int, end: int) -> Filter:
    path = ast.path_of(c[0]) or ()
    if len(path) < 2 or path[0] != "args":
        span = c[0].span
        raise ParseError("`when` takes an argument of the construct: `when(args.name) { .. }`", span.start, span.end)
    segments = tuple(str(segment) for segment in path[1:])
    return Filter(ast.When(segments, c[1].expr, span=s.span(start, end)), True)


@action("relation")
def _relation(s: Source, c: list[Any], start: int, end: int) -> Filter:
    return Filter(ast.Relation(c[0].value, c[1].expr, span=s.span(start, end)), True)


# --- statements ------------------------------------------------------------------------------------------------------


@action("block")
def _block(s: Source, c: list[Any], start: int, end: int) -> ast.Block:
    return ast.Block(tuple(c), span=s.span(start, end))


@action("assign")
def _assign(s: Source, c: list[Any], start: int, end: int) -> ast.AssignStmt:
    return ast.AssignStmt(c[0].value, c[1], span=s.span(start, end))


@action("if")
def _if(s: Source, c: list[Any], start: int, end: int) -> ast.IfExpr:
    return ast.IfExpr(c[0], c[1], c[2] if len(c) > 2 else None, span=s.span(start, end))


@action("if_stmt")
def _if_stmt(s: Source, c: list[Any], start: int, end: int) -> ast.IfStmt:
    return ast.IfStmt(c[0], span=s.span(start, end))


@action("for")
def _for(s: Source, c: list[Any], start: int, end: int) -> ast.ForStmt:
    return ast.ForStmt(c[0].value, c[1], c[2], span=s.span(start, end))


@action("return")
def _return(s: Source, c: list[Any], start: int, end: int) -> ast.ReturnStmt:
    return ast.ReturnStmt(c[0], span=s.span(start, end))


@action("expr_stmt")
def _expr_stmt(s: Source, c: list[Any], start: int, end: int) -> ast.ExprStmt:
    return ast.ExprStmt(c[0], span=s.span(start, end))
