"""The canonical form of source: ``format_file`` for texts, ``format_ast`` for trees.

One thing per line unless the whole construct fits into 110 columns and its author kept it on one line; two blanks of
indentation; at most one blank line in a row; comments stay where they were, or move to the line before the smallest
item that holds them. The output parses to the same tree, and formatting it again changes nothing.
"""

from __future__ import annotations

from typing import cast, get_args

from memql.lang import ast
from memql.lang._flat import expr_text, filter_text
from memql.lang._format_declarations import declaration_item, file_text
from memql.lang._format_requests import read_text, request_text
from memql.lang._format_statements import block_lines, statement_item
from memql.lang._layout import Layout
from memql.lang.parser import ensure_parsed, parse_file

__all__ = ["format_ast", "format_file", "format_filter"]


def format_file(text: str, file: str = "<text>") -> str:
    """The canonical form of a source file.

    :raises MemqlError: ``SYNTAX_ERROR`` for the first thing that does not parse.
    """
    parsed = ensure_parsed(parse_file(text, file), text)
    return file_text(Layout(text, parsed.comments), parsed.file)


def format_ast(node: ast.File | ast.Decl | ast.Stmt | ast.Block | ast.Request | ast.Read | ast.Expr) -> str:
    """The text of a tree that need not come from a text; an expression is written as outside filters."""
    layout = Layout()
    match node:
        case ast.File():
            return file_text(layout, node)
        case ast.Request():
            return request_text(node)
        case ast.FilterRead() | ast.CallRead() | ast.DirectiveRead():
            return read_text(node)
        case ast.Block():
            return "\n".join(block_lines(layout, "", node, 0)).lstrip()
        case ast.AssignStmt() | ast.IfStmt() | ast.ForStmt() | ast.ReturnStmt() | ast.ExprStmt():
            return "\n".join(statement_item(layout, node).lines(0))
        case _:
            if isinstance(node, get_args(ast.Decl)):
                return "\n".join(declaration_item(layout, cast("ast.Decl", node)).lines(0))
            return expr_text(cast("ast.Expr", node))


def format_filter(expr: ast.Expr) -> str:
    """The text of a filter, on one line, as it may stand in ``@filter`` or ``@defaultFilter``."""
    return filter_text(expr)
