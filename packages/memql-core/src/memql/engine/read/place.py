"""Where an expression stands: what its names mean, which rows it is about, and what guards its evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from memql.lang import ast
from memql.lang.catalog import ArgSpec, Catalog, Scope

__all__ = [
    "ENGINE_NAMES",
    "ROW_ROOTS",
    "ArgPath",
    "Place",
    "argument_path",
    "argument_paths",
    "children",
    "row_path",
    "tree_scope",
    "variable_names",
]

ArgPath = tuple[str | int, ...]

ROW_ROOTS = frozenset(
    {"id", "concept", "type", "createdAt", "createdBy", "payload", "schema", "provenance", "metadata"}
)
"""The intrinsics of a row, and its payload."""

ENGINE_NAMES = frozenset({"args", "actor", "now", "partition", "config", "trace"})
"""Names the engine gives a meaning everywhere."""


@dataclass(frozen=True, slots=True)
class Place:
    """The surroundings of an expression.

    :param concepts: what the row may be; None while unknown.
    :param frame: the slot with the environment of an inlined query; -1 for the call's own.
    :param guards: slots with the truth they have wherever this is evaluated.
    :param given: arguments that cannot be null here, because ``?.`` or ``when`` asked.
    :param unruled: whether selections below are part of a row rule, so that row rules do not apply in turn.
    :param expanding: names of inline specs and queries being expanded.
    :param depth: how many levels relationship functions go.
    """

    scope: Scope
    concepts: frozenset[str] | None = None
    args: Mapping[str, ArgSpec] = field(default_factory=dict)
    lets: Mapping[str, ast.Expr] = field(default_factory=dict)
    frame: int = -1
    guards: tuple[tuple[int, bool], ...] = ()
    given: frozenset[ArgPath] = frozenset()
    unruled: bool = False
    expanding: frozenset[str] = frozenset()
    depth: int = 1

    def narrowed(self, concepts: frozenset[str] | None) -> Place:
        """The same place for fewer concepts."""
        if concepts is None or concepts == self.concepts:
            return self
        return replace(self, concepts=concepts if self.concepts is None else self.concepts & concepts)

    def about(self, concepts: frozenset[str] | None) -> Place:
        """The same place for another row."""
        return replace(self, concepts=concepts)

    def guarded(self, slot: int, truth: bool, given: frozenset[ArgPath] = frozenset()) -> Place:
        """The same place where ``slot`` is known to be ``truth``."""
        return replace(self, guards=(*self.guards, (slot, truth)), given=self.given | given)


def tree_scope(catalog: Catalog) -> Scope:
    """The scope of raw text: every name of the tree, and concepts by their short name where only one has it."""
    names = Counter(concept.name for concept in catalog.concepts.values())
    return Scope(
        concepts={concept.name: key for key, concept in catalog.concepts.items() if names[concept.name] == 1},
        predicates={key: key for key in catalog.specs},
        calls={key: key for key in catalog.queries},
        shapes={key: key for key in catalog.shapes},
        prompts={key: key for key in catalog.prompts},
        providers={key: key for key in catalog.providers},
    )


def row_path(expr: ast.Expr) -> tuple[str, tuple[str | int, ...]] | None:
    """The root and segments of a path with constant indexes (``payload.tags[0]``), or None."""
    segments: list[str | int] = []
    while True:
        match expr:
            case ast.Member(base=base, name=name):
                segments.append(name)
            case ast.Index(base=base, index=ast.Literal(value=str() | int() as index)) if index is not True and (
                index is not False
            ):
                segments.append(index)
            case ast.Name(name=name):
                return name, tuple(reversed(segments))
            case _:
                return None
        expr = base


def argument_path(expr: ast.Expr) -> ArgPath | None:
    """``("x", "y")`` of ``args.x.y``."""
    path = ast.path_of(expr)
    return path[1:] if path and path[0] == "args" and len(path) > 1 else None


def argument_paths(expr: ast.Expr) -> frozenset[ArgPath]:
    """Every argument a term mentions."""
    path = argument_path(expr)
    if path is not None:
        return frozenset({path})
    return frozenset[ArgPath]().union(*map(argument_paths, children(expr)))


def variable_names(expr: ast.Expr) -> frozenset[str]:
    """The variables of the request that an expression mentions."""
    if isinstance(expr, ast.Var):
        return frozenset({expr.name})
    return frozenset[str]().union(*map(variable_names, children(expr)))


def children(expr: ast.Expr) -> tuple[ast.Expr, ...]:
    """The direct parts of an expression."""
    match expr:
        case ast.Compare(left=left, right=right) | ast.BinaryOp(left=left, right=right):
            return left, right
        case ast.BoolOp(items=items) | ast.ListExpr(items=items):
            return items
        case ast.Unary(operand=part) | ast.Member(base=part) | ast.OptionalTerm(term=part) | ast.When(body=part):
            return (part,)
        case ast.Relation(filter=part):
            return (part,)
        case ast.Index(base=base, index=index):
            return base, index
        case ast.Cond(test=test, then=then, otherwise=otherwise):
            return test, then, otherwise
        case ast.ObjectExpr(entries=entries):
            return tuple(value for _, value in entries)
        case ast.Call(callee=callee, args=args, named=named):
            return (callee, *args, *(value for _, value in named))
        case _:
            return ()
