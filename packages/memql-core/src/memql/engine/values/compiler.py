"""The walk from AST to closures: everything but calls, which are in :mod:`memql.engine.values.calls`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from memql.engine.values import calls, roots
from memql.engine.values.code import (
    Code,
    Guard,
    choose,
    condition,
    constant,
    every_or_any,
    first_given,
    lenient,
    listed,
    strict,
)
from memql.engine.values.env import Env
from memql.engine.values.operators import (
    ARITHMETIC,
    ORDERINGS,
    contains,
    equal,
    equal_instants,
    has,
    negate,
    order,
    order_instants,
    starts_with,
)
from memql.engine.values.results import descend, member
from memql.engine.values.search import matches
from memql.engine.values.static_types import TypeScope, compares_instants
from memql.engine.values.walk import children
from memql.errors import Code as ErrorCode
from memql.errors import MemqlError
from memql.lang import ast
from memql.lang.catalog import Catalog, Scope

__all__ = ["Compiler", "Mode"]

Mode: TypeAlias = Literal["filter", "write", "logic"]
Path: TypeAlias = tuple[str | int, ...]

_DEPTH_LIMIT: Final = 200
_USER_ID: Final[Path] = ("actor", "userId")
_MATCHING: Final = frozenset({"==", "!=", "in", "not in", "has"})
_NEGATED: Final = frozenset({"!=", "not in"})


class Compiler:
    """Compiles the expressions of one place: one scope, one mode. ``needs_tables`` is told afterwards."""

    def __init__(self, catalog: Catalog, scope: Scope, mode: Mode, types: TypeScope, allow_secrets: bool) -> None:
        self.catalog = catalog
        self.scope = scope
        self.mode = mode
        self.types = types
        self.allow_secrets = allow_secrets
        self.needs_tables = False
        self._depth = 0
        self._given: frozenset[Path] = frozenset()

    def compile(self, expr: ast.Expr) -> Code:
        """The code of an expression.

        :raises MemqlError: ``INVALID_ARGUMENT`` or ``UNKNOWN_FUNCTION`` for what cannot run here.
        """
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise MemqlError(ErrorCode.INVALID_ARGUMENT, f"expressions nest at most {_DEPTH_LIMIT} levels deep")
        try:
            return self._compile(expr)
        finally:
            self._depth -= 1

    def compile_in(self, expr: ast.Expr, scope: Scope, mode: Mode) -> Code:
        """The code of an expression of another construct, such as a spec, as it stands there."""
        outer = self.scope, self.mode
        self.scope, self.mode = scope, mode
        try:
            return self.compile(expr)
        finally:
            self.scope, self.mode = outer

    def condition(self, expr: ast.Expr) -> Code:
        """The code of an expression in the place of a condition."""
        return condition(self.compile(expr), forgiving=self.mode == "filter")

    @contextmanager
    def secrets_allowed(self) -> Iterator[None]:
        """Within, ``secret(..)`` may stand: the argument of a builtin."""
        outer, self.allow_secrets = self.allow_secrets, True
        try:
            yield
        finally:
            self.allow_secrets = outer

    def _compile(self, expr: ast.Expr) -> Code:
        match expr:
            case ast.Literal(value=value):
                return constant(value)
            case ast.ConceptRef(id=concept):
                return constant(concept)
            case ast.Var(name=name):
                return roots.variable_code(name)
            case ast.Name() | ast.Member() | ast.Index():
                return self._path(expr)
            case ast.ListExpr(items=items):
                return listed([self.compile(item) for item in items])
            case ast.ObjectExpr(entries=entries):
                return self._object(entries)
            case ast.Call():
                return calls.compile_call(self, expr)
            case ast.Unary(op=op, operand=operand):
                return self._unary(op, operand)
            case ast.BinaryOp(op="??", left=left, right=right):
                return first_given([self.compile(left), self.compile(right)])
            case ast.BinaryOp(op=op, left=left, right=right):
                parts = self.compile(left), self.compile(right)
                return strict(self.forgiving(ARITHMETIC[op], parts), *parts)
            case ast.Compare():
                return self._compare(expr)
            case ast.BoolOp(op=op, items=items):
                return every_or_any([self._term(item) for item in items], every=op == "&&")
            case ast.Cond(test=test, then=then, otherwise=otherwise):
                return choose(self.condition(test), self.compile(then), self.compile(otherwise))
            case ast.OptionalTerm() | ast.When():
                return every_or_any([self._term(expr)], every=True)
            case ast.Relation(function=function):
                raise MemqlError(
                    ErrorCode.INVALID_ARGUMENT, f"{function}(..) needs the graph and cannot be evaluated here"
                )

    def forgiving(self, operation: Callable[..., Any], parts: Sequence[Code]) -> Callable[..., Any]:
        """``operation``; in a filter, null for row data that does not fit it."""
        row = self.mode == "filter" and any(part.reads_row for part in parts)
        return lenient(operation, None) if row else operation

    def _object(self, entries: tuple[tuple[str, ast.Expr], ...]) -> Code:
        names = [name for name, _ in entries]
        parts = [self.compile(value) for _, value in entries]
        if self.mode != "write":
            return strict(lambda *values: dict(zip(names, values, strict=True)), *parts)
        omissible = [_argument_path(value) is not None for _, value in entries]
        return strict(partial(_written_object, names, omissible), *parts)

    def _unary(self, op: str, operand: ast.Expr) -> Code:
        if op == "!":
            return strict(operator.not_, self.condition(operand), is_condition=True)
        part = self.compile(operand)
        return strict(self.forgiving(negate, (part,)), part)

    # --- names and paths ------------------------------------------------------------------------------------

    def _path(self, expr: ast.Name | ast.Member | ast.Index) -> Code:
        path = ast.path_of(expr)
        if path is not None:
            return self._rooted(str(path[0]), path[1:])
        if isinstance(expr, ast.Index):
            return strict(_element, self.compile(expr.base), self.compile(expr.index))
        assert isinstance(expr, ast.Member)
        return strict(partial(_member, expr.name), self.compile(expr.base))

    def _rooted(self, root: str, rest: Path) -> Code:
        match root:
            case "args":
                return roots.args_code(rest)
            case "actor":
                return roots.actor_code(rest)
            case "now" if not rest:
                return Code(lambda env: env.now)
            case "partition" if not rest:
                return constant("default")
            case "config":
                return Code(lambda env: descend(env.config, rest))
        if self.mode == "filter" and root in roots.ROW_ROOTS:
            return roots.row_code(root, rest)
        if self.mode == "filter" and not rest and root in self.scope.predicates:
            return self.predicate(self.scope.predicates[root])
        return roots.binding_code(root, rest, self.scope.concepts.get(root))

    def predicate(self, key: str) -> Code:
        """The code of a spec or trait, compiled in place."""
        spec = self.catalog.specs[key]
        return condition(self.compile_in(spec.filter, spec.scope, "filter"), forgiving=True)

    # --- conditions -----------------------------------------------------------------------------------------

    def _term(self, expr: ast.Expr) -> tuple[Guard | None, Code]:
        """One element of an AND or OR list, with the guard of ``?.`` and ``when``."""
        match expr:
            case ast.OptionalTerm(term=term):
                paths = frozenset(_argument_paths(term))
            case ast.When(path=path, body=term):
                paths = frozenset({path})
            case _:
                return None, self.condition(expr)
        outer = self._given
        self._given = outer | paths
        try:
            return _given_guard(paths), self.condition(term)
        finally:
            self._given = outer

    def _compare(self, comparison: ast.Compare) -> Code:
        op = comparison.op
        operation = _operation(op, compares_instants(comparison, self.types))
        left = self._operand(comparison.left, comparison.right)
        right = self._operand(comparison.right, comparison.left)
        code = strict(operation, left, right, is_condition=True)
        sides = ast.path_of(comparison.left), ast.path_of(comparison.right)
        if op in _MATCHING and _USER_ID in sides and code.run is not None:
            return _never_for_nobody(code.run, code, on_nobody=op in _NEGATED)
        return code

    def _operand(self, expr: ast.Expr, other: ast.Expr) -> Code:
        """One side of a comparison: in a filter, ids are qualified and omitted arguments refused."""
        code = self.compile(expr)
        if self.mode != "filter":
            return code
        if target := self._id_concept(other):
            code = strict(partial(_qualified, target), code)
        elements = expr.items if isinstance(expr, ast.ListExpr) else (expr,)
        paths = [path for element in elements if (path := _argument_path(element)) and path not in self._given]
        if paths and not _is_null(other):
            return _refuse_omitted(code, paths)
        return code

    def _id_concept(self, expr: ast.Expr) -> str:
        """The concept whose ids a row path holds: the row's own ``id``, or a relationship's field."""
        concept, path = self.types.concept, ast.path_of(expr)
        if concept is None or path is None:
            return ""
        if path == ("id",):
            return concept.key
        for relationship in concept.relationships:
            if relationship.direction != "incoming" and path in (
                ("payload", relationship.field),
                (relationship.field,),
            ):
                return relationship.target
        return ""


def _operation(op: str, instants: bool) -> Callable[[Any, Any], bool]:
    same = equal_instants if instants else equal
    if op in ORDERINGS:
        return partial(order_instants if instants else order, ORDERINGS[op])
    match op:
        case "==":
            return same
        case "!=":
            return lambda left, right: not same(left, right)
        case "in":
            return partial(contains, same=same)
        case "not in":
            return lambda left, right: not contains(left, right, same)
        case "has":
            return partial(has, same=same)
        case "startsWith":
            return starts_with
        case _:
            return matches


def _written_object(names: Sequence[str], omissible: Sequence[bool], *values: Any) -> dict[str, Any]:
    """An object of a write block: an omitted argument drops its key, which a null would clear."""
    entries = zip(names, omissible, values, strict=True)
    return {name: value for name, may_leave, value in entries if value is not None or not may_leave}


def _element(value: Any, index: Any) -> Any:
    if isinstance(index, bool) or not isinstance(index, str | int):
        return None
    return member(value, index)


def _member(name: str | int, value: Any) -> Any:
    return member(value, name)


def _is_null(expr: ast.Expr) -> bool:
    return isinstance(expr, ast.Literal) and expr.value is None


def _argument_path(expr: ast.Expr) -> Path | None:
    """``("x", "y")`` of ``args.x.y``."""
    path = ast.path_of(expr)
    return path[1:] if path and path[0] == "args" and len(path) > 1 else None


def _argument_paths(term: ast.Expr) -> Iterator[Path]:
    """Every argument an optional term mentions."""
    if path := _argument_path(term):
        yield path
        return
    for child in children(term):
        yield from _argument_paths(child)


def _given_guard(paths: frozenset[Path]) -> Guard:
    ordered = tuple(paths)
    return lambda env: all(descend(env.args, path) is not None for path in ordered)


def _refuse_omitted(code: Code, paths: Sequence[Path]) -> Code:
    """The operand, unless one of the arguments it is made of was not given."""
    run = code.run
    assert run is not None, "filters have no effects"

    def checked(env: Env) -> Any:
        for path in paths:
            if descend(env.args, path) is None:
                name = ".".join(map(str, path))
                raise MemqlError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"the filter compares with args.{name}, which was not given; pass it, or guard it "
                    f"with ?. or when(args.{name})",
                )
        return run(env)

    return replace(code, run=checked)


def _never_for_nobody(run: Callable[[Env], Any], code: Code, *, on_nobody: bool) -> Code:
    """A comparison with ``actor.userId`` is never equal for a caller who is no user."""
    return replace(code, run=lambda env: run(env) if env.actor.user_id else on_nobody)


def _qualified(concept: str, value: Any) -> Any:
    """Bare ids of a comparison, qualified; lists element by element."""
    if isinstance(value, str):
        return f"{concept}:{value}" if value and ":" not in value else value
    if isinstance(value, list):
        return [_qualified(concept, item) for item in value]
    return value
