"""Places and items of the language in the form of the language server protocol.

The protocol counts lines and UTF-16 units from 0, the language counts lines and characters from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from lsprotocol import types

from memql.lang import ast, sense
from memql.lang.diagnostics import Finding

__all__ = [
    "TOKEN_TYPES",
    "Text",
    "completion_item",
    "diagnostic",
    "encoded_tokens",
    "signature_help",
    "symbols",
]

TOKEN_TYPES: Final = ("keyword", "variable", "string", "number", "operator", "decorator", "comment", "class")
_TOKEN_TYPE: Final = {
    "keyword": 0, "identifier": 1, "string": 2, "number": 3, "operator": 4, "annotation": 5, "comment": 6, "concept": 7,
}  # fmt: skip
_SEVERITY: Final = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}
_ITEM: Final = types.CompletionItemKind
_ITEM_KINDS: Final = {
    "annotation": _ITEM.Property, "argument": _ITEM.Field, "binding": _ITEM.Variable, "directive": _ITEM.Function,
    "field": _ITEM.Field, "function": _ITEM.Function, "keyword": _ITEM.Keyword, "module": _ITEM.Module,
    "operator": _ITEM.Operator, "property": _ITEM.Property, "type": _ITEM.TypeParameter, "value": _ITEM.Value,
    "concept": _ITEM.Class, "shape": _ITEM.Struct, "spec": _ITEM.Interface, "trait": _ITEM.Interface,
    "query": _ITEM.Method, "mutation": _ITEM.Method, "logic": _ITEM.Method, "builtin": _ITEM.Method,
    "automation": _ITEM.Event,
}  # fmt: skip
_SYMBOL: Final = types.SymbolKind
_SYMBOL_KINDS: Final[dict[type, types.SymbolKind]] = {
    ast.ConceptDecl: _SYMBOL.Class, ast.ShapeDecl: _SYMBOL.Struct, ast.SpecDecl: _SYMBOL.Interface,
    ast.TraitDecl: _SYMBOL.Interface, ast.QueryDecl: _SYMBOL.Method, ast.MutationDecl: _SYMBOL.Method,
    ast.LogicDecl: _SYMBOL.Method, ast.BuiltinDecl: _SYMBOL.Method, ast.AutomationDecl: _SYMBOL.Event,
}  # fmt: skip


class Text:
    """A text whose places are converted both ways."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")

    def place(self, position: types.Position) -> tuple[int, int]:
        """Line and column of a position of the protocol."""
        line = self._lines[position.line] if position.line < len(self._lines) else ""
        if line.isascii():
            return position.line + 1, position.character + 1
        units = accumulate((1 if ord(character) < 0x10000 else 2 for character in line), initial=0)
        return position.line + 1, sum(unit < position.character for unit in units) + 1

    def position(self, line: int, column: int) -> types.Position:
        """The protocol's position of a line and column."""
        text = self._lines[line - 1] if 1 <= line <= len(self._lines) else ""
        return types.Position(max(line - 1, 0), _units(text[: max(column - 1, 0)]))

    def range(self, span: ast.Span) -> types.Range:
        """The protocol's range of a span."""
        start = self.position(span.line, span.column)
        return types.Range(start, max(start, self.position(span.end_line, span.end_column)))

    @property
    def whole(self) -> types.Range:
        """Everything."""
        return types.Range(types.Position(0, 0), types.Position(len(self._lines), 0))


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def diagnostic(finding: Finding, text: Text) -> types.Diagnostic:
    """A finding."""
    return types.Diagnostic(
        range=text.range(finding.span),
        message=finding.message,
        severity=_SEVERITY[finding.severity],
        code=finding.code,
        source="memql",
    )


def completion_item(item: sense.Completion, text: Text) -> types.CompletionItem:
    """A completion; it replaces what is written of the word already."""
    return types.CompletionItem(
        label=item.label,
        kind=_ITEM_KINDS.get(item.kind, types.CompletionItemKind.Reference),
        detail=item.detail or None,
        documentation=_markdown(item.documentation),
        sort_text=f"{item.sort_priority:04d}{item.label}",
        text_edit=types.TextEdit(text.range(item.span), item.insert_text),
        insert_text_format=types.InsertTextFormat.Snippet if item.is_snippet else types.InsertTextFormat.PlainText,
    )


def _markdown(contents: str) -> types.MarkupContent | None:
    return types.MarkupContent(types.MarkupKind.Markdown, contents) if contents else None


def signature_help(found: sense.SignatureHelp) -> types.SignatureHelp:
    """The signatures of a call."""
    return types.SignatureHelp(
        signatures=[
            types.SignatureInformation(
                label=signature.label,
                documentation=_markdown(signature.documentation),
                parameters=[
                    types.ParameterInformation(label=one.label, documentation=_markdown(one.documentation))
                    for one in signature.parameters
                ],
            )
            for signature in found.signatures
        ],
        active_signature=found.active_signature,
        active_parameter=found.active_parameter,
    )


def symbols(file: ast.File, text: Text) -> list[types.DocumentSymbol]:
    """The outline of a file: its constructs, concepts with their fields."""
    return [
        types.DocumentSymbol(
            name=decl.name,
            detail=type(decl).__name__.removesuffix("Decl").lower(),
            kind=_SYMBOL_KINDS.get(type(decl), types.SymbolKind.Object),
            range=text.range(decl.span),
            selection_range=text.range(decl.name_span),
            children=list(_field_symbols(decl.fields, text)) if isinstance(decl, ast.ConceptDecl) else None,
        )
        for decl in file.decls
    ]


def _field_symbols(fields: Iterable[ast.FieldDecl], text: Text) -> Iterator[types.DocumentSymbol]:
    for field in fields:
        whole = text.range(field.span)
        yield types.DocumentSymbol(
            name=field.name,
            kind=types.SymbolKind.Field,
            range=whole,
            selection_range=types.Range(whole.start, whole.start),
            children=list(_field_symbols(field.fields, text)) if field.fields else None,
        )


def encoded_tokens(source: str) -> list[int]:
    """Every token as five numbers: lines and units since the one before, length, type, no modifiers."""
    lines = source.split("\n")
    data: list[int] = []
    last_line = last_unit = 0
    for token in sense.tokenize(source):
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
