"""What an editor is told (spec "Sense, concepts"). Places are spans: lines and columns from 1, in characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from memql.lang.ast import Span

__all__ = ["Completion", "Hover", "Parameter", "Signature", "SignatureHelp", "Target", "Token"]

TokenType = Literal[
    "keyword", "identifier", "string", "number", "operator", "annotation", "comment", "punctuation", "concept",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``literal`` is its text as written."""

    type: TokenType
    literal: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What may stand at the cursor. ``insert_text`` replaces ``span``, the part of it that is written already.

    ``kind`` is a kind of construct (concept, query, ..) or one of: annotation argument binding directive field function
    keyword module operator property type value. ``sort_priority``: lower comes first. A snippet's text has
    ``${1:placeholders}`` and ``$0``.
    """

    label: str
    kind: str
    span: Span
    insert_text: str
    detail: str = ""
    documentation: str = ""
    sort_priority: int = 50
    is_snippet: bool = False


@dataclass(frozen=True, slots=True)
class Hover:
    """Markdown about what ``span`` covers."""

    contents: str
    span: Span


@dataclass(frozen=True, slots=True)
class Target:
    """Where a name is defined; ``span.file`` is the path in the tree, empty for the text that was asked about."""

    kind: str
    span: Span


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, as it stands in the label of its signature."""

    label: str
    documentation: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call something."""

    label: str
    documentation: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class SignatureHelp:
    """The signatures of the call around the cursor, and which of them and of its parameters is being written."""

    signatures: tuple[Signature, ...]
    active_signature: int
    active_parameter: int
