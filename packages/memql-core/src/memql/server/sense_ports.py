"""What the server needs from the language's editor support, as protocols."""

# ruff: noqa: D102  the members are named as on the wire; the classes say what they are

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memql.lang.ast import Span
from memql.lang.catalog import Catalog
from memql.lang.diagnostics import Finding

__all__ = [
    "Sense",
    "SenseCompletion",
    "SenseHover",
    "SenseParameter",
    "SenseSignature",
    "SenseSignatureHelp",
    "SenseTarget",
    "SenseToken",
]


class SenseToken(Protocol):
    """A token of a source. ``type`` is one of the wire's: keyword, identifier, string, number, operator..."""

    @property
    def type(self) -> str: ...
    @property
    def literal(self) -> str: ...
    @property
    def span(self) -> Span: ...


class SenseCompletion(Protocol):
    """A completion. ``sort_priority``: lower comes first; a snippet's text has placeholders."""

    @property
    def label(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def documentation(self) -> str: ...
    @property
    def insert_text(self) -> str: ...
    @property
    def sort_priority(self) -> int: ...
    @property
    def is_snippet(self) -> bool: ...


class SenseHover(Protocol):
    """What an editor shows over a place; ``contents`` is Markdown."""

    @property
    def contents(self) -> str: ...
    @property
    def span(self) -> Span: ...


class SenseTarget(Protocol):
    """Where something is defined."""

    @property
    def kind(self) -> str: ...
    @property
    def span(self) -> Span: ...


class SenseParameter(Protocol):
    """One parameter of a signature."""

    @property
    def label(self) -> str: ...
    @property
    def documentation(self) -> str: ...


class SenseSignature(Protocol):
    """One way to call something."""

    @property
    def label(self) -> str: ...
    @property
    def documentation(self) -> str: ...
    @property
    def parameters(self) -> Sequence[SenseParameter]: ...


class SenseSignatureHelp(Protocol):
    """The signatures at a place, and which of them and of its parameters is being written."""

    @property
    def signatures(self) -> Sequence[SenseSignature]: ...
    @property
    def active_signature(self) -> int: ...
    @property
    def active_parameter(self) -> int: ...


class Sense(Protocol):
    """What an editor asks about a source. Lines and columns count from 1; nothing raises for bad source."""

    def tokenize(self, source: str) -> Sequence[SenseToken]:
        """All tokens, comments included."""
        ...

    def complete(self, source: str, line: int, column: int, path: str, catalog: Catalog) -> Sequence[SenseCompletion]:
        """What may stand at a place."""
        ...

    def diagnose(self, source: str, path: str, catalog: Catalog) -> Sequence[Finding]:
        """What is wrong with the source, as part of the tree in force."""
        ...

    def hover(self, source: str, line: int, column: int, path: str, catalog: Catalog) -> SenseHover | None:
        """What stands at a place."""
        ...

    def definition(self, source: str, line: int, column: int, path: str, catalog: Catalog) -> Sequence[SenseTarget]:
        """Where the name at a place is defined."""
        ...

    def signature_help(
        self, source: str, line: int, column: int, path: str, catalog: Catalog
    ) -> SenseSignatureHelp | None:
        """The call around a place."""
        ...
