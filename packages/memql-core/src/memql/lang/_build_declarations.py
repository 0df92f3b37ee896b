"""Builders of files, declarations, annotations, fields and clauses: one function per production."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from memql.lang import ast
from memql.lang._build_expressions import Filter
from memql.lang._source import ParseError, Source, action
from memql.lang.lexer import Token
from memql.lang.words import CLAUSES

__all__: list[str] = []

_SYNONYMS = {"integer": "int", "number": "float", "boolean": "bool"}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A declaration that waits for its annotations and documentation."""

    kind: type[Any]
    start: int
    fields: dict[str, Any]


# --- files -----------------------------------------------------------------------------------------------------------


@action("file")
def _file(s: Source, c: list[Any], start: int, end: int) -> ast.File:
    annotations: tuple[ast.Annotation, ...] = ()
    if c and isinstance(c[0], tuple):
        annotations, c = c[0], c[1:]
    uses = tuple(item for item in c if isinstance(item, ast.Use))
    return ast.File(annotations, uses, tuple(c[len(uses) :]), span=s.span(start, end))


@action("use")
def _use(s: Source, c: list[Any], start: int, end: int) -> ast.Use:
    module = tuple(item.value for item in c if isinstance(item, Token))
    return ast.Use(module, tuple(c[len(module) :]), span=s.span(start, end))


@action("symbol")
def _symbol(s: Source, c: list[Any], start: int, end: int) -> ast.UseSymbol:
    return ast.UseSymbol(c[0].value, c[1].value if len(c) > 1 else None, span=s.span(start, end))


@action("declaration")
def _declaration(s: Source, c: list[Any], start: int, end: int) -> ast.Decl:
    draft: _Draft = c[-1]
    annotations: tuple[ast.Annotation, ...] = c[0] if len(c) > 1 else ()
    doc = s.take_doc(*(annotation.span.start for annotation in annotations), draft.start)
    decl: ast.Decl = draft.kind(**draft.fields, annotations=annotations, doc=doc, span=s.span(start, end))
    return decl


def _draft(s: Source, kind: type[Any], name: Token, start: int, **fields: Any) -> _Draft:
    return _Draft(kind, start, {"name": name.value, "name_span": s.span(name.start, name.end), **fields})


# --- annotations -----------------------------------------------------------------------------------------------------


@action("annotations")
def _annotations(s: Source, c: list[Any], start: int, end: int) -> tuple[ast.Annotation, ...]:
    return tuple(c)


@action("annotation")
def _annotation(s: Source, c: list[Any], start: int, end: int) -> ast.Annotation:
    return ast.Annotation(c[0].value, span=s.span(start, end))


@action("annotation_call")
def _annotation_call(s: Source, c: list[Any], start: int, end: int) -> ast.Annotation:
    return ast.Annotation(c[0].value, tuple(c[1:]), called=True, span=s.span(start, end))


@action("filter_annotation")
def _filter_annotation(s: Source, c: list[Any], start: int, end: int) -> ast.Annotation:
    args = tuple(ast.AnnotationArg("", item.expr, span=item.expr.span) for item in c)
    return ast.Annotation("filter", args, called=bool(args), span=s.span(start, end))


@action("annotation_arg")
def _annotation_arg(s: Source, c: list[Any], start: int, end: int) -> ast.AnnotationArg:
    return ast.AnnotationArg("", c[0], span=s.span(start, end))


@action("named_annotation_arg")
def _named_annotation_arg(s: Source, c: list[Any], start: int, end: int) -> ast.AnnotationArg:
    return ast.AnnotationArg(c[0].value, c[1], span=s.span(start, end))


# --- fields and types ------------------------------------------------------------------------------------------------


class _Required:
    """The ``!`` mark."""


@action("required")
def _required(s: Source, c: list[Any], start: int, end: int) -> _Required:
    return _Required()


@action("typed_field", "block_field")
def _field(s: Source, c: list[Any], start: int, end: int) -> ast.FieldDecl:
    type_: ast.TypeExpr | None = None
    fields: tuple[ast.FieldDecl, ...] | None = None
    annotations: list[ast.Annotation] = []
    required = False
    for item in c[1:]:
        if isinstance(item, ast.Annotation):
            annotations.append(item)
        elif isinstance(item, _Required):
            required = True
        elif isinstance(item, tuple):
            fields = item
        else:
            type_ = item
    return ast.FieldDecl(
        c[0].value,
        type_,
        required,
        tuple(annotations),
        fields,
        s.take_doc(start),
        span=s.span(start, end),
    )


@action("field_block")
def _field_block(s: Source, c: list[Any], start: int, end: int) -> tuple[ast.FieldDecl, ...]:
    return tuple(c)


@action("scalar_type")
def _scalar_type(s: Source, c: list[Any], start: int, end: int) -> ast.ScalarType:
    name = c[0].value
    return ast.ScalarType(_SYNONYMS.get(name, name), span=s.span(start, end))


@action("enum_type")
def _enum_type(s: Source, c: list[Any], start: int, end: int) -> ast.EnumType:
    return ast.EnumType(tuple(token.value for token in c), span=s.span(start, end))


@action("list_type")
def _list_type(s: Source, c: list[Any], start: int, end: int) -> ast.ListType:
    span = s.span(start, end)
    return ast.ListType(c[0] if c else ast.ScalarType("any", span=span), span=span)


@action("map_type")
def _map_type(s: Source, c: list[Any], start: int, end: int) -> ast.MapType:
    span = s.span(start, end)
    return ast.MapType(c[0] if c else ast.ScalarType("any", span=span), span=span)


# --- concepts, shapes, predicates ------------------------------------------------------------------------------------


@action("concept")
def _concept(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    fields = tuple(item for item in c[1:] if isinstance(item, ast.FieldDecl))
    loose = tuple(item for item in c[1:] if isinstance(item, ast.Annotation))
    return _draft(s, ast.ConceptDecl, c[0], start, fields=fields, body_annotations=loose)


@action("shape")
def _shape(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    bound = isinstance(c[1], Token) if len(c) > 1 else False
    items = tuple(c[2:] if bound else c[1:])
    return _draft(s, ast.ShapeDecl, c[1] if bound else c[0], start, concept=c[0].value if bound else None, items=items)


@action("shape_path")
def _shape_path(s: Source, c: list[Any], start: int, end: int) -> ast.ShapePath:
    alias = c[-1] if isinstance(c[-1], str) else None
    path = tuple(token.value for token in c if isinstance(token, Token))
    return ast.ShapePath(path, alias, span=s.span(start, end))


@action("shape_key")
def _shape_key(s: Source, c: list[Any], start: int, end: int) -> str:
    return str(c[0].value)


@action("include")
def _include(s: Source, c: list[Any], start: int, end: int) -> ast.ShapeInclude:
    return ast.ShapeInclude(c[0].value, span=s.span(start, end))


def _predicate(kind: type[ast.SpecDecl | ast.TraitDecl], word: str) -> None:
    @action(word)
    def build(s: Source, c: list[Any], start: int, end: int) -> _Draft:
        if len(c) < 2:
            raise ParseError(
                f"the {word} `{c[0].value}` is empty; write the filter it stands for", start, end, code="spec-empty"
            )
        return _draft(s, kind, c[0], start, filter=c[1].expr)


_predicate(ast.SpecDecl, "spec")
_predicate(ast.TraitDecl, "trait")


# --- queries and mutations -------------------------------------------------------------------------------------------


@action("query")
def _query(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    return _draft(s, ast.QueryDecl, c[1], start, concept=c[0].value, clauses=tuple(c[2:]))


@action("args")
def _args(s: Source, c: list[Any], start: int, end: int) -> ast.ArgsClause:
    return ast.ArgsClause(tuple(c), span=s.span(start, end))


@action("filter_clause")
def _filter_clause(s: Source, c: list[Any], start: int, end: int) -> ast.FilterClause:
    built: Filter = c[0]
    terms = built.expr.items if isinstance(built.expr, ast.BoolOp) else (built.expr,)
    for term in terms:
        if isinstance(term, ast.Name) and term.name in CLAUSES:
            raise ParseError(
                f"`{term.name}` begins a clause and cannot name a predicate; the filter before it is incomplete",
                term.span.start,
                term.span.end,
            )
    return ast.FilterClause(built.expr, span=s.span(start, end))


@action("shape_clause")
def _shape_clause(s: Source, c: list[Any], start: int, end: int) -> ast.ShapeClause:
    return ast.ShapeClause(c[0].value, span=s.span(start, end))


@action("sort")
def _sort(s: Source, c: list[Any], start: int, end: int) -> ast.SortClause:
    return ast.SortClause(tuple(token.value for token in c), span=s.span(start, end))


@action("paginate")
def _paginate(s: Source, c: list[Any], start: int, end: int) -> ast.PaginateClause:
    path = ast.path_of(c[0])
    if path is not None and (len(path) != 2 or path[0] != "args"):
        span = c[0].span
        raise ParseError("`paginate` takes a number or `args.<name>`", span.start, span.end)
    return ast.PaginateClause(c[0], span=s.span(start, end))


@action("as_of")
def _as_of(s: Source, c: list[Any], start: int, end: int) -> ast.AsOfClause:
    return ast.AsOfClause(c[0] if c else None, span=s.span(start, end))


@action("count")
def _count(s: Source, c: list[Any], start: int, end: int) -> ast.CountClause:
    return ast.CountClause(span=s.span(start, end))


@action("mutation")
def _mutation(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    writes = tuple(item for item in c[2:] if isinstance(item, ast.Write))
    clauses = tuple(item for item in c[2:] if not isinstance(item, ast.Write))
    return _draft(s, ast.MutationDecl, c[1], start, concept=c[0].value, clauses=clauses, writes=writes)


@action("write_kind", "action_kind", "publish")
def _word(s: Source, c: list[Any], start: int, end: int) -> str:
    return str(c[0].value)


@action("write")
def _write(s: Source, c: list[Any], start: int, end: int) -> ast.Write:
    concept = c[1].value if len(c) > 1 and isinstance(c[1], Token) else None
    entries = tuple(c[1:] if concept is None else c[2:])
    return ast.Write(c[0], concept, entries, span=s.span(start, end))


@action("entry")
def _entry(s: Source, c: list[Any], start: int, end: int) -> ast.WriteEntry:
    return ast.WriteEntry(c[0].value, c[1], span=s.span(start, end))


@action("shorthand_entry")
def _shorthand_entry(s: Source, c: list[Any], start: int, end: int) -> ast.WriteEntry:
    path = ast.path_of(c[0]) or ()
    if len(path) < 2 or path[0] != "args":
        raise ParseError("an entry is `key: value`, or `args.<name>` for `<name>: args.<name>`", start, end)
    return ast.WriteEntry(str(path[-1]), c[0], shorthand=True, span=s.span(start, end))


# --- logic, automations, policies ------------------------------------------------------------------------------------


@action("logic")
def _logic(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    args, span = (c[1].fields, c[1].span) if len(c) > 2 else ((), ast.NO_SPAN)
    return _draft(s, ast.LogicDecl, c[0], start, args=args, body=c[-1], args_span=span)


@action("automation")
def _automation(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    steps = tuple(item for item in c[1:] if isinstance(item, ast.Step))
    if len(c) > 1 and isinstance(c[1], ast.ArgsClause):
        args, span = c[1].fields, c[1].span
        return _draft(s, ast.AutomationDecl, c[0], start, args=args, steps=steps, args_span=span)
    return _draft(s, ast.AutomationDecl, c[0], start, args=None, steps=steps)


@action("step")
def _step(s: Source, c: list[Any], start: int, end: int) -> ast.Step:
    return ast.Step(c[0].value, None, c[1], span=s.span(start, end))


@action("guarded_step")
def _guarded_step(s: Source, c: list[Any], start: int, end: int) -> ast.Step:
    return ast.Step(c[0].value, c[1], c[2], span=s.span(start, end))


@action("action")
def _action(s: Source, c: list[Any], start: int, end: int) -> ast.Action:
    return ast.Action(c[0], c[1].value, c[2], span=s.span(start, end))


@action("publish_action")
def _publish_action(s: Source, c: list[Any], start: int, end: int) -> ast.Action:
    return ast.Action(c[0], "", c[1], span=s.span(start, end))


@action("policy")
def _policy(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    args: tuple[ast.FieldDecl, ...] = ()
    span = ast.NO_SPAN
    returns: ast.Expr | None = None
    body: ast.Block | None = None
    for item in c[1:]:
        if isinstance(item, ast.ArgsClause):
            args, span = item.fields, item.span
        elif isinstance(item, ast.Block):
            body = item
        else:
            returns = item
    return _draft(s, ast.PolicyDecl, c[0], start, args=args, returns=returns, body=body, args_span=span)


@action("returns")
def _returns(s: Source, c: list[Any], start: int, end: int) -> ast.Expr:
    expr: ast.Expr = c[0]
    return expr


# --- builtins, prompts, tools, providers, seeds ----------------------------------------------------------------------

_Fronted: TypeAlias = ast.BuiltinDecl | ast.PromptDecl | ast.ToolDecl


def _fronted(kind: type[_Fronted], word: str) -> None:
    @action(word)
    def build(s: Source, c: list[Any], start: int, end: int) -> _Draft:
        return _draft(s, kind, c[0], start, fields=tuple(c[1:]))


_fronted(ast.BuiltinDecl, "builtin")
_fronted(ast.PromptDecl, "prompt")
_fronted(ast.ToolDecl, "tool")


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    entries: tuple[tuple[str, Any], ...]
    start: int
    end: int


@action("provider")
def _provider(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    fields: dict[str, Any] = {"auth": (), "params": ()}
    for name in ("auth", "params"):
        if parts := [part for part in c[1:] if part.name == name]:
            fields[name] = tuple(entry for part in parts for entry in part.entries)
            fields[f"{name}_span"] = s.span(parts[0].start, parts[-1].end)
    return _draft(s, ast.ProviderDecl, c[0], start, **fields)


@action("auth")
def _auth(s: Source, c: list[Any], start: int, end: int) -> _Section:
    return _Section("auth", tuple(c), start, end)


@action("params")
def _params(s: Source, c: list[Any], start: int, end: int) -> _Section:
    return _Section("params", tuple(c), start, end)


@action("auth_entry")
def _auth_entry(s: Source, c: list[Any], start: int, end: int) -> tuple[str, str | ast.EnvRef]:
    return c[0].value, c[1].value if isinstance(c[1], Token) else c[1]


@action("param")
def _param(s: Source, c: list[Any], start: int, end: int) -> tuple[str, ast.Expr]:
    return c[0].value, c[1]


@action("env")
def _env(s: Source, c: list[Any], start: int, end: int) -> ast.EnvRef:
    return ast.EnvRef(c[0].value, span=s.span(start, end))


@action("seed")
def _seed(s: Source, c: list[Any], start: int, end: int) -> _Draft:
    return _draft(s, ast.SeedDecl, c[1], start, concept=c[0].value, body=c[2])


@action("seed_block")
def _seed_block(s: Source, c: list[Any], start: int, end: int) -> ast.SeedBlock:
    return ast.SeedBlock(tuple(c), span=s.span(start, end))


@action("seed_value", "seed_group")
def _seed_entry(s: Source, c: list[Any], start: int, end: int) -> ast.SeedEntry:
    return ast.SeedEntry(c[0].value, c[1], span=s.span(start, end))
