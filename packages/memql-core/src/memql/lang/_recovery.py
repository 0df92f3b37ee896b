"""A broken file cut into declarations, so that one pass reports every one that does not parse."""

from __future__ import annotations

from typing import NamedTuple

from memql.lang.lexer import END, Token
from memql.lang.words import CONSTRUCTS

__all__ = ["Chunk", "next_chunk", "restart_after", "unclosed_before"]

# What may begin a declaration, the retired form included.
_HEADS = CONSTRUCTS | {"use", "func"}


class Chunk(NamedTuple):
    """``tokens[start:stop]`` should be one declaration or import.

    ``head`` is the word it turns on; ``unclosed`` the index of its first brace that the text never closes.
    """

    start: int
    stop: int
    head: str
    unclosed: int | None = None


def next_chunk(tokens: list[Token], start: int) -> Chunk:
    """The chunk that begins at ``start``: annotations, a word, and everything to the closing brace of its block.

    An import without a block ends at the next ``@`` or construct word.
    """
    at = _after_annotations(tokens, start)
    head = tokens[at].value
    opened: list[int] = []
    for index in range(at, len(tokens)):
        kind = tokens[index].kind
        if kind == END:
            return Chunk(start, index, head, opened[0] if opened else None)
        if kind in "([{":
            opened.append(index)
        elif kind in ")]}":
            if opened:
                opened.pop()
            if not opened and kind == "}":
                return Chunk(start, index + 1, head)
        elif not opened and index > at and head == "use" and (kind == "@" or tokens[index].value in _HEADS):
            return Chunk(start, index, head)
    raise AssertionError("the tokens have no end")


def unclosed_before(text: str, tokens: list[Token], chunk: Chunk) -> int | None:
    """The first declaration that begins a line inside a chunk that is never closed: where a brace is missing."""
    if chunk.unclosed is None:
        return None
    for index in range(chunk.unclosed + 1, chunk.stop):
        if _begins_declaration(text, tokens, index):
            return index
    return None


def restart_after(text: str, tokens: list[Token], chunk: Chunk, failed: int) -> int:
    """Where to go on after a chunk that failed at offset ``failed``: its end, or the first declaration inside it that
    begins a line after the failure (a brace was probably forgotten)."""
    for index in range(chunk.start + 1, chunk.stop):
        if tokens[index].start >= failed and _begins_declaration(text, tokens, index):
            return index
    return max(chunk.stop, chunk.start + 1)


def _begins_declaration(text: str, tokens: list[Token], index: int) -> bool:
    token = tokens[index]
    if text[token.start - 1] != "\n" or tokens[index + 1].kind != "IDENT":
        return False
    return token.kind == "@" or token.value in _HEADS


def _after_annotations(tokens: list[Token], at: int) -> int:
    while tokens[at].kind == "@" and tokens[at + 1].kind == "IDENT":
        at += 2
        if tokens[at].kind == "(":
            at = _after_bracket(tokens, at)
    return at


def _after_bracket(tokens: list[Token], at: int) -> int:
    depth = 0
    for index in range(at, len(tokens)):
        kind = tokens[index].kind
        if kind == END:
            return index
        depth += (kind in "([{") - (kind in ")]}")
        if depth <= 0:
            return index + 1
    return len(tokens) - 1
