"""Nodes of the syntax tree as text on one line, with the fewest brackets that parse back to the same tree."""

from __future__ import annotations

import re

from memql.lang import ast
from memql.lang.words import LITERALS

__all__ = [
    "annotation_text",
    "call_text",
    "expr_text",
    "filter_text",
    "key_text",
    "member_texts",
    "needs_bracket",
    "quote",
    "type_text",
]

# How tightly a node binds; an operand that binds less tightly than its place needs a bracket.
COND, OR, AND, COMPARE, COALESCE, SUM, PRODUCT, UNARY, POSTFIX, PRIMARY = range(10)
_BINARY_LEVEL = {"??": COALESCE, "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "%": PRODUCT}
_IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# What would continue the expression of the line before.
_CONTINUES = re.compile(r"-|(?:has|in|matches|not|startsWith|for|return)\b")


def quote(text: str) -> str:
    """A string literal."""
    return '"' + _ESCAPED.sub(lambda match: _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}", text) + '"'


def key_text(key: str) -> str:
    """A key of an object, a named argument or a write entry."""
    return key if _IDENT.fullmatch(key) and key not in LITERALS else quote(key)


def needs_bracket(text: str) -> bool:
    """Whether an expression in a place of its own would be read as a continuation of what stands before it."""
    return _CONTINUES.match(text) is not None


# --- expressions -----------------------------------------------------------------------------------------------------


def expr_text(expr: ast.Expr, level: int = COND) -> str:
    """An expression outside filters."""
    return _text(expr, level, in_filter=False)


def filter_text(expr: ast.Expr, sign: str = "&&") -> str:
    """A filter; ``sign`` joins the terms when its top level is a conjunction."""
    if isinstance(expr, ast.BoolOp):
        return _joined(expr, "; " if expr.op == "&&" and sign == ";" else f" {expr.op} ", in_filter=True)
    return _text(expr, OR, in_filter=True)


def member_texts(expr: ast.BoolOp, *, in_filter: bool) -> list[str]:
    """The operands of a conjunction or disjunction, each with the bracket it needs."""
    level = COMPARE if expr.op == "&&" else AND
    return [_text(item, level, in_filter=in_filter) for item in expr.items]


def call_text(callee: ast.Expr, *, in_filter: bool = False) -> str:
    """What stands before the bracket of a call."""
    return _text(callee, POSTFIX, in_filter=in_filter)


def _joined(expr: ast.BoolOp, sign: str, *, in_filter: bool) -> str:
    return sign.join(member_texts(expr, in_filter=in_filter))


def _text(expr: ast.Expr, level: int, *, in_filter: bool) -> str:
    text, own = _bare(expr, in_filter=in_filter)
    if own >= level and not (own == COND and in_filter):
        return text
    return f"({text})"


def _bare(expr: ast.Expr, *, in_filter: bool) -> tuple[str, int]:
    """The text without a bracket around it, and how tightly it binds."""
    match expr:
        case ast.Literal():
            return _literal(expr)
        case ast.Name(name=name):
            return name, PRIMARY
        case ast.ConceptRef(id=concept):
            return concept, PRIMARY
        case ast.Var(name=name):
            return f"${name}", PRIMARY
        case ast.ListExpr(items=items):
            return f"[{', '.join(map(expr_text, items))}]", PRIMARY
        case ast.ObjectExpr(entries=entries):
            return _object(entries), PRIMARY
        case ast.Member() | ast.Index() | ast.Call():
            return _postfix(expr, in_filter=in_filter), POSTFIX
        case ast.Unary(op=op, operand=operand):
            return _unary(op, operand, in_filter=in_filter), UNARY
        case ast.BinaryOp(op=op, left=left, right=right):
            own = _BINARY_LEVEL[op]
            sides = _text(left, own, in_filter=in_filter), _text(right, own + 1, in_filter=in_filter)
            return f"{sides[0]} {op} {sides[1]}", own
        case ast.Compare():
            return _compare(expr, in_filter=in_filter), COMPARE
        case ast.BoolOp(op=op):
            return _joined(expr, f" {op} ", in_filter=in_filter), AND if op == "&&" else OR
        case ast.Cond(test=test, then=then, otherwise=otherwise):
            return f"{_text(test, OR, in_filter=in_filter)} ? {expr_text(then)} : {expr_text(otherwise)}", COND
        case ast.OptionalTerm(term=term):
            return f"?.{_text(term, COMPARE, in_filter=True)}", COMPARE
        case ast.When(path=path, body=body):
            return f"when(args.{'.'.join(path)}) {{ {filter_text(body, ';')} }}", UNARY
        case ast.Relation(function=function, filter=inner):
            return f"{function}({filter_text(inner, ';')})", UNARY


def _literal(literal: ast.Literal) -> tuple[str, int]:
    match literal.value:
        case str(text):
            return quote(text), PRIMARY
        case None:
            return "null", PRIMARY
        case bool(flag):
            return "true" if flag else "false", PRIMARY
        case number:
            text = repr(number)
            return text, UNARY if text.startswith("-") else PRIMARY


def _object(entries: tuple[tuple[str, ast.Expr], ...]) -> str:
    if not entries:
        return "{}"
    return "{ " + ", ".join(f"{key_text(key)}: {expr_text(value)}" for key, value in entries) + " }"


def _postfix(expr: ast.Member | ast.Index | ast.Call, *, in_filter: bool) -> str:
    match expr:
        case ast.Member(base=base, name=name):
            text = _text(base, POSTFIX, in_filter=in_filter)
            # `1.0` would be a float.
            return f"({text}).{name}" if text[-1].isdigit() and isinstance(base, ast.Literal) else f"{text}.{name}"
        case ast.Index(base=base, index=index):
            return f"{_text(base, POSTFIX, in_filter=in_filter)}[{expr_text(index)}]"
        case ast.Call(callee=callee, args=args, named=named):
            inner = [expr_text(arg) for arg in args] + [f"{key_text(key)}: {expr_text(arg)}" for key, arg in named]
            return f"{call_text(callee, in_filter=in_filter)}({', '.join(inner)})"


def _unary(op: str, operand: ast.Expr, *, in_filter: bool) -> str:
    if op == "!" and isinstance(operand, ast.OptionalTerm):
        return f"!{_bare(operand, in_filter=True)[0]}"
    text = _text(operand, UNARY, in_filter=in_filter)
    # `--` begins a comment, and a minus before digits belongs to the number.
    is_number = isinstance(operand, ast.Literal) and text[0].isdigit()
    return f"-({text})" if op == "-" and (text[0] == "-" or is_number) else f"{op}{text}"


def _compare(expr: ast.Compare, *, in_filter: bool) -> str:
    left = _text(expr.left, COALESCE, in_filter=in_filter)
    if expr.op in ("in", "not in") and isinstance(expr.right, ast.ListExpr) and expr.right.items:
        return f"{left} {expr.op} ({', '.join(map(expr_text, expr.right.items))})"
    return f"{left} {expr.op} {_text(expr.right, COALESCE, in_filter=in_filter)}"


# --- types and annotations -------------------------------------------------------------------------------------------


def type_text(type_: ast.TypeExpr) -> str:
    """A field's type."""
    match type_:
        case ast.ScalarType(name=name):
            return name
        case ast.EnumType(values=values):
            return f"enum({', '.join(map(quote, values))})"
        case ast.ListType(item=item):
            return f"[]{type_text(item)}"
        case ast.MapType(value=value):
            return f"map(string, {type_text(value)})"


def annotation_text(annotation: ast.Annotation) -> str:
    """An annotation with its arguments."""
    if not annotation.called:
        return f"@{annotation.name}"
    render = filter_text if annotation.name == "filter" else expr_text
    args = [f"{arg.name}={render(arg.value)}" if arg.name else render(arg.value) for arg in annotation.args]
    return f"@{annotation.name}({', '.join(args)})"
