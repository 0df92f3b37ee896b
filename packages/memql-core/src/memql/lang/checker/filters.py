"""Checking filters: terms, guards, relationship functions (spec "Filters, expressions, statements", "Query")."""

from __future__ import annotations

from collections.abc import Iterator

from memql.lang import ast
from memql.lang.checker.env import Env
from memql.lang.checker.expressions import check_expr, concept_named_in
from memql.lang.checker.static import Value

__all__ = ["check_filter"]


def check_filter(expr: ast.Expr, env: Env) -> None:
    """Check a filter term by term; ``env`` says over which rows and with which arguments."""
    if isinstance(expr, ast.BoolOp):
        for item in expr.items:
            check_filter(item, env)
    elif isinstance(expr, ast.Unary) and expr.op == "!":
        check_filter(expr.operand, env)
    elif isinstance(expr, ast.OptionalTerm):
        check_filter(expr.term, env.guarded(*_arguments(expr.term)))
    elif isinstance(expr, ast.When):
        _when(expr, env)
    elif isinstance(expr, ast.Relation):
        _relation(expr, env)
    elif isinstance(expr, ast.Compare):
        _compare(expr, env)
    else:
        _boolean(expr, check_expr(expr, env), env)


def _when(expr: ast.When, env: Env) -> None:
    check_expr(_args_path(expr), env)
    check_filter(expr.body, env.guarded(*expr.path[:1]))


def _args_path(expr: ast.When) -> ast.Expr:
    path: ast.Expr = ast.Name("args", span=expr.span)
    for segment in expr.path:
        path = ast.Member(path, segment, span=expr.span)
    return path


def _relation(expr: ast.Relation, env: Env) -> None:
    if not env.row:
        env.error("filter-value", expr.span, f"{expr.function}(..) picks rows, and there are none here")
        return
    env.facts.row = True
    key = concept_named_in(expr.filter, env)
    inner = env.related(env.check.concepts.get(key))
    outer_paths = len(env.facts.row_paths)
    check_filter(expr.filter, inner)
    # Paths inside are of other rows: whoever uses this filter does not have them.
    del env.facts.row_paths[outer_paths:]


def _compare(expr: ast.Compare, env: Env) -> None:
    check_expr(expr, env)
    for name, span in _bare_optional(expr, env):
        env.check.report.warn(
            "optional-arg-unguarded",
            span,
            f"args.{name} may be left out, and comparing it then fails; write ?. before the term, wrap it in "
            f"when(args.{name}) {{ .. }}, give it a default, or mark it required",
        )


def _bare_optional(expr: ast.Expr, env: Env) -> Iterator[tuple[str, ast.Span]]:
    if isinstance(expr, ast.Call) and isinstance(expr.callee, ast.Name) and expr.callee.name == "coalesce":
        return
    if isinstance(expr, ast.BinaryOp) and expr.op == "??":
        return
    path = ast.path_of(expr)
    if path is not None:
        name = str(path[1]) if path[0] == "args" and len(path) > 1 else ""
        spec = env.args.get(name) if env.args else None
        if spec and not spec.required and not spec.has_default and name not in env.guards:
            yield name, expr.span
        return
    for child in _children(expr):
        yield from _bare_optional(child, env)


def _children(expr: ast.Expr) -> tuple[ast.Expr, ...]:
    if isinstance(expr, ast.Compare | ast.BinaryOp):
        return expr.left, expr.right
    if isinstance(expr, ast.Call):
        return (*expr.args, *(value for _, value in expr.named))
    if isinstance(expr, ast.ListExpr | ast.BoolOp):
        return expr.items
    if isinstance(expr, ast.Unary):
        return (expr.operand,)
    if isinstance(expr, ast.Cond):
        return expr.test, expr.then, expr.otherwise
    return (expr.base,) if isinstance(expr, ast.Member | ast.Index) else ()


def _arguments(expr: ast.Expr) -> list[str]:
    path = ast.path_of(expr)
    if path is not None:
        return [str(path[1])] if path[0] == "args" and len(path) > 1 else []
    return [name for child in _children(expr) for name in _arguments(child)]


def _boolean(expr: ast.Expr, value: Value, env: Env) -> None:
    if value.boolean:
        return
    path = ast.path_of(expr)
    what = ".".join(map(str, path)) if path else "this term"
    env.error(
        "spec-not-boolean", expr.span, f"{what} is {_KINDS[value.kind]}, not true or false; compare it with something"
    )


_KINDS = {
    "number": "a number", "text": "text", "datetime": "an instant", "object": "an object", "list": "a list",
    "node": "a row", "nodes": "a set of rows",
}  # fmt: skip
