"""A broken file cut into declarations, so that one pass reports every one that does not parse."""

from __future__ import annotations

from typing import NamedTuple

from memql.lang.lexer import END, Token
from memql.lang.words import CONSTRUCTS

__all__ = ["Chunk", "next_chunk", "restart_after"]

_HEADS = CONSTRUCTS | {"use"}


class Chunk(NamedTuple):
    """``tokens[start:stop]`` should be one declaration or import; ``head`` is the word it turns on."""

    start: int
    stop: int
    head: str


def next_chunk(tokens: list[Token], start: int) -> Chunk:
    """The chunk that begins at ``start``: annotations, a word, and everything to the closing brace of its block.

    An import without a block ends at the next ``@`` or construct word.
    """
    at = _after_annotations(tokens, start)
    head = tokens[at].value
    depth = 0
    for index in range(at, len(tokens)):
        kind = tokens[index].kind
        if kind == END:
            return Chunk(start, index, head)
        if kind in "([{":
            depth += 1
        elif kind in ")]}":
            depth -= 1
            if depth <= 0 and kind == "}":
                return Chunk(start, index + 1, head)
        elif depth == 0 and index > at and head == "use" and (kind == "@" or tokens[index].value in _HEADS):
            return Chunk(start, index, head)
    raise AssertionError("the tokens have no end")


def restart_after(text: str, tokens: list[Token], chunk: Chunk, failed: int) -> int:
    """Where to go on after a chunk that failed at offset ``failed``: its end, or the first declaration inside it that
    begins a line after the failure (a brace was probably forgotten)."""
    for index in range(chunk.start + 1, chunk.stop):
        token = tokens[index]
        if token.start >= failed and text[token.start - 1] == "\n":
            follower = tokens[index + 1].kind
            if (token.kind == "@" or token.value in _HEADS) and follower == "IDENT":
                return index
    return max(chunk.stop, chunk.start + 1)


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
