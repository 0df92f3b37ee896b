"""Statements of bodies as lines."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from memql.lang import ast
from memql.lang._flat import expr_text, needs_bracket
from memql.lang._layout import INDENT, WIDTH, Item, Layout, flat_block

__all__ = ["block_item", "block_lines", "statement_item"]

Lines = list[str]


def block_item(layout: Layout, head: str, block: ast.Block) -> Item:
    """``head { statements }`` as an item of a larger block."""
    return Item(block.span, _flat(layout, head, block), partial(block_lines, layout, head, block))


def block_lines(layout: Layout, head: str, block: ast.Block, indent: int) -> Lines:
    """``head { statements }``."""
    return layout.block(head, _items(layout, block), block.span, block.span.start, indent)


def statement_item(layout: Layout, stmt: ast.Stmt) -> Item:
    """One statement."""
    match stmt:
        case ast.AssignStmt(name=name, value=value):
            if isinstance(value, ast.IfExpr):
                return _if_item(layout, f"{name} := ", value, stmt.span)
            return _expr_item(layout, f"{name} := ", value, stmt.span)
        case ast.IfStmt(branch=branch):
            return _if_item(layout, "", branch, stmt.span)
        case ast.ForStmt(name=name, source=source, body=body):
            return replace(block_item(layout, f"for {name} := range {expr_text(source)}", body), span=stmt.span)
        case ast.ReturnStmt(value=value):
            return _expr_item(layout, "return ", value, stmt.span)
        case ast.ExprStmt(value=value):
            text = expr_text(value)
            if needs_bracket(text):
                return Item(stmt.span, f"({text})", lambda indent: [" " * indent + f"({text})"])
            return _expr_item(layout, "", value, stmt.span)


def _items(layout: Layout, block: ast.Block) -> list[Item]:
    items = [statement_item(layout, stmt) for stmt in block.statements]
    return items if len(items) < 2 else [replace(item, flat=None) for item in items]


def _flat(layout: Layout, head: str, block: ast.Block) -> str | None:
    return flat_block(head, _items(layout, block))


def _expr_item(layout: Layout, prefix: str, value: ast.Expr, span: ast.Span) -> Item:
    return Item(span, prefix + expr_text(value), lambda indent: layout.expr(value, indent, prefix))


def _if_item(layout: Layout, prefix: str, branch: ast.IfExpr, span: ast.Span) -> Item:
    return Item(span, _flat_if(layout, prefix, branch), partial(_if_lines, layout, prefix, branch))


def _flat_if(layout: Layout, prefix: str, branch: ast.IfExpr) -> str | None:
    then = _flat(layout, f"{prefix}if {expr_text(branch.test)}", branch.then)
    match branch.otherwise:
        case None:
            return then
        case ast.Block() as otherwise:
            last = _flat(layout, " else", otherwise)
        case otherwise:
            last = _flat_if(layout, " else ", otherwise)
    return None if then is None or last is None else then + last


def _if_lines(layout: Layout, prefix: str, branch: ast.IfExpr, indent: int) -> Lines:
    flat = _flat_if(layout, prefix, branch)
    if (
        flat is not None
        and indent + len(flat) <= WIDTH
        and not layout.was_broken(branch.span.start, branch.span.end)
        and not layout.has_comments(branch.span)
    ):
        return [" " * indent + flat]
    out: Lines = []
    rest: ast.IfExpr | ast.Block | None = branch
    while isinstance(rest, ast.IfExpr):
        out += layout.expr(rest.test, indent, f"{prefix}if ", " {")
        out += layout.items(_items(layout, rest.then), indent + INDENT, rest.then.span.end)
        prefix = "} else "
        rest = rest.otherwise
    if rest is not None:
        out.append(" " * indent + "} else {")
        out += layout.items(_items(layout, rest), indent + INDENT, rest.span.end)
    return [*out, " " * indent + "}"]
