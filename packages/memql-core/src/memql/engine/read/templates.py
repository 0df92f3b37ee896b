"""Templates: the second form of ``shape(read, ..)``, compiled to SQL that builds the JSON text (spec "Raw query
language", templates).

Every part becomes SQL for JSON text, null where there is nothing: null members of objects are left out, null elements
of lists stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from memql.engine.read import operands
from memql.engine.read.answers import ModelCall
from memql.engine.read.conditions import Conditions
from memql.engine.read.links import Link, links_between
from memql.engine.read.ordering import parse_path
from memql.engine.read.params import as_json, quoted
from memql.engine.read.place import Place
from memql.engine.read.pointers import joined
from memql.engine.read.projection import Projector, object_text
from memql.engine.read.terms import Predicate, Selection
from memql.engine.read.writing import Row
from memql.errors import Code, MemqlError
from memql.lang import ast

if TYPE_CHECKING:
    from memql.engine.read.resolver import Resolver

__all__ = ["Part", "TemplateResolver"]

RELATED: Final = {
    "children": "childOf",
    "parents": "parentOf",
    "contains": "contains",
    "owns": "owns",
    "aliases": "aliasOf",
    "createdBy": "createdBy",
    "interactions": "interactsWith",
}
"""Template functions over related nodes, and the relationship function that yields those of one node."""

Part = Callable[[Row, Projector, Conditions], str]
"""Writes one part of a template for a row."""


class TemplateResolver:
    """Resolves one template.

    :param projected: told the concepts whose rows are returned.
    :param marker: the member that marks what a model call is to replace; it cannot occur in a template.
    """

    def __init__(self, resolver: Resolver, projected: Callable[[frozenset[str]], None], marker: str) -> None:
        self.resolver = resolver
        self.projected = projected
        self.marker = marker
        self.calls: list[ModelCall] = []

    def part(self, expr: ast.Expr, place: Place) -> Part:
        """What a template means for a row of ``place``.

        :raises MemqlError: ``SYNTAX_ERROR`` for anything that is no template.
        """
        match expr:
            case ast.ObjectExpr(entries=entries):
                members = [(key, self.part(value, place)) for key, value in entries]
                return lambda row, projector, conditions: object_text(
                    (key, inner(row, projector, conditions)) for key, inner in members
                )
            case ast.ListExpr(items=items):
                return _list([self.part(item, place) for item in items])
            case ast.Literal(value=value):
                return _constant(value)
            case ast.Var():
                slot = self.resolver.slot(self.resolver.run(expr, place), place)
                return lambda row, projector, conditions: (
                    f"NULLIF({conditions.writing.params.add(slot, as_json, 'jsonb')}::text, 'null')"
                )
            case ast.BinaryOp(op="??", left=left, right=right):
                return _fallback(self.part(left, place), self.part(right, place))
            case ast.Call(callee=ast.Name(name=name)):
                return self._call(name, expr, place)
            case _:
                raise _refused(expr, "this is no template")

    # --- functions -------------------------------------------------------------------------------------------------

    def _call(self, name: str, call: ast.Call, place: Place) -> Part:
        if call.named:
            raise _refused(call, f"{name}(..) takes no named arguments in a template")
        match name, call.args:
            case "node", paths:
                return self._node(paths, place)
            case "literal", (value,):
                return _constant(_literal(value))
            case "json", (inner,):
                text = self.part(inner, place)
                return lambda row, projector, conditions: f"to_json({text(row, projector, conditions)})::text"
            case "match", cases:
                return self._match(call, cases, place)
            case "si", args:
                return self._model_call(call, args, place)
            case _, (inner,) if name in RELATED:
                return self._related(name, inner, place)
            case _:
                raise _refused(call, f"{name}(..) is no template function, or has the wrong arguments")

    def _node(self, paths: tuple[ast.Expr, ...], place: Place) -> Part:
        if not paths:
            return lambda row, projector, conditions: projector.node(row)
        found: dict[str, tuple[str, tuple[str | int, ...]]] = {}
        for path in paths:
            root, segments = self._path(path, place)
            found[str((root, *segments)[-1])] = (root, segments)
        if len(paths) == 1:
            ((root, segments),) = found.values()
            return lambda row, projector, conditions: projector.member(row, root, segments)
        if len(found) < len(paths):
            raise _refused(paths[0], "node(..): two paths end in the same name; write an object instead")
        return lambda row, projector, conditions: object_text(
            (key, projector.member(row, *where)) for key, where in found.items()
        )

    def _path(self, expr: ast.Expr, place: Place) -> tuple[str, tuple[str | int, ...]]:
        if not isinstance(expr, ast.Literal) or not isinstance(expr.value, str):
            raise _refused(expr, 'node(..) takes paths as texts, such as node("payload.title")')
        root, segments = parse_path(expr.value)
        operands.row_value(self.resolver, root, segments, place)
        return root, segments

    def _related(self, name: str, inner: ast.Expr, place: Place) -> Part:
        assert place.concepts is not None
        links = links_between(self.resolver.catalog, RELATED[name], place.concepts, None)
        concepts = frozenset(link.result_concept for link in links)
        self.projected(concepts)
        # A path has to exist on one of the concepts that the relationship leads to, not on all.
        part = self.part(inner, place.about(concepts))
        branches = [
            (link, self.resolver.selection(None, place.about(frozenset({link.result_concept})))) for link in links
        ]

        def write(row: Row, projector: Projector, conditions: Conditions) -> str:
            found = [
                sql
                for link, selection in branches
                if link.inner_concept in row.concepts
                and (sql := _related_rows(link, selection, part, row, projector, conditions))
            ]
            if not found:
                return "'[]'"
            texts = "string_agg(related.text, ',' ORDER BY related.created_at DESC, related.id)"
            union = " UNION ALL ".join(found)
            return f"(SELECT '[' || coalesce({texts}, '') || ']' FROM ({union}) AS related(text, created_at, id))"

        return write

    def _match(self, call: ast.Call, cases: tuple[ast.Expr, ...], place: Place) -> Part:
        branches: list[tuple[Predicate, Part]] = []
        default: Part = _constant(None)
        for number, case in enumerate(cases):
            match case:
                case ast.Call(callee=ast.Name(name="case"), args=(test, value)):
                    predicate = self.resolver.predicate(_node_paths(test), place)
                    branches.append((predicate, self.part(value, place)))
                case ast.Call(callee=ast.Name(name="default"), args=(value,)) if number == len(cases) - 1:
                    default = self.part(value, place)
                case _:
                    raise _refused(call, "match(..) takes case(condition, value), .., and default(value) at the end")

        def write(row: Row, projector: Projector, conditions: Conditions) -> str:
            whens = ""
            for predicate, part in branches:
                test = conditions.predicate(predicate, row)
                if test is not False:
                    condition = "TRUE" if test is True else test
                    whens += f" WHEN {condition} THEN {part(row, projector, conditions)}"
            otherwise = default(row, projector, conditions)
            return f"CASE{whens} ELSE {otherwise} END" if whens else otherwise

        return write

    def _model_call(self, call: ast.Call, args: tuple[ast.Expr, ...], place: Place) -> Part:
        if not 1 <= len(args) <= 4:
            raise _refused(call, 'si(..) is used as si("prompt", {..}[, "provider"][, ttl])')
        name = _literal(args[0])
        if not isinstance(name, str):
            raise _refused(call, "si(..): the prompt is named by a text")
        fields = self.part(args[1], place) if len(args) > 1 else _constant({})
        provider = _literal(args[2]) if len(args) > 2 else None
        ttl = _literal(args[3]) if len(args) > 3 else None
        if isinstance(provider, int | float) and ttl is None:
            provider, ttl = None, provider
        self.calls.append(ModelCall(place.scope.prompts.get(name, name), provider, ttl))
        number, marker = len(self.calls) - 1, self.marker
        return lambda row, projector, conditions: object_text(
            ((marker, quoted(str(number))), ("fields", fields(row, projector, conditions)))
        )


def _related_rows(
    link: Link, selection: Selection, part: Part, row: Row, projector: Projector, conditions: Conditions
) -> str:
    """The query for the related rows over one link; empty when there can be none."""
    other = Row(conditions.writing.alias(), selection.concepts)
    found = conditions.where(selection, other)
    if found is None:
        return ""
    holder, pointed = (other, row) if link.result == "holder" else (row, other)
    text = part(other, projector, conditions)
    return (
        f"SELECT coalesce({text}, 'null'), {other.column('created_at')}, {other.column('id')} "
        f"FROM {found[0]} WHERE {joined(link, holder, pointed)} AND {found[1]}"
    )


def _list(parts: list[Part]) -> Part:
    def write(row: Row, projector: Projector, conditions: Conditions) -> str:
        items = [f"coalesce({part(row, projector, conditions)}, 'null')" for part in parts]
        return f"'[' || concat_ws(',', {', '.join(items)}) || ']'" if items else "'[]'"

    return write


def _constant(value: Any) -> Part:
    text = "NULL::text" if value is None else quoted(as_json(value))
    return lambda row, projector, conditions: text


def _fallback(first: Part, second: Part) -> Part:
    def write(row: Row, projector: Projector, conditions: Conditions) -> str:
        value = first(row, projector, conditions)
        otherwise = second(row, projector, conditions)
        return f"CASE WHEN memql_blank(({value})::jsonb) THEN {otherwise} ELSE {value} END"

    return write


def _literal(expr: ast.Expr) -> Any:
    """The value of a literal, lists and objects included."""
    match expr:
        case ast.Literal(value=value):
            return value
        case ast.ListExpr(items=items):
            return [_literal(item) for item in items]
        case ast.ObjectExpr(entries=entries):
            return {key: _literal(value) for key, value in entries}
        case _:
            raise _refused(expr, "only a literal can stand here")


def _node_paths(expr: ast.Expr) -> ast.Expr:
    """A condition of ``case(..)`` as a filter: ``node("payload.a")`` is the path itself."""
    match expr:
        case ast.Call(callee=ast.Name(name="node"), args=(ast.Literal(value=str() as text),)):
            root, segments = parse_path(text)
            path: ast.Expr = ast.Name(root, span=expr.span)
            for segment in segments:
                path = ast.Member(path, segment, span=expr.span)
            return path
        case ast.Compare(op=op, left=left, right=right):
            return ast.Compare(op, _node_paths(left), _node_paths(right), span=expr.span)
        case ast.BoolOp(op=op, items=items):
            return ast.BoolOp(op, tuple(map(_node_paths, items)), span=expr.span)
        case ast.Unary(op=op, operand=operand):
            return ast.Unary(op, _node_paths(operand), span=expr.span)
        case _:
            return expr


def _refused(expr: ast.Expr, message: str) -> MemqlError:
    return MemqlError(
        Code.SYNTAX_ERROR,
        f"{message}; a template is an object, a list, a literal, node(..), literal(..), json(..), match(..), si(..), "
        f"a ?? b, or one of {', '.join(f'{name}(..)' for name in RELATED)}",
        position=expr.span.start,
    )
