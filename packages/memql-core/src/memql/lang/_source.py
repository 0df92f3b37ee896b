"""What the builders of the syntax tree share: the text with its places, the failure, and the table of actions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, TypeAlias

from memql.lang import ast
from memql.lang.lexer import Comment, Lexed

__all__ = ["ACTIONS", "IF_VALUE", "Action", "ParseError", "Source", "action"]


class ParseError(Exception):
    """A text that does not parse: a finding code, what is wrong, and where. Never leaves the parser."""

    def __init__(self, message: str, start: int, end: int, *, code: str = "syntax", suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.code = code
        self.suggestion = suggestion


class Source:
    """One text on its way to a tree.

    :param raw: whether it is a raw request, where directives have their one place.
    """

    def __init__(self, text: str, file: str, lexed: Lexed, *, raw: bool = False) -> None:
        self.text = text
        self.file = file
        self.raw = raw
        self.least_int: int | None = None
        self.concept_cache: int | None = None
        self.concept_fields: tuple[str, ...] | None = None
        self.used_docs: set[int] = set()
        self._docs = lexed.docs
        self._lines = _line_starts(text)

    def span(self, start: int, end: int) -> ast.Span:
        """The span of ``text[start:end]``."""
        lines = self._lines
        line = bisect_right(lines, start)
        end_line = line if line == len(lines) or end < lines[line] else bisect_right(lines, end)
        return ast.Span(
            self.file, line, start - lines[line - 1] + 1, end_line, end - lines[end_line - 1] + 1, start, end
        )

    def line_text(self, line: int) -> str:
        """The 1-based line, without its end."""
        start = self._lines[line - 1]
        end = self._lines[line] if line < len(self._lines) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def take_doc(self, *starts: int) -> str | None:
        """The ``///`` text before the tokens that begin at ``starts``, or None."""
        if not self._docs:
            return None
        lines: list[str] = []
        for start in starts:
            if comments := self._docs.get(start):
                self.used_docs.add(start)
                lines += [_doc_text(comment) for comment in comments]
        return "\n".join(lines) if lines else None

    def unused_docs(self) -> list[Comment]:
        """The ``///`` lines that document nothing."""
        return [
            comment for start, comments in self._docs.items() if start not in self.used_docs for comment in comments
        ]


def _doc_text(comment: Comment) -> str:
    text = comment.text[3:].rstrip()
    return text[1:] if text.startswith(" ") else text


def _line_starts(text: str) -> list[int]:
    starts = [0]
    at = text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    return starts


IF_VALUE = "`if` is a statement or the whole value of `:=`; inside an expression write `test ? then : otherwise`"

Action: TypeAlias = Callable[[Source, list[Any], int, int], Any]
"""Builds the value of a production from the values of its kept symbols and the offsets it covers."""

ACTIONS: dict[str, Action] = {}


def action(*names: str) -> Callable[[Action], Action]:
    """Register the builder of the productions with these names in ``grammar.lark``."""

    def register(build: Action) -> Action:
        for name in names:
            ACTIONS[name] = build
        return build

    return register
