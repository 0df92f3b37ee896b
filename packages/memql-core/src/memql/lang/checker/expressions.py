"""Checking expressions: roots, paths, operators; the static value of each (spec "Filters, expressions, statements")."""

from __future__ import annotations

from memql.ids import CONCEPT_ID
from memql.lang import ast
from memql.lang.checker.calls import check_call
from memql.lang.checker.check import RowPath
from memql.lang.checker.env import Env
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.static import (
    ANY,
    BOOL,
    DATETIME,
    NUMBER,
    ROW_ROOTS,
    TEXT,
    Value,
    arg_value,
    payload_of,
    step,
)
from memql.lang.functions import ACTOR_FIELDS, INTRINSICS

__all__ = ["check_expr", "concept_named_in"]

_ACTOR = {
    "userId": TEXT, "role": TEXT, "identityId": TEXT, "isClusterOwner": BOOL, "primaryEmail": TEXT, "now": DATETIME,
    "config": Value("object"),
}  # fmt: skip
_RETIRED_ROOTS = {"ctx": "args, actor and now", "caller": "actor"}


def check_expr(expr: ast.Expr, env: Env) -> Value:
    """Check one expression and say what it yields; every problem in it is reported."""
    if isinstance(expr, ast.Literal):
        return _literal(expr)
    if isinstance(expr, ast.Name | ast.Member):
        return _path(expr, env)
    if isinstance(expr, ast.ConceptRef):
        env.check.names.find_concept(env.owner, expr.id, expr.span)
        return TEXT
    if isinstance(expr, ast.Call):
        return check_call(expr, env, check_expr)
    if isinstance(expr, ast.ListExpr):
        items = [check_expr(item, env) for item in expr.items]
        return Value("list", item=items[0] if len(items) == 1 else ANY)
    if isinstance(expr, ast.ObjectExpr):
        return _object(expr, env)
    if isinstance(expr, ast.Index):
        base = check_expr(expr.base, env)
        check_expr(expr.index, env)
        return base.item or ANY
    return _operator(expr, env)


def _literal(expr: ast.Literal) -> Value:
    if isinstance(expr.value, bool):
        return BOOL
    if isinstance(expr.value, int | float):
        return NUMBER
    return TEXT if isinstance(expr.value, str) else ANY


def _object(expr: ast.ObjectExpr, env: Env) -> Value:
    seen: set[str] = set()
    for key, value in expr.entries:
        if key in seen:
            env.error("duplicate-field", value.span, f"the key {key!r} stands twice in this object; keep one")
        seen.add(key)
        check_expr(value, env)
    return Value("object")


def _operator(expr: ast.Expr, env: Env) -> Value:
    if isinstance(expr, ast.Compare):
        check_expr(expr.left, env)
        check_expr(expr.right, env)
        return BOOL
    if isinstance(expr, ast.BoolOp):
        for item in expr.items:
            check_expr(item, env)
        return BOOL
    if isinstance(expr, ast.Unary):
        check_expr(expr.operand, env)
        return BOOL if expr.op == "!" else NUMBER
    if isinstance(expr, ast.Cond):
        check_expr(expr.test, env)
        values = check_expr(expr.then, env), check_expr(expr.otherwise, env)
        return values[0] if values[0].kind == values[1].kind else ANY
    if isinstance(expr, ast.BinaryOp):
        return _binary(expr, env)
    if isinstance(expr, ast.Var):
        env.error("unresolved", expr.span, f"${expr.name} is a value of a request; in a file use args.{expr.name}")
        return ANY
    what = expr.function if isinstance(expr, ast.Relation) else "a term with ?. or when"
    env.error("filter-value", expr.span, f"{what} is a term of a filter and no value; put it between && or ;")
    return ANY


def _binary(expr: ast.BinaryOp, env: Env) -> Value:
    if expr.op != "??":
        left, right = check_expr(expr.left, env), check_expr(expr.right, env)
        if expr.op == "+" and "text" in (left.kind, right.kind):
            return TEXT
        return NUMBER if expr.op != "+" or "number" in (left.kind, right.kind) else ANY
    before = len(env.facts.row_paths)
    guarded = env.guarded(*_argument_names(expr.left))
    left = check_expr(expr.left, guarded)
    right = check_expr(expr.right, env)
    if env.filtering and not env.row_functions and len(env.facts.row_paths) > before:
        env.error(
            "filter-value",
            expr.span,
            "?? cannot be applied to row data in a filter; compare the path with null instead",
        )
    return left if left.kind == right.kind else ANY


def _argument_names(expr: ast.Expr) -> tuple[str, ...]:
    path = ast.path_of(expr)
    return (str(path[1]),) if path and len(path) > 1 and path[0] == "args" else ()


# --- paths -----------------------------------------------------------------------------------------------------------


def _path(expr: ast.Name | ast.Member, env: Env) -> Value:
    path = ast.path_of(expr)
    if path is None:
        assert isinstance(expr, ast.Member)
        return _member(check_expr(expr.base, env), expr.name, expr.span, env)
    root, rest = str(path[0]), path[1:]
    if env.bindings is not None and (root in env.bindings or root in env.pending):
        env.facts.bindings.add(root)
        return _walk(env.bindings.get(root, ANY), rest, expr.span, env)
    if root == "args":
        return _args(rest, expr.span, env)
    if root == "actor":
        return _actor(rest, expr.span, env)
    if root == "now" and not rest:
        return DATETIME
    if root == "partition" and not rest:
        return TEXT
    if root in env.roots:
        return _walk(env.roots[root], rest, expr.span, env)
    if env.row and (root == "payload" or root in ROW_ROOTS):
        return _row(path, expr.span, env)
    if root == "steps" and env.steps is not None:
        return _step(rest, expr.span, env)
    if not rest and (known := _construct_name(root, expr.span, env)) is not None:
        return known
    _unknown_root(root, rest, expr.span, env)
    return ANY


def _walk(value: Value, rest: tuple[str | int, ...], span: ast.Span, env: Env) -> Value:
    for segment in rest:
        value = _member(value, segment, span, env)
    return value


def _member(base: Value, name: str | int, span: ast.Span, env: Env) -> Value:
    value, problem = step(base, name)
    if problem:
        env.error("unknown-field", span, problem)
    return value


def _args(rest: tuple[str | int, ...], span: ast.Span, env: Env) -> Value:
    if not rest or env.args is None:
        return ANY
    name = str(rest[0])
    spec = env.args.get(name)
    if spec is None:
        declared = list(env.args)
        hint = did_you_mean(name, declared) or (
            f"; declared: {listing(declared)}" if declared else "; declare it: args { " + name + " string }"
        )
        env.error("undeclared-arg", span, f"{env.owner.name} has no argument {name!r}{hint}")
        return ANY
    return _walk(arg_value(spec), rest[1:], span, env)


def _actor(rest: tuple[str | int, ...], span: ast.Span, env: Env) -> Value:
    if not env.in_relation:
        env.facts.actor = True
    env.facts.actor_paths.append(RowPath(("actor", *rest), span))
    if not rest:
        return Value("object")
    name = str(rest[0])
    if name in ("partition", "partitions"):
        env.error("legacy-form", span, f"actor.{name} is retired; there is one partition, so leave the term out")
        return ANY
    if name not in _ACTOR:
        hint = did_you_mean(name, ACTOR_FIELDS) or f"; it has: {', '.join(ACTOR_FIELDS)}"
        env.error("unknown-actor-field", span, f"the actor has no field {name!r}{hint}")
        return ANY
    if name == "config" and len(rest) > 1 and rest[1] not in env.check.config_keys:
        keys = env.check.config_keys
        hint = did_you_mean(str(rest[1]), keys) or f"; keys: {listing(sorted(keys))}"
        env.error("unknown-config-key", span, f"{rest[1]!r} is no readable configuration key{hint}")
    return _ACTOR[name] if len(rest) == 1 else ANY


def _row(path: tuple[str | int, ...], span: ast.Span, env: Env) -> Value:
    env.facts.row = True
    env.facts.row_paths.append(RowPath(path, span))
    if path[0] != "payload":
        return ROW_ROOTS[str(path[0])] if len(path) == 1 else ANY
    return _walk(payload_of(env.concept), path[1:], span, env)


def _step(rest: tuple[str | int, ...], span: ast.Span, env: Env) -> Value:
    steps = env.steps or frozenset()
    if rest and rest[0] not in steps:
        hint = did_you_mean(str(rest[0]), steps) or f"; earlier steps: {listing(sorted(steps))}"
        env.error("unknown-step", span, f"no earlier step is named {rest[0]!r}{hint}")
    return ANY


def _construct_name(name: str, span: ast.Span, env: Env) -> Value | None:
    """The value of a bare name that is a concept or, in a filter, a predicate."""
    tree = env.check.tree
    if (
        env.filtering
        and (tree.named("predicates", name) or name in env.owner.file.imports)
        and not tree.named("concepts", name)
    ):
        found = env.check.names.find(env.owner, "predicates", name, span)
        if found is None:
            env.facts.sound = False
        else:
            env.use(found, span)
        return BOOL
    if tree.named("concepts", name) or name in env.owner.file.imports:
        env.check.names.find(env.owner, "concepts", name, span)
        return TEXT
    return None


def _unknown_root(root: str, rest: tuple[str | int, ...], span: ast.Span, env: Env) -> None:
    dotted = ".".join(map(str, (root, *rest)))
    if root in _RETIRED_ROOTS:
        env.error("legacy-form", span, f"{root!r} is retired; use {_RETIRED_ROOTS[root]}")
        return
    if env.bindings is not None or env.steps is not None:
        known = [*(env.bindings or ()), *env.pending, *(f"args.{name}" for name in env.args or ())]
        env.error("unknown-step", span, f"{dotted!r} is neither a binding nor an argument{did_you_mean(root, known)}")
        return
    if root == "payload" or root in INTRINSICS:
        env.error("unresolved", span, f"{dotted!r} reads a row, and there is none here; take the value from args")
        return
    if root in env.check.tree.lost:
        env.facts.sound = False
        return
    _unresolved(root, rest, dotted, span, env)


def _unresolved(root: str, rest: tuple[str | int, ...], dotted: str, span: ast.Span, env: Env) -> None:
    tree = env.check.tree
    others = tree.anywhere(root) if not rest else []
    if others and env.filtering:
        env.facts.sound = False
        env.check.names.find(env.owner, "predicates", root, span)
        return
    fields = {field.name for field in env.concept.fields} if env.concept and env.row else set()
    if root in fields:
        hint = f"; write payload.{dotted}"
    elif env.args and root in env.args:
        hint = f"; write args.{dotted}"
    else:
        known = {"payload", "args", "actor", "now", *ROW_ROOTS} if env.row else {"args", "actor", "now"}
        known |= tree.names("predicates") if env.filtering else set()
        hint = did_you_mean(root, known)
    env.error("unresolved", span, f"{dotted!r} means nothing here{hint}")


def concept_named_in(expr: ast.Expr, env: Env) -> str:
    """The concept id a filter's top-level terms pin (``concept == v1:a:b`` or a full id), or empty text."""
    terms = expr.items if isinstance(expr, ast.BoolOp) and expr.op == "&&" else (expr,)
    for term in terms:
        if not isinstance(term, ast.Compare) or term.op != "==" or ast.path_of(term.left) != ("concept",):
            continue
        if isinstance(term.right, ast.ConceptRef):
            return term.right.id
        if isinstance(term.right, ast.Literal) and CONCEPT_ID.fullmatch(str(term.right.value)):
            return str(term.right.value)
        path = ast.path_of(term.right)
        if path and len(path) == 1:
            found = env.check.tree.named("concepts", str(path[0]))
            return found[0].key if len(found) == 1 else ""
    return ""
