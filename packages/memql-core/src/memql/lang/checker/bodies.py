"""Bodies of logic and decision policies: bindings, their order, calls (spec "Construct rules", Logic)."""

from __future__ import annotations

import heapq
from dataclasses import replace

from memql.lang import ast
from memql.lang.catalog import Logic
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.declare import warn_naming
from memql.lang.checker.env import Env
from memql.lang.checker.expressions import check_expr
from memql.lang.checker.report import listing
from memql.lang.checker.static import ANY, Value
from memql.lang.checker.tree import Declared
from memql.lang.checker.walk import names_in
from memql.lang.functions import ENGINE_NAMES

__all__ = ["check_body", "read_logics"]


def read_logics(check: Check) -> dict[str, Logic]:
    """Check and build every logic."""
    built = {}
    for declared in check.tree.of_kind("logic"):
        decl = declared.decl
        assert isinstance(decl, ast.LogicDecl)
        warn_naming(declared, False, check.report)
        order = check_body(check, declared, decl.body)
        built[declared.key] = Logic(
            **common(check, declared),
            args=check.args[declared] or (),
            body=decl.body,
            order=order,
            atomic=declared.marks.has("atomic"),
        )
    return built


def check_body(check: Check, declared: Declared, body: ast.Block) -> tuple[int, ...]:
    """Check a body and say in which order its top-level statements run: the source's, but after what they refer to."""
    statements = body.statements
    env = Env(check=check, owner=declared, places="L", args=check.args_of(declared), bindings={})
    assigned = _assigned(statements, env)
    order = _order(declared, statements, assigned, env)
    if not statements or not isinstance(statements[-1], ast.ReturnStmt):
        env.error("missing-return", declared.span, f"{declared.name} does not end with a return; add: return ..")
    for early in statements[:-1]:
        if isinstance(early, ast.ReturnStmt):
            env.error("missing-return", early.span, "nothing after this return would run; it stands last in the body")
    bindings: dict[str, Value] = {}
    later = set(assigned)
    for position in order:
        statement = statements[position]
        inner = replace(env, bindings=bindings, pending=frozenset(later))
        value = _statement(statement, inner)
        if isinstance(statement, ast.AssignStmt):
            bindings = {**bindings, statement.name: value}
            later.discard(statement.name)
    return order


def _assigned(statements: tuple[ast.Stmt, ...], env: Env) -> dict[str, int]:
    """The position of each top-level binding; a second assignment is refused."""
    found: dict[str, int] = {}
    for position, statement in enumerate(statements):
        if isinstance(statement, ast.AssignStmt):
            if statement.name in found:
                env.error("duplicate-field", statement.span, f"{statement.name!r} is assigned twice; use another name")
            found.setdefault(statement.name, position)
    return found


def _order(declared: Declared, statements: tuple[ast.Stmt, ...], assigned: dict[str, int], env: Env) -> tuple[int, ...]:
    """A stable topological order: of the statements whose references are settled, the first in the source goes next."""
    needs: list[set[int]] = []
    for position, statement in enumerate(statements):
        wanted = {assigned[name] for name in names_in(statement) if name in assigned}
        needs.append(wanted - {position})
    ready = [position for position, wanted in enumerate(needs) if not wanted]
    order: list[int] = []
    while ready:
        current = heapq.heappop(ready)
        order.append(current)
        for position, wanted in enumerate(needs):
            if current in wanted:
                wanted.discard(current)
                if not wanted:
                    heapq.heappush(ready, position)
    if len(order) < len(statements):
        stuck = [name for name, position in assigned.items() if position not in order]
        env.error("cycle", declared.span, f"in {declared.name} these bindings wait for each other: {listing(stuck)}")
        order.extend(position for position in range(len(statements)) if position not in order)
    return tuple(order)


def _statement(statement: ast.Stmt, env: Env) -> Value:
    if isinstance(statement, ast.AssignStmt):
        _check_binding(statement.name, statement.span, env)
        inner = replace(env, pending=env.pending - {statement.name})
        if isinstance(statement.value, ast.IfExpr):
            return _if(statement.value, inner, as_value=True)
        return check_expr(statement.value, inner)
    if isinstance(statement, ast.IfStmt):
        return _if(statement.branch, env, as_value=False)
    if isinstance(statement, ast.ForStmt):
        return _for(statement, env)
    check_expr(statement.value, env)
    return ANY


def _check_binding(name: str, span: ast.Span, env: Env) -> None:
    if name in ENGINE_NAMES:
        env.error("reserved-name", span, f"{name!r} is a name of the engine; choose another for the binding")
    elif name in (env.bindings or ()):
        env.error("duplicate-field", span, f"{name!r} is assigned already; a binding is assigned once")


def _for(statement: ast.ForStmt, env: Env) -> Value:
    source = check_expr(statement.source, env)
    if source.kind in ("text", "number", "bool", "datetime"):
        env.error("bad-argument", statement.source.span, "range goes over a list or a result set")
    if statement.name in env.pending:
        env.error("duplicate-field", statement.span, f"{statement.name!r} is a binding of the body; use another name")
    _check_binding(statement.name, statement.span, env)
    inner = replace(env, bindings={**(env.bindings or {}), statement.name: source.item or ANY})
    _block(statement.body, inner)
    return ANY


def _if(branch: ast.IfExpr, env: Env, *, as_value: bool) -> Value:
    check_expr(branch.test, env)
    value = _branch(branch.then, env, as_value=as_value)
    if isinstance(branch.otherwise, ast.IfExpr):
        other = _if(branch.otherwise, env, as_value=as_value)
    elif branch.otherwise is not None:
        other = _branch(branch.otherwise, env, as_value=as_value)
    else:
        return value
    return value if value == other else ANY


def _branch(block: ast.Block, env: Env, *, as_value: bool) -> Value:
    value = _block(block, env)
    if as_value and not (block.statements and isinstance(block.statements[-1], ast.ExprStmt)):
        env.error("if-value", block.span, "this branch yields nothing to bind; end it with a call")
    return value


def _block(block: ast.Block, env: Env) -> Value:
    """Check a nested block, where statements run as written; its value is that of a last expression."""
    bindings = dict(env.bindings or {})
    value = ANY
    for statement in block.statements:
        inner = replace(env, bindings=bindings)
        if isinstance(statement, ast.AssignStmt):
            if statement.name in env.pending:
                env.error(
                    "duplicate-field", statement.span, f"{statement.name!r} is a binding of the body; use another name"
                )
            bindings = {**bindings, statement.name: _statement(statement, inner)}
            continue
        value = (
            check_expr(statement.value, inner) if isinstance(statement, ast.ExprStmt) else _statement(statement, inner)
        )
    return value
