"""``tokenize``: the language's own lexer, with comments, in the types an editor colours by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from memql.lang.lexer import END, ERROR
from memql.lang.lexer import Token as Lexeme
from memql.lang.sense.document import Document, open_document
from memql.lang.sense.model import Token, TokenType
from memql.lang.words import LITERALS

__all__ = ["tokenize"]

_PUNCTUATION: Final = frozenset("(){}[],;:.")
_TYPES: Final[dict[str, TokenType]] = {
    "STRING": "string", "INT": "number", "FLOAT": "number", "DOT_INT": "number", "VAR": "identifier",
    "CONCEPT": "concept", "DIRECTIVE": "keyword",
}  # fmt: skip


def tokenize(source: str) -> tuple[Token, ...]:
    """All tokens of a text in order, comments included. Never raises: broken pieces have the nearest type."""
    document = open_document(source, "")
    pieces = [*_lexemes(document), *(("comment", c.start, c.end) for c in document.comments)]
    pieces.sort(key=lambda piece: piece[1])
    return tuple(Token(type_, source[start:end], document.span(start, end)) for type_, start, end in pieces)


def _lexemes(document: Document) -> Iterator[tuple[TokenType, int, int]]:
    tokens = document.tokens
    for index, token in enumerate(tokens):
        if token.kind == END:
            continue
        if token.kind == "@" and tokens[index + 1].kind == "IDENT" and tokens[index + 1].start == token.end:
            continue
        start = token.start
        if index and tokens[index - 1].kind == "@" and token.kind == "IDENT" and tokens[index - 1].end == start:
            yield "annotation", start - 1, token.end
        else:
            yield _type(document, token, tokens[index - 1] if index else None), start, token.end


def _type(document: Document, token: Lexeme, before: Lexeme | None) -> TokenType:
    if token.kind == ERROR:
        first = document.text[token.start : token.start + 2]
        return "string" if first[:1] in ('"', "\\") else "comment" if first == "/*" else "operator"
    if token.kind == "IDENT":
        is_member = before is not None and before.kind in (".", "?.") and token.value not in LITERALS
        return "keyword" if token.alt and not is_member else "identifier"
    if token.kind in _TYPES:
        return _TYPES[token.kind]
    return "annotation" if token.kind == "@" else "punctuation" if token.kind in _PUNCTUATION else "operator"
