"""Views of a whole document for an editor: its outline and its colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from lsprotocol import types

from memql.lang import ast
from memql.lang.parser import parse_file
from memql.lang.sense import tokenize

__all__ = ["TOKEN_TYPES", "encoded_tokens", "outline"]

TOKEN_TYPES: Final = ("keyword", "variable", "string", "number", "operator", "decorator", "comment", "class")
_TOKEN_TYPE: Final = {
    "keyword": 0, "identifier": 1, "string": 2, "number": 3, "operator": 4, "annotation": 5, "comment": 6, "concept": 7,
}  # fmt: skip
_SYMBOL: Final = types.SymbolKind
_SYMBOL_KINDS: Final[dict[type, types.SymbolKind]] = {
    ast.ConceptDecl: _SYMBOL.Class, ast.ShapeDecl: _SYMBOL.Struct, ast.SpecDecl: _SYMBOL.Interface,
    ast.TraitDecl: _SYMBOL.Interface, ast.QueryDecl: _SYMBOL.Method, ast.MutationDecl: _SYMBOL.Method,
    ast.LogicDecl: _SYMBOL.Method, ast.BuiltinDecl: _SYMBOL.Method, ast.AutomationDecl: _SYMBOL.Event,
}  # fmt: skip


def outline(source: str) -> list[types.DocumentSymbol]:
    """The constructs of a file as far as it parses, concepts with their fields."""
    lines = source.split("\n")
    return [
        types.DocumentSymbol(
            name=decl.name,
            detail=type(decl).__name__.removesuffix("Decl").lower(),
            kind=_SYMBOL_KINDS.get(type(decl), types.SymbolKind.Object),
            range=_range(decl.span, lines),
            selection_range=_range(decl.name_span, lines),
            children=list(_field_symbols(decl.fields, lines)) if isinstance(decl, ast.ConceptDecl) else None,
        )
        for decl in parse_file(source).file.decls
    ]


def _field_symbols(fields: Iterable[ast.FieldDecl], lines: list[str]) -> Iterator[types.DocumentSymbol]:
    for field in fields:
        whole = _range(field.span, lines)
        end = types.Position(whole.start.line, whole.start.character + len(field.name))
        yield types.DocumentSymbol(
            name=field.name,
            kind=types.SymbolKind.Field,
            range=whole,
            selection_range=types.Range(whole.start, end),
            children=list(_field_symbols(field.fields, lines)) if field.fields else None,
        )


def _range(span: ast.Span, lines: list[str]) -> types.Range:
    return types.Range(
        types.Position(span.line - 1, _units(lines[span.line - 1][: span.column - 1])),
        types.Position(span.end_line - 1, _units(lines[span.end_line - 1][: span.end_column - 1])),
    )


def _units(text: str) -> int:
    """How many UTF-16 units a text has."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def encoded_tokens(source: str) -> list[int]:
    """Every token as five numbers: lines and units since the one before, length, type, no modifiers."""
    lines = source.split("\n")
    data: list[int] = []
    last_line = last_unit = 0
    for token in tokenize(source):
        kind = _TOKEN_TYPE.get(token.type)
        if kind is None:
            continue
        for line, first, end in _line_pieces(token.span, lines):
            unit = _units(lines[line][:first])
            data += [line - last_line, unit - last_unit if line == last_line else unit]
            data += [_units(lines[line][first:end]), kind, 0]
            last_line, last_unit = line, unit
    return data


def _line_pieces(span: ast.Span, lines: list[str]) -> Iterator[tuple[int, int, int]]:
    """A span cut at the ends of lines, all from 0: the protocol's tokens have one line."""
    for line in range(span.line - 1, span.end_line):
        first = span.column - 1 if line == span.line - 1 else 0
        end = span.end_column - 1 if line == span.end_line - 1 else len(lines[line])
        if end > first:
            yield line, first, end
