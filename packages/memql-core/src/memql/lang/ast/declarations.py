"""Files and their declarations, one class per construct."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal as OneOf
from typing import TypeAlias

from memql.lang.ast._node import NO_SPAN, Node, Span
from memql.lang.ast.expressions import Block, Expr, ObjectExpr
from memql.lang.ast.types import Annotation, FieldDecl

__all__ = [
    "Action",
    "ArgsClause",
    "AsOfClause",
    "AutomationDecl",
    "BuiltinDecl",
    "Clause",
    "ConceptDecl",
    "CountClause",
    "Decl",
    "EnvRef",
    "File",
    "FilterClause",
    "LogicDecl",
    "MutationDecl",
    "PaginateClause",
    "PolicyDecl",
    "PromptDecl",
    "ProviderDecl",
    "QueryDecl",
    "SeedBlock",
    "SeedDecl",
    "SeedEntry",
    "ShapeClause",
    "ShapeDecl",
    "ShapeInclude",
    "ShapePath",
    "SortClause",
    "SpecDecl",
    "Step",
    "ToolDecl",
    "TraitDecl",
    "Use",
    "UseSymbol",
    "Write",
    "WriteEntry",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decl(Node):
    name: str
    annotations: tuple[Annotation, ...] = ()
    doc: str | None = None
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptDecl(_Decl):
    """``concept name { fields }``; ``body_annotations`` are those written inside the braces on no field."""

    fields: tuple[FieldDecl, ...]
    body_annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class ShapePath(Node):
    """``row.id as key``; ``path`` begins with row, payload or actor."""

    path: tuple[str, ...]
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class ShapeInclude(Node):
    """``include other``."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeDecl(_Decl):
    """``shape [concept] name { .. }``."""

    concept: str | None
    items: tuple[ShapePath | ShapeInclude, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecDecl(_Decl):
    """``spec name { filter }``."""

    filter: Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class TraitDecl(_Decl):
    """``trait name { filter }``."""

    filter: Expr


@dataclass(frozen=True, slots=True)
class ArgsClause(Node):
    """``args { fields }``."""

    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True, slots=True)
class FilterClause(Node):
    """``filter f``."""

    filter: Expr


@dataclass(frozen=True, slots=True)
class ShapeClause(Node):
    """``shape name``."""

    name: str


@dataclass(frozen=True, slots=True)
class SortClause(Node):
    """``sort "f", "asc", ..``; ``items`` are the strings as written (the checker pairs them)."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PaginateClause(Node):
    """``paginate 20`` or ``paginate args.limit``."""

    limit: Expr


@dataclass(frozen=True, slots=True)
class AsOfClause(Node):
    """``asOf latest`` (None) or ``asOf <expr>``."""

    at: Expr | None


@dataclass(frozen=True, slots=True)
class CountClause(Node):
    """``count``."""


Clause: TypeAlias = ArgsClause | FilterClause | ShapeClause | SortClause | PaginateClause | AsOfClause | CountClause


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryDecl(_Decl):
    """``query concept name { clauses }``; repeated clauses are kept for the checker to refuse."""

    concept: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class WriteEntry(Node):
    """``key: value``; the shorthand ``args.x`` has ``shorthand=True`` and its path as value (key = last segment)."""

    key: str
    value: Expr
    shorthand: bool = False


@dataclass(frozen=True, slots=True)
class Write(Node):
    """``insert [concept] { entries }`` and its kin."""

    kind: OneOf["insert", "update", "delete"]
    concept: str | None
    entries: tuple[WriteEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationDecl(_Decl):
    """``mutation concept name { .. }``; exactly one write is the checker's rule, not the grammar's."""

    concept: str
    clauses: tuple[ArgsClause | FilterClause, ...]
    writes: tuple[Write, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicDecl(_Decl):
    """``logic name { args body }``."""

    args: tuple[FieldDecl, ...]
    body: Block
    args_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Action(Node):
    """What a step does: ``kind`` is logic, query, mutation, builtin, automation or publishEvent (then no target)."""

    kind: str
    target: str
    argument: ObjectExpr


@dataclass(frozen=True, slots=True)
class Step(Node):
    """``step name { [if c {] action [}] }``."""

    name: str
    test: Expr | None
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomationDecl(_Decl):
    """``automation name { [args] steps }``."""

    args: tuple[FieldDecl, ...] | None
    steps: tuple[Step, ...]
    args_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinDecl(_Decl):
    """``builtin name { fields }``."""

    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDecl(_Decl):
    """``prompt name { fields }``."""

    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDecl(_Decl):
    """``tool name { fields }``."""

    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True, slots=True)
class EnvRef(Node):
    """``env("NAME")`` in a provider's auth block."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDecl(_Decl):
    """``provider name { auth { .. } params { .. } }``."""

    auth: tuple[tuple[str, str | EnvRef], ...]
    params: tuple[tuple[str, Expr], ...]
    auth_span: Span = field(default=NO_SPAN, compare=False, repr=False)
    params_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecl(_Decl):
    """``policy name { .. }``: a routing policy has neither; a decision policy has ``returns`` or ``body``."""

    args: tuple[FieldDecl, ...]
    returns: Expr | None = None
    body: Block | None = None
    args_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SeedEntry(Node):
    """``key: literal`` or ``key { .. }``."""

    key: str
    value: Expr | SeedBlock


@dataclass(frozen=True, slots=True)
class SeedBlock(Node):
    """``{ entries }``."""

    entries: tuple[SeedEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDecl(_Decl):
    """``seed concept name { .. }``."""

    concept: str
    body: SeedBlock


Decl: TypeAlias = (
    ConceptDecl
    | ShapeDecl
    | SpecDecl
    | TraitDecl
    | QueryDecl
    | MutationDecl
    | LogicDecl
    | AutomationDecl
    | BuiltinDecl
    | PromptDecl
    | ToolDecl
    | ProviderDecl
    | PolicyDecl
    | SeedDecl
)


@dataclass(frozen=True, slots=True)
class UseSymbol(Node):
    """``symbol [as alias]``."""

    name: str
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Use(Node):
    """``use a.b.{ x, y as z }``."""

    module: tuple[str, ...]
    symbols: tuple[UseSymbol, ...]


@dataclass(frozen=True, slots=True)
class File(Node):
    """One source file. ``annotations`` are file defaults (those before the first ``use``)."""

    annotations: tuple[Annotation, ...]
    uses: tuple[Use, ...]
    decls: tuple[Decl, ...]
