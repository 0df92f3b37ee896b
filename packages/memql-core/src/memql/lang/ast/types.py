"""Types, annotations and fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from memql.lang.ast._node import Node
from memql.lang.ast.expressions import Expr

__all__ = [
    "Annotation",
    "AnnotationArg",
    "EnumType",
    "FieldDecl",
    "ListType",
    "MapType",
    "ScalarType",
    "TypeExpr",
]


@dataclass(frozen=True, slots=True)
class ScalarType(Node):
    """A named type. ``name`` is any identifier: an unknown one is the checker's ``unknown-type``."""

    name: str


@dataclass(frozen=True, slots=True)
class EnumType(Node):
    """``enum("a", "b")``."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListType(Node):
    """``[]T`` and its synonyms ``array`` (of any) and ``array(T)``."""

    item: TypeExpr


@dataclass(frozen=True, slots=True)
class MapType(Node):
    """``map(string, T)``, ``map[string]T``; plain ``map`` is a map of any."""

    value: TypeExpr


TypeExpr: TypeAlias = ScalarType | EnumType | ListType | MapType


@dataclass(frozen=True, slots=True)
class AnnotationArg(Node):
    """One argument: ``name`` is empty when positional. A bare path is a path expression, never a string."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Annotation(Node):
    """``@name(args)``. ``called`` tells ``@x()`` from ``@x``. ``@filter``'s one argument is a filter."""

    name: str
    args: tuple[AnnotationArg, ...] = ()
    called: bool = False


@dataclass(frozen=True, slots=True)
class FieldDecl(Node):
    """A field of a concept, of an args block, or of a builtin, prompt or tool.

    ``required`` is the ``!`` mark only; ``@required`` stays an annotation. ``fields`` is None without a block.
    ``relationship`` annotations written on a field stay here in source order; the checker hoists them.
    """

    name: str
    type: TypeExpr | None
    required: bool = False
    annotations: tuple[Annotation, ...] = ()
    fields: tuple[FieldDecl, ...] | None = None
    doc: str | None = None
