"""The abstract syntax of memQL: what the one grammar produces for files, raw queries, filters, handlers and seeds.

Every node is frozen and compares by content; ``span`` says where it stood and takes no part in comparison, so that
``parse(format(tree)) == tree``. Synonyms are resolved here (``integer`` is ``int``, ``nil`` is ``null``, ``;`` in a
filter is ``&&``); nothing else is: names are still text, and whether they mean anything is the checker's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal as OneOf
from typing import TypeAlias

__all__ = [
    "NO_SPAN",
    "Action",
    "Annotation",
    "AnnotationArg",
    "ArgsClause",
    "AsOfClause",
    "AssignStmt",
    "AutomationDecl",
    "BinaryOp",
    "Block",
    "BoolOp",
    "BuiltinDecl",
    "Call",
    "CallRead",
    "Clause",
    "Compare",
    "ConceptDecl",
    "ConceptRef",
    "Cond",
    "CountClause",
    "Decl",
    "DeleteRequest",
    "DirectiveRead",
    "EnumType",
    "EnvRef",
    "Expr",
    "ExprStmt",
    "FieldDecl",
    "File",
    "FilterClause",
    "FilterRead",
    "ForStmt",
    "IfExpr",
    "IfStmt",
    "Index",
    "InsertRequest",
    "ListExpr",
    "ListType",
    "Literal",
    "LogicDecl",
    "MapType",
    "Member",
    "MutationDecl",
    "Name",
    "ObjectExpr",
    "OptionalTerm",
    "PaginateClause",
    "PolicyDecl",
    "PromptDecl",
    "ProviderDecl",
    "QueryDecl",
    "Read",
    "Relation",
    "Request",
    "ReturnStmt",
    "ScalarType",
    "SeedBlock",
    "SeedDecl",
    "SeedEntry",
    "ShapeClause",
    "ShapeDecl",
    "ShapeInclude",
    "ShapePath",
    "SortClause",
    "SortKey",
    "Span",
    "SpecDecl",
    "Step",
    "Stmt",
    "ToolDecl",
    "TraitDecl",
    "TypeExpr",
    "Unary",
    "UpdateRequest",
    "Use",
    "UseSymbol",
    "Var",
    "When",
    "Write",
    "WriteEntry",
    "path_of",
]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node stood: 1-based lines and columns (in characters), 0-based half-open offsets."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    start: int
    end: int


NO_SPAN = Span("", 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    span: Span = field(default=NO_SPAN, compare=False, repr=False)


# --- expressions -----------------------------------------------------------------------------------------------------

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Literal(_Node):
    """A string, number, boolean or null."""

    value: Scalar

    def __eq__(self, other: object) -> bool:
        """Equal in type too: ``1``, ``1.0`` and ``true`` are three literals."""
        return isinstance(other, Literal) and type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Name(_Node):
    """A bare identifier: a root (``payload``, ``args``, ``actor``), a binding, a construct or ``now``."""

    name: str


@dataclass(frozen=True, slots=True)
class ConceptRef(_Node):
    """A concept id such as ``v1:ops:job``."""

    id: str


@dataclass(frozen=True, slots=True)
class Var(_Node):
    """``$name``: a typed value of the request; in a tool handler ``$args.path`` is ``Member(Var("args"), ..)``."""

    name: str


@dataclass(frozen=True, slots=True)
class ListExpr(_Node):
    """``[a, b]``, or the parenthesised right side of ``in``."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class ObjectExpr(_Node):
    """``{a: 1, "b c": 2}``. A bare path entry ``x.y`` is stored as ``("y", <path>)``. Keys may repeat; the checker
    refuses that."""

    entries: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Member(_Node):
    """``base.name``; a digit segment (``payload.tags.0``) has an ``int`` name."""

    base: Expr
    name: str | int


@dataclass(frozen=True, slots=True)
class Index(_Node):
    """``base[index]``."""

    base: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class Call(_Node):
    """``callee(a, b)`` or ``callee(name: a)``; positional and named arguments do not mix."""

    callee: Expr
    args: tuple[Expr, ...] = ()
    named: tuple[tuple[str, Expr], ...] = ()


@dataclass(frozen=True, slots=True)
class Unary(_Node):
    """``!x`` or ``-x``. A minus directly before a number is part of the literal."""

    op: OneOf["!", "-"]
    operand: Expr


@dataclass(frozen=True, slots=True)
class BinaryOp(_Node):
    """Arithmetic or ``??``, left-associative."""

    op: OneOf["+", "-", "*", "/", "%", "??"]
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(_Node):
    """One comparison; they never chain."""

    op: OneOf["==", "!=", ">", ">=", "<", "<=", "has", "startsWith", "matches", "in", "not in"]
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class BoolOp(_Node):
    """Two or more operands; nested only where the source had parentheses (an optional term belongs to its list)."""

    op: OneOf["&&", "||"]
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Cond(_Node):
    """``test ? then : otherwise``."""

    test: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class OptionalTerm(_Node):
    """``?.payload.x == args.x``: leaves its list when the argument is null. ``term`` is the comparison."""

    term: Expr


@dataclass(frozen=True, slots=True)
class When(_Node):
    """``when(args.x) { filter }``: leaves its list when the argument is null. ``path`` is without ``args``."""

    path: tuple[str, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class Relation(_Node):
    """``childOf(filter)`` and its kin, in a filter: "is in the set this yields"."""

    function: str
    filter: Expr


@dataclass(frozen=True, slots=True)
class IfExpr(_Node):
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


# --- statements ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block(_Node):
    """``{ statements }``."""

    statements: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class AssignStmt(_Node):
    """``name := value``."""

    name: str
    value: Expr | IfExpr


@dataclass(frozen=True, slots=True)
class IfStmt(_Node):
    """``if`` as a statement."""

    branch: IfExpr


@dataclass(frozen=True, slots=True)
class ForStmt(_Node):
    """``for name := range source { .. }``."""

    name: str
    source: Expr
    body: Block


@dataclass(frozen=True, slots=True)
class ReturnStmt(_Node):
    """``return value``."""

    value: Expr


@dataclass(frozen=True, slots=True)
class ExprStmt(_Node):
    """An expression for its effect, such as a mutation call."""

    value: Expr


Stmt: TypeAlias = AssignStmt | IfStmt | ForStmt | ReturnStmt | ExprStmt


# --- types and annotations -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScalarType(_Node):
    """A named type. ``name`` is any identifier: an unknown one is the checker's ``unknown-type``."""

    name: str


@dataclass(frozen=True, slots=True)
class EnumType(_Node):
    """``enum("a", "b")``."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListType(_Node):
    """``[]T`` and its synonyms ``array`` (of any) and ``array(T)``."""

    item: TypeExpr


@dataclass(frozen=True, slots=True)
class MapType(_Node):
    """``map(string, T)``, ``map[string]T``; plain ``map`` is a map of any."""

    value: TypeExpr


TypeExpr: TypeAlias = ScalarType | EnumType | ListType | MapType


@dataclass(frozen=True, slots=True)
class AnnotationArg(_Node):
    """One argument: ``name`` is empty when positional. A bare path is a path expression, never a string."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Annotation(_Node):
    """``@name(args)``. ``called`` tells ``@x()`` from ``@x``. ``@filter``'s one argument is a filter."""

    name: str
    args: tuple[AnnotationArg, ...] = ()
    called: bool = False


@dataclass(frozen=True, slots=True)
class FieldDecl(_Node):
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


# --- declarations ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decl(_Node):
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
class ShapePath(_Node):
    """``row.id as key``; ``path`` begins with row, payload or actor."""

    path: tuple[str, ...]
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class ShapeInclude(_Node):
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
class ArgsClause(_Node):
    """``args { fields }``."""

    fields: tuple[FieldDecl, ...]


@dataclass(frozen=True, slots=True)
class FilterClause(_Node):
    """``filter f``."""

    filter: Expr


@dataclass(frozen=True, slots=True)
class ShapeClause(_Node):
    """``shape name``."""

    name: str


@dataclass(frozen=True, slots=True)
class SortKey(_Node):
    """One field and its direction."""

    field: str
    direction: str


@dataclass(frozen=True, slots=True)
class SortClause(_Node):
    """``sort "f", "asc", ..``; ``items`` are the strings as written (the checker pairs them)."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PaginateClause(_Node):
    """``paginate 20`` or ``paginate args.limit``."""

    limit: Expr


@dataclass(frozen=True, slots=True)
class AsOfClause(_Node):
    """``asOf latest`` (None) or ``asOf <expr>``."""

    at: Expr | None


@dataclass(frozen=True, slots=True)
class CountClause(_Node):
    """``count``."""


Clause: TypeAlias = ArgsClause | FilterClause | ShapeClause | SortClause | PaginateClause | AsOfClause | CountClause


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryDecl(_Decl):
    """``query concept name { clauses }``; repeated clauses are kept for the checker to refuse."""

    concept: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class WriteEntry(_Node):
    """``key: value``; the shorthand ``args.x`` has ``shorthand=True`` and its path as value (key = last segment)."""

    key: str
    value: Expr
    shorthand: bool = False


@dataclass(frozen=True, slots=True)
class Write(_Node):
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
class Action(_Node):
    """What a step does: ``kind`` is logic, query, mutation, builtin, automation or publishEvent (then no target)."""

    kind: str
    target: str
    argument: ObjectExpr


@dataclass(frozen=True, slots=True)
class Step(_Node):
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
class EnvRef(_Node):
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
class SeedEntry(_Node):
    """``key: literal`` or ``key { .. }``."""

    key: str
    value: Expr | SeedBlock


@dataclass(frozen=True, slots=True)
class SeedBlock(_Node):
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
class UseSymbol(_Node):
    """``symbol [as alias]``."""

    name: str
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class Use(_Node):
    """``use a.b.{ x, y as z }``."""

    module: tuple[str, ...]
    symbols: tuple[UseSymbol, ...]


@dataclass(frozen=True, slots=True)
class File(_Node):
    """One source file. ``annotations`` are file defaults (those before the first ``use``)."""

    annotations: tuple[Annotation, ...]
    uses: tuple[Use, ...]
    decls: tuple[Decl, ...]


# --- raw requests ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FilterRead(_Node):
    """A filter, optionally ``@ "ts"``. ``concept_cache`` and ``concept_fields`` are the ``@cache(n)`` and
    ``@fields(..)`` that may stand before ``concept ==``."""

    filter: Expr
    as_of: str | None = None
    concept_cache: int | None = None
    concept_fields: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CallRead(_Node):
    """A call of a named construct, a relationship function excepted; ``call.callee`` is a Name.

    One positional ObjectExpr, one positional string, named arguments, or nothing."""

    call: Call


@dataclass(frozen=True, slots=True)
class DirectiveRead(_Node):
    """``sort(read, ..)`` and its kin; ``args`` are what follows the read. ``latest`` is ``Name("latest")``."""

    directive: str
    read: Read
    args: tuple[Expr, ...]


Read: TypeAlias = FilterRead | CallRead | DirectiveRead


@dataclass(frozen=True, slots=True)
class InsertRequest(_Node):
    """``insert("concept", id=.., payload=.., parent=.., aliasOf=..)``."""

    concept: str
    named: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class UpdateRequest(_Node):
    """``update("concept", id=.., payload=.., ifVersion=..)``."""

    concept: str
    named: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class DeleteRequest(_Node):
    """``delete("concept", id=.., reason=..)``."""

    concept: str
    named: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Request(_Node):
    """One raw query: inline specs, then a read or a write."""

    lets: tuple[tuple[str, Expr], ...]
    operation: Read | InsertRequest | UpdateRequest | DeleteRequest
