"""Which expressions are date-times, known before anything runs.

Stored date-times are JSON texts, so whether two texts compare as moments or by code point is decided by
declared types: a comparison is one of moments when the type of either side is ``datetime``. SQL and process
both ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from memql.lang import ast
from memql.lang.catalog import ArgSpec, Concept, Field

__all__ = ["TypeScope", "compares_instants", "is_instant"]

_INSTANT_FUNCTIONS = frozenset({"now", "timestamp", "addDuration"})
_ONE_OF_MANY = frozenset({"First", "first", "Last", "last", "Nodes", "nodes"})


@dataclass(frozen=True, slots=True)
class TypeScope:
    """What is declared around an expression: the row's concept, the arguments, and of which concept bindings
    are."""

    concept: Concept | None = None
    args: Mapping[str, ArgSpec] = field(default_factory=dict)
    bindings: Mapping[str, Concept] = field(default_factory=dict)

    @classmethod
    def of(cls, concept: Concept | None, args: tuple[ArgSpec, ...]) -> TypeScope:
        """The scope of a construct's own expressions."""
        return cls(concept, {spec.name: spec for spec in args})


def _is_datetime(type_: ast.TypeExpr | None) -> bool:
    if isinstance(type_, ast.ListType):
        return _is_datetime(type_.item)
    return isinstance(type_, ast.ScalarType) and type_.name == "datetime"


def _payload_field(concept: Concept, path: tuple[str | int, ...]) -> Field | None:
    named = tuple(segment for segment in path if isinstance(segment, str))
    return concept.path(named)


def _node_path(concept: Concept, path: tuple[str | int, ...]) -> bool:
    """Whether a path below a node of ``concept`` is a date-time; members that are no intrinsic read the
    payload."""
    if path == ("createdAt",):
        return True
    found = _payload_field(concept, path[1:] if path[:1] == ("payload",) else path)
    return found is not None and _is_datetime(found.type)


def _path_is_instant(path: tuple[str | int, ...], scope: TypeScope) -> bool:
    root, rest = path[0], path[1:]
    if root == "args":
        spec = scope.args.get(str(rest[0])) if rest else None
        return spec is not None and len(rest) == 1 and _is_datetime(spec.type)
    if path in (("now",), ("createdAt",), ("actor", "now"), ("event", "timestamp")):
        return True
    if root == "payload" and scope.concept is not None and rest:
        return _node_path(scope.concept, path)
    concept = scope.bindings.get(str(root))
    return concept is not None and bool(rest) and _node_path(concept, rest)


def _accessor_path(expr: ast.Expr) -> tuple[str | int, ...] | None:
    """The path of ``overdue.First().dueAt`` with the accessors left out."""
    segments: list[str | int] = []
    while not isinstance(expr, ast.Name):
        if isinstance(expr, ast.Member):
            segments.append(expr.name)
            expr = expr.base
        elif isinstance(expr, ast.Call) and isinstance(expr.callee, ast.Member):
            if expr.callee.name not in _ONE_OF_MANY:
                return None
            expr = expr.callee.base
        elif isinstance(expr, ast.Index):
            expr = expr.base
        else:
            return None
    return (expr.name, *reversed(segments))


def is_instant(expr: ast.Expr, scope: TypeScope) -> bool:
    """Whether the declared type of an expression is ``datetime`` (of a list: of its elements)."""
    match expr:
        case ast.Name() | ast.Member() | ast.Index():
            path = _accessor_path(expr)
            return path is not None and _path_is_instant(path, scope)
        case ast.Call(callee=ast.Name(name=name), args=args):
            if name == "coalesce":
                return any(is_instant(arg, scope) for arg in args)
            return name in _INSTANT_FUNCTIONS or (name == "cond" and any(is_instant(arg, scope) for arg in args[1:]))
        case ast.BinaryOp(op="??", left=left, right=right):
            return is_instant(left, scope) or is_instant(right, scope)
        case ast.Cond(then=then, otherwise=otherwise):
            return is_instant(then, scope) or is_instant(otherwise, scope)
        case ast.ListExpr(items=items):
            return any(is_instant(item, scope) for item in items)
        case _:
            return False


def compares_instants(comparison: ast.Compare, scope: TypeScope) -> bool:
    """Whether a comparison is one of moments: either side is a date-time by declaration."""
    return is_instant(comparison.left, scope) or is_instant(comparison.right, scope)
