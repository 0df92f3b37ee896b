"""Checking arguments: what a construct takes against what a call gives (spec "Construct rules", Args)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from memql.lang import ast
from memql.lang.catalog import ArgSpec
from memql.lang.checker.check import Check
from memql.lang.checker.env import Checker, Env
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.static import misfit
from memql.lang.checker.tree import Declared
from memql.lang.literals import NOT_LITERAL, literal_value

__all__ = ["argument_problems", "check_arguments", "check_call_arguments", "check_object"]


def check_call_arguments(expr: ast.Call, target: Declared, env: Env, check: Checker) -> None:
    """Check the arguments of a call as written: an object, names, text for a builtin that takes it, or nothing."""
    inner = env if env.filtering else replace(env, places="LW", builtin_argument=target.kind == "builtin")
    if expr.named:
        check_arguments(ast.ObjectExpr(expr.named, span=expr.span), target, inner, check)
        return
    if not expr.args:
        check_arguments(ast.ObjectExpr((), span=expr.span), target, inner, check)
        return
    argument = expr.args[0]
    if len(expr.args) > 1:
        env.error("bad-argument", expr.span, f"{target.name} takes one object of arguments: {target.name}({{ .. }})")
    elif isinstance(argument, ast.ObjectExpr):
        check_arguments(argument, target, inner, check)
    elif target.kind == "builtin" and _takes_text(target):
        check(argument, inner)
    elif isinstance(argument, ast.Literal):
        env.error(
            "bad-argument", argument.span, f"{target.name} takes one object of arguments: {target.name}({{ .. }})"
        )
    else:
        check(argument, inner)


def _takes_text(target: Declared) -> bool:
    return target.marks.values("args").get("profile") in ("optionalString", "stringOrObject")


def check_object(
    given: tuple[ast.Expr, ...], span: ast.Span, target: Declared | None, env: Env, check: Checker
) -> None:
    """Check the optional object of arguments that ``si`` and ``policy`` hand on; ``span`` is where none was given."""
    argument = given[0] if given else ast.ObjectExpr((), span=span)
    if isinstance(argument, ast.ObjectExpr) and target is not None:
        check_arguments(argument, target, env, check)
    else:
        check(argument, env)


def check_arguments(argument: ast.ObjectExpr, target: Declared, env: Env, check: Checker) -> None:
    """Check an object of arguments: its values, and that it is what the construct takes."""
    check(argument, env)
    for span, problem in argument_problems(argument, target, env.check):
        env.error("bad-argument", span, problem)


def argument_problems(argument: ast.ObjectExpr, target: Declared, check: Check) -> Iterator[tuple[ast.Span, str]]:
    """Where an object of arguments and a construct's declaration differ: unknown, missing, literals that do not fit."""
    specs = check.args_of(target)
    if specs is None:
        return
    given = dict(argument.entries)
    extra_allowed = bool(target.marks.values("args").get("additionalProperties"))
    for name, value in given.items():
        spec = specs.get(name)
        if spec is not None:
            if problem := _literal_problem(value, spec):
                yield value.span, f"the argument {name!r} of {target.name} {problem}"
        elif not extra_allowed:
            hint = did_you_mean(name, specs) or f"; it takes: {listing(specs)}"
            yield value.span, f"{target.name} has no argument {name!r}{hint}"
    for spec in specs.values():
        if spec.required and not spec.has_default and not spec.auto_injected and spec.name not in given:
            yield argument.span, f"{target.name} needs the argument {spec.name!r}"


def _literal_problem(value: ast.Expr, spec: ArgSpec) -> str:
    literal = literal_value(value)
    if literal is NOT_LITERAL:
        return ""
    if literal is None:
        return "cannot be null" if spec.required else ""
    schema = spec.json_schema
    problem = misfit(literal, spec.type, schema["items"] if isinstance(spec.type, ast.ListType) else schema)
    return f"must be {problem}" if problem else ""
