"""Expressions, filters and the statements of bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as OneOf
from typing import TypeAlias

from memql.lang.ast._node import Node

__all__ = [
    "AssignStmt",
    "BinaryOp",
    "Block",
    "BoolOp",
    "Call",
    "Compare",
    "ConceptRef",
    "Cond",
    "Expr",
    "ExprStmt",
    "ForStmt",
    "IfExpr",
    "IfStmt",
    "Index",
    "ListExpr",
    "Literal",
    "Member",
    "Name",
    "ObjectExpr",
    "OptionalTerm",
    "Relation",
    "ReturnStmt",
    "Stmt",
    "Unary",
    "Var",
    "When",
    "path_of",
]

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A string, number, boolean or null."""

    value: Scalar

    def __eq__(self, other: object) -> bool:
        """Equal in type too: ``1``, ``1.0`` and ``true`` are three literals."""
        return isinstance(other, Literal) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A bare identifier: a root (``payload``, ``args``, ``actor``), a binding, a construct or ``now``."""

    name: str


@dataclass(frozen=True, slots=True)
class ConceptRef(Node):
    """A concept id such as ``v1:ops:job``."""

    id: str


@dataclass(frozen=True, slots=True)
class Var(Node):
    """``$name``: a typed value of the request; in a tool handler ``$args.path`` is ``Member(Var("args"), ..)``."""

    name: str


@dataclass(frozen=True, slots=True)
class ListExpr(Node):
    """``[a, b]``, or the parenthesised right side of ``in``."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class ObjectExpr(Node):
    """``{a: 1, "b c": 2}``. A bare path entry ``x.y`` is stored as ``("y", <path>)``. Keys may repeat; the checker
    refuses that."""

    entries: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Member(Node):
    """``base.name``; a digit segment (``payload.tags.0``) has an ``int`` name."""

    base: Expr
    name: str | int


@dataclass(frozen=True, slots=True)
class Index(Node):
    """``base[index]``."""

    base: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class Call(Node):
    """``callee(a, b)`` or ``callee(name: a)``; positional and named arguments do not mix."""

    callee: Expr
    args: tuple[Expr, ...] = ()
    named: tuple[tuple[str, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``!x`` or ``-x``. A minus directly before a number is part of the literal."""

    op: OneOf["!", "-"]
    operand: Expr


@dataclass(frozen=True, slots=True)
class BinaryOp(Node):
    """Arithmetic or ``??``, left-associative."""

    op: OneOf["+", "-", "*", "/", "%", "??"]
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """One comparison; they never chain."""

    op: OneOf["==", "!=", ">", ">=", "<", "<=", "has", "startsWith", "matches", "in", "not in"]
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class BoolOp(Node):
    """Two or more operands; nested only where the source had parentheses (an optional term belongs to its list)."""

    op: OneOf["&&", "||"]
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Cond(Node):
    """``test ? then : otherwise``."""

    test: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class OptionalTerm(Node):
    """``?.payload.x == args.x``: leaves its list when the argument is null. ``term`` is the comparison."""

    term: Expr


@dataclass(frozen=True, slots=True)
class When(Node):
    """``when(args.x) { filter }``: leaves its list when the argument is null. ``path`` is without ``args``."""

    path: tuple[str, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Relation(Node):
    """``childOf(filter)`` and its kin, in a filter: "is in the set this yields"."""

    function: str
    filter: Expr


@dataclass(frozen=True, slots=True)
class IfExpr(Node):
    """``if c { .. } else { .. }`` as the value of ``:=``: the last call's result. ``otherwise`` may be an IfExpr."""

    test: Expr
    then: Block
    otherwise: IfExpr | Block | None = None


Expr: TypeAlias = (
    Literal
    | Name
    | ConceptRef
    | Var
    | ListExpr
    | ObjectExpr
    | Member
    | Index
    | Call
    | Unary
    | BinaryOp
    | Compare
    | BoolOp
    | Cond
    | OptionalTerm
    | When
    | Relation
)


def path_of(expr: Expr) -> tuple[str | int, ...] | None:
    """The segments of a plain dotted path (``payload.a.0`` is ``("payload", "a", 0)``), or None for anything else."""
    segments: list[str | int] = []
    while isinstance(expr, Member):
        segments.append(expr.name)
        expr = expr.base
    if not isinstance(expr, Name):
        return None
    segments.append(expr.name)
    return tuple(reversed(segments))


# --- statements -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block(Node):
    """``{ statements }``."""

    statements: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class AssignStmt(Node):
    """``name := value``."""

    name: str
    value: Expr | IfExpr


@dataclass(frozen=True, slots=True)
class IfStmt(Node):
    """``if`` as a statement."""

    branch: IfExpr


@dataclass(frozen=True, slots=True)
class ForStmt(Node):
    """``for name := range source { .. }``."""

    name: str
    source: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class ReturnStmt(Node):
    """``return value``."""

    value: Expr


@dataclass(frozen=True, slots=True)
class ExprStmt(Node):
    """An expression for its effect, such as a mutation call."""

    value: Expr


Stmt: TypeAlias = AssignStmt | IfStmt | ForStmt | ReturnStmt | ExprStmt
