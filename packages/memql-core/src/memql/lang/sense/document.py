"""A text with its tokens and places: what every question about it starts from."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import cached_property, lru_cache
from typing import Final

from memql.lang._source import Source
from memql.lang.ast import Span
from memql.lang.lexer import Comment, Token, lex

__all__ = ["SUFFIX", "Document", "open_document"]

SUFFIX: Final = ".memql"
_WORD: Final = re.compile(r"(?:v[0-9]+(?::[A-Za-z_][A-Za-z0-9_]*)*:?|[A-Za-z_][A-Za-z0-9_]*)\Z")
_LONGEST_WORD: Final = 512


class Document:
    """One text. ``path`` is its place in the tree; a text without one, or with another suffix, is a raw request."""

    def __init__(self, text: str, path: str) -> None:
        self.text = text
        self.path = path
        lexed = lex(text)
        self.tokens: list[Token] = lexed.tokens
        self.comments: list[Comment] = sorted(
            [*lexed.comments, *(comment for docs in lexed.docs.values() for comment in docs)],
            key=lambda comment: comment.start,
        )
        self._source = Source(text, path, lexed)

    @property
    def is_file(self) -> bool:
        """Whether it is a file of declarations, and no raw request."""
        return self.path.endswith(SUFFIX)

    def span(self, start: int, end: int) -> Span:
        """The span of ``text[start:end]``."""
        return self._source.span(start, end)

    @cached_property
    def _starts(self) -> list[int]:
        return [token.start for token in self.tokens]

    @cached_property
    def _lines(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def offset(self, line: int, column: int) -> int:
        """The offset of a place; one outside the text counts as the nearest inside."""
        if line < 1:
            return 0
        if line > len(self._lines):
            return len(self.text)
        start = self._lines[line - 1]
        end = self._lines[line] - 1 if line < len(self._lines) else len(self.text)
        return min(start + max(column - 1, 0), end)

    def count_before(self, offset: int) -> int:
        """How many tokens begin before an offset."""
        return bisect_left(self._starts, offset)

    def token_at(self, offset: int) -> int | None:
        """The index of the token that covers an offset or ends at it; a name wins over a sign."""
        index = bisect_right(self._starts, offset) - 1
        best: int | None = None
        for candidate in (index, index - 1):
            if candidate < 0:
                continue
            token = self.tokens[candidate]
            if not token.start <= offset <= token.end or token.start == token.end:
                continue
            if token.kind in _NAMED:
                return candidate
            if best is None and offset < token.end:
                best = candidate
        return best

    def in_comment(self, offset: int) -> bool:
        """Whether an offset lies inside a comment."""
        index = bisect_left([comment.start for comment in self.comments], offset) - 1
        if index < 0:
            return False
        comment = self.comments[index]
        return offset < comment.end or (offset == comment.end and not comment.text.startswith("/*"))

    def word_before(self, offset: int) -> str:
        """The name or the beginning of a concept id that ends at an offset; empty when none does."""
        match = _WORD.search(self.text[max(0, offset - _LONGEST_WORD) : offset])
        return match[0] if match else ""


_NAMED: Final = frozenset({"IDENT", "CONCEPT", "VAR", "STRING", "DIRECTIVE"})


@lru_cache(maxsize=8)
def open_document(text: str, path: str) -> Document:
    """The document of a text; asking about the same text again costs nothing."""
    return Document(text, path)
