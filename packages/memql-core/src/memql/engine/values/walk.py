"""Walking expressions."""

from __future__ import annotations

from collections.abc import Iterator

from memql.lang import ast

__all__ = ["children", "walk"]


def children(expr: ast.Expr) -> tuple[ast.Expr, ...]:
    """The expressions directly below one, left to right."""
    match expr:
        case ast.ListExpr(items=items) | ast.BoolOp(items=items):
            return items
        case ast.ObjectExpr(entries=entries):
            return tuple(value for _, value in entries)
        case ast.Member(base=child) | ast.Unary(operand=child):
            return (child,)
        case ast.OptionalTerm(term=child) | ast.When(body=child) | ast.Relation(filter=child):
            return (child,)
        case ast.Index(base=base, index=index):
            return (base, index)
        case ast.Call(callee=callee, args=args, named=named):
            rest = (*args, *(value for _, value in named))
            return (callee.base, *rest) if isinstance(callee, ast.Member) else rest
        case ast.BinaryOp(left=left, right=right) | ast.Compare(left=left, right=right):
            return (left, right)
        case ast.Cond(test=test, then=then, otherwise=otherwise):
            return (test, then, otherwise)
        case _:
            return ()


def walk(expr: ast.Expr) -> Iterator[ast.Expr]:
    """An expression and everything below it, outermost first."""
    pending = [expr]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(children(current)))
