"""Values in a filter: paths of the row, what is computed from them, and what is folded beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from memql.engine.read.fields import ANYTHING, resolve_payload
from memql.engine.read.place import ArgPath, Place, argument_path, row_path
from memql.engine.read.slots import Run
from memql.engine.read.terms import (
    Arithmetic,
    At,
    Choice,
    Column,
    Fallback,
    Folded,
    Holds,
    Items,
    Members,
    Negative,
    Path,
    Value,
)
from memql.engine.values import Env, TypeScope, descend, is_instant
from memql.errors import Code, MemqlError
from memql.lang import ast

if TYPE_CHECKING:
    from memql.engine.read.resolver import Resolver

__all__ = ["as_moments", "is_moment", "readable_value", "row_value", "side", "value"]

_COLUMNS = ("id", "concept", "type", "createdBy", "createdAt")
_MATCHING = frozenset({"==", "!=", "in", "not in", "has"})
_USER_ID = ("actor", "userId")


def value(resolver: Resolver, expr: ast.Expr, place: Place) -> Value:
    """What an expression means where a value is wanted.

    :raises MemqlError: ``INVALID_ARGUMENT`` for unknown paths and for functions of row data.
    """
    if not resolver.reads_row(expr, place):
        return Folded(resolver.slot(resolver.run(expr, place), place))
    match expr:
        case ast.Name() | ast.Member() | ast.Index():
            return _path(resolver, expr, place)
        case ast.BinaryOp(op="??", left=left, right=right):
            return Fallback((value(resolver, left, place), value(resolver, right, place)))
        case ast.BinaryOp(op=op, left=left, right=right):
            return Arithmetic(op, value(resolver, left, place), value(resolver, right, place))
        case ast.Unary(op="-", operand=operand):
            return Negative(value(resolver, operand, place))
        case ast.Cond(test=test, then=then, otherwise=otherwise):
            return _choice(resolver, (test, then, otherwise), place)
        case ast.ListExpr(items=items):
            return Items(tuple(value(resolver, item, place) for item in items))
        case ast.ObjectExpr(entries=entries):
            return Members(tuple((name, value(resolver, item, place)) for name, item in entries))
        case ast.Call(callee=ast.Name(name="coalesce"), args=args):
            return Fallback(tuple(value(resolver, arg, place) for arg in args))
        case ast.Call(callee=ast.Name(name="cond"), args=(test, then, otherwise)):
            return _choice(resolver, (test, then, otherwise), place)
        case ast.Call(callee=ast.Name(name=name)) if resolver.inlined_query(expr, place) is None:
            raise MemqlError(
                Code.INVALID_ARGUMENT,
                f"{name}(..) of row data cannot stand in a filter; compare the field itself, and apply functions to "
                "arguments and constants",
                details={"code": "filter-value"},
                position=expr.span.start,
            )
        case _:
            return Holds(resolver.predicate(expr, place))


def _choice(resolver: Resolver, parts: tuple[ast.Expr, ast.Expr, ast.Expr], place: Place) -> Value:
    test, then, otherwise = parts
    return Choice(resolver.predicate(test, place), value(resolver, then, place), value(resolver, otherwise, place))


def _path(resolver: Resolver, expr: ast.Name | ast.Member | ast.Index, place: Place) -> Value:
    path = row_path(expr)
    if path is not None:
        root, segments = path
        if not segments and (root in place.lets or root in place.scope.predicates):
            return Holds(resolver.predicate(expr, place))
        return readable_value(resolver, root, segments, place)
    if isinstance(expr, ast.Index):
        return At(value(resolver, expr.base, place), value(resolver, expr.index, place))
    assert isinstance(expr, ast.Member)
    return At(value(resolver, expr.base, place), value(resolver, ast.Literal(expr.name), place))


def row_value(resolver: Resolver, root: str, segments: tuple[str | int, ...], place: Place) -> Column | Path:
    """A path of the row.

    :raises MemqlError: ``INVALID_ARGUMENT`` when no concept in question has it.
    """
    if root in _COLUMNS:
        if segments:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{root} is a single value; it has no members")
        return Column(cast("Any", root))
    if root != "payload" or not segments or not place.concepts:
        return Path(cast("Any", root), segments, ANYTHING)
    return Path("payload", segments, resolve_payload(resolver.catalog, place.concepts, segments))


def readable_value(resolver: Resolver, root: str, segments: tuple[str | int, ...], place: Place) -> Column | Path:
    """A path that a filter or a sort reads: noted when it is secret, as the order of rows would tell its value.

    :raises MemqlError: as :func:`row_value`.
    """
    found = row_value(resolver, root, segments, place)
    if isinstance(found, Path) and found.field.secret and not place.unruled:
        resolver.secret_read = ".".join(map(str, (root, *segments)))
    return found


def is_moment(resolver: Resolver, found: Value, expr: ast.Expr, place: Place) -> bool:
    """Whether a value is a date-time by declaration."""
    match found:
        case Folded():
            return is_instant(expr, TypeScope(None, place.args))
        case Column(name=name):
            return name == "createdAt"
        case Path(field=field):
            return field.instant
        case At(base=base) if isinstance(expr, ast.Index | ast.Member):
            return is_moment(resolver, base, expr.base, place)
        case Items(items=items) if isinstance(expr, ast.ListExpr):
            return any(is_moment(resolver, item, part, place) for item, part in zip(items, expr.items, strict=True))
        case Fallback(items=items):
            operands = (expr.left, expr.right) if isinstance(expr, ast.BinaryOp) else _arguments(expr)
            return any(is_moment(resolver, *pair, place) for pair in zip(items, operands, strict=True))
        case Choice(then=then, otherwise=otherwise):
            branches = (expr.then, expr.otherwise) if isinstance(expr, ast.Cond) else _arguments(expr)[1:]
            pairs = zip((then, otherwise), branches, strict=True)
            return any(is_moment(resolver, *pair, place) for pair in pairs)
        case _:
            return False


def _arguments(expr: ast.Expr) -> tuple[ast.Expr, ...]:
    return expr.args if isinstance(expr, ast.Call) else ()


def as_moments(resolver: Resolver, sides: tuple[Value, Value], instants: bool) -> tuple[Value, Value]:
    """The two sides of a comparison, with folded texts marked as moments if it is one of moments."""
    if instants:
        for found in sides:
            parts = found.items if isinstance(found, Items) else (found,)
            for part in parts:
                if isinstance(part, Folded):
                    slots = resolver.slots.slots
                    slots[part.slot] = replace(slots[part.slot], instant=True)
    return sides


def side(resolver: Resolver, expr: ast.Expr, other: ast.Expr, op: str, place: Place) -> Value:
    """One side of a comparison: ids are qualified as the other side wants them, omitted arguments refused."""
    if isinstance(expr, ast.ListExpr) and resolver.reads_row(expr, place):
        return Items(tuple(side(resolver, item, other, op, place) for item in expr.items))
    if resolver.reads_row(expr, place):
        return value(resolver, expr, place)
    run = _refusing_omitted(resolver.run(expr, place), expr, other, place)
    path = row_path(other)
    exact = path == ("concept", ())
    if path == ("id", ()):
        run = _qualifying_id(resolver, run, place)
    elif path is not None and path[0] == "payload" and path[1]:
        found = row_value(resolver, *path, place)
        if isinstance(found, Path) and found.field.target:
            run = _qualifying(run, found.field.target)
    nobody = op in _MATCHING and ast.path_of(expr) == _USER_ID
    return Folded(resolver.slot(run, place, exact=exact, nobody=nobody))


def _refusing_omitted(run: Run, expr: ast.Expr, other: ast.Expr, place: Place) -> Run:
    elements: Sequence[ast.Expr] = expr.items if isinstance(expr, ast.ListExpr) else (expr,)
    paths: list[ArgPath] = [
        path for element in elements if (path := argument_path(element)) and path not in place.given
    ]
    if not paths or (isinstance(other, ast.Literal) and other.value is None):
        return run

    def checked(env: Env) -> Any:
        for path in paths:
            if descend(env.args, path) is None:
                name = ".".join(map(str, path))
                raise MemqlError(
                    Code.INVALID_ARGUMENT,
                    f"the filter compares with args.{name}, which was not given; pass it, or guard the comparison "
                    f"with ?. or when(args.{name})",
                    context=f"args.{name}",
                )
        return run(env)

    return checked


def _mapped(run: Run, convert: Callable[[str], str]) -> Run:
    """``run`` with ``convert`` applied to a text, or to the texts of a list."""

    def converted(env: Env) -> Any:
        found = run(env)
        if isinstance(found, str):
            return convert(found)
        if isinstance(found, list):
            return [convert(item) if isinstance(item, str) else item for item in found]
        return found

    return converted


def _qualifying(run: Run, concept: str) -> Run:
    prefix = concept + ":"
    return _mapped(run, lambda text: prefix + text if text and ":" not in text else text)


def _qualifying_id(resolver: Resolver, run: Run, place: Place) -> Run:
    concepts = place.concepts or frozenset()
    if len(concepts) == 1:
        return _qualifying(run, next(iter(concepts)))

    def full_only(text: str) -> str:
        if ":" in text or not text:
            return text
        raise MemqlError(
            Code.INVALID_ARGUMENT,
            f"id {text!r} is bare, and the filter does not say of which one concept; give the full id, or put "
            "concept==<concept id> into the same AND list",
            context=text,
        )

    return _mapped(run, full_only)
