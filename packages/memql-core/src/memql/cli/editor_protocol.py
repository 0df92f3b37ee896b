"""The language's answers in the terms of the language server protocol.

The language counts lines and characters from 1; the protocol counts lines and UTF-16 units from 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from memql.lang.ast import Span
from memql.lang.diagnostics import Finding
from memql.lang.sense import Completion, Hover, SignatureHelp

__all__ = ["completion_item", "diagnostic", "hover_of", "place_in", "range_of", "signature_help_of"]

_SEVERITY = {"error": types.DiagnosticSeverity.Error, "warning": types.DiagnosticSeverity.Warning}
_KINDS = {
    "concept": types.CompletionItemKind.Class,
    "shape": types.CompletionItemKind.Interface,
    "spec": types.CompletionItemKind.Constant,
    "trait": types.CompletionItemKind.Constant,
    "query": types.CompletionItemKind.Function,
    "mutation": types.CompletionItemKind.Method,
    "logic": types.CompletionItemKind.Method,
    "builtin": types.CompletionItemKind.Function,
    "automation": types.CompletionItemKind.Event,
    "annotation": types.CompletionItemKind.Property,
    "argument": types.CompletionItemKind.Variable,
    "binding": types.CompletionItemKind.Variable,
    "directive": types.CompletionItemKind.Keyword,
    "field": types.CompletionItemKind.Field,
    "function": types.CompletionItemKind.Function,
    "keyword": types.CompletionItemKind.Keyword,
    "module": types.CompletionItemKind.Module,
    "operator": types.CompletionItemKind.Operator,
    "property": types.CompletionItemKind.Property,
    "type": types.CompletionItemKind.TypeParameter,
    "value": types.CompletionItemKind.Value,
}


def diagnostic(finding: Finding, text: str) -> types.Diagnostic:
    """A finding in ``text``."""
    return types.Diagnostic(
        range=range_of(finding.span, text),
        message=finding.message,
        severity=_SEVERITY[finding.severity],
        code=finding.code,
        source="memql",
    )


def completion_item(completion: Completion, text: str) -> types.CompletionItem:
    """A completion of ``text``; what is written of it already is replaced."""
    snippet = types.InsertTextFormat.Snippet if completion.is_snippet else types.InsertTextFormat.PlainText
    return types.CompletionItem(
        label=completion.label,
        kind=_KINDS.get(completion.kind, types.CompletionItemKind.Text),
        detail=completion.detail or None,
        documentation=_markdown(completion.documentation) if completion.documentation else None,
        sort_text=f"{completion.sort_priority:04} {completion.label}",
        insert_text_format=snippet,
        text_edit=types.TextEdit(range_of(completion.span, text), completion.insert_text),
    )


def hover_of(hover: Hover, text: str) -> types.Hover:
    """A hover over ``text``."""
    return types.Hover(contents=_markdown(hover.contents), range=range_of(hover.span, text))


def signature_help_of(help_: SignatureHelp) -> types.SignatureHelp:
    """The signatures of the call around a cursor."""
    return types.SignatureHelp(
        signatures=[
            types.SignatureInformation(
                label=one.label,
                documentation=_markdown(one.documentation) if one.documentation else None,
                parameters=[
                    types.ParameterInformation(label=each.label, documentation=each.documentation or None)
                    for each in one.parameters
                ],
            )
            for one in help_.signatures
        ],
        active_signature=help_.active_signature,
        active_parameter=help_.active_parameter,
    )


def range_of(span: Span, text: str) -> types.Range:
    """A span of ``text`` as a range."""
    lines = text.split("\n")
    start = _position(span.line, span.column, lines)
    return types.Range(start, max(start, _position(span.end_line, span.end_column, lines)))


def place_in(text: str, position: types.Position) -> tuple[int, int]:
    """A position in ``text`` as line and column."""
    lines = text.split("\n")
    line = lines[position.line] if position.line < len(lines) else ""
    before = line.encode("utf-16-le")[: position.character * 2].decode("utf-16-le", "ignore")
    return position.line + 1, len(before) + 1


def _position(line: int, column: int, lines: Sequence[str]) -> types.Position:
    text = lines[line - 1] if 1 <= line <= len(lines) else ""
    return types.Position(max(line - 1, 0), len(text[: max(column - 1, 0)].encode("utf-16-le")) // 2)


def _markdown(text: str) -> types.MarkupContent:
    return types.MarkupContent(types.MarkupKind.Markdown, text)
