"""Walking syntax trees."""

from __future__ import annotations

from collections.abc import Iterator

from memql.lang import ast

__all__ = ["names_in", "walk"]

Node = ast.Expr | ast.Stmt | ast.Block | ast.IfExpr


def walk(node: object) -> Iterator[object]:
    """A node and every node in it, in source order."""
    if isinstance(node, tuple):
        for one in node:
            yield from walk(one)
    elif hasattr(node, "span"):
        yield node
        for name in getattr(type(node), "__slots__", ()):
            yield from walk(getattr(node, name))


def names_in(node: Node) -> frozenset[str]:
    """Every bare name in a node: roots of paths, callees, bindings that are read."""
    return frozenset(part.name for part in walk(node) if isinstance(part, ast.Name))
