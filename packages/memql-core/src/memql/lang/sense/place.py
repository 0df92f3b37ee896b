"""Where a cursor stands: the word before it, the brackets around it, the declaration it is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from memql.lang import ast
from memql.lang.lexer import END, ERROR, Token
from memql.lang.parser import parse_file
from memql.lang.sense.document import Document
from memql.lang.sense.regions import REQUEST, TOP, Region, inside
from memql.lang.words import CONSTRUCTS

__all__ = ["Frame", "Header", "LocalField", "Place", "ends_operand", "place_at"]

_HEADS: Final = CONSTRUCTS | {"use"}
_LOOK_BACK: Final = 64
"""How many tokens before a bracket decide what it is."""
_LOOK_AHEAD: Final = 400
_BEFORE_OPERAND: Final = frozenset(
    {"in", "has", "not", "startsWith", "matches", "filter", "return", "if", "range", "else"}
)
_OPERAND_ENDS: Final = frozenset({"IDENT", "CONCEPT", "STRING", "INT", "FLOAT", "VAR", "DOT_INT", ")", "]", "}"})
_BOUND: Final = frozenset({"query", "mutation", "seed", "shape"})


@dataclass(slots=True)
class Frame:
    """A bracket that is open at the cursor. ``items`` are the tokens directly in it; earlier brackets are empty pairs.

    ``opened`` is the index of its token.
    """

    region: Region
    items: list[Token]
    opened: int


@dataclass(frozen=True, slots=True)
class Header:
    """The head of the declaration around the cursor. ``concept`` is the name it is bound to, empty when to none."""

    kind: str
    concept: str
    name: str
    first: int
    """Index of the token that names the kind."""


@dataclass(frozen=True, slots=True)
class LocalField:
    """An argument of the declaration around the cursor, with the span it has in the document."""

    field: ast.FieldDecl
    span: ast.Span


class Place:
    """A place in a document. ``before`` counts the tokens before the word that ends at the cursor."""

    def __init__(self, document: Document, offset: int) -> None:
        self.document = document
        self.offset = offset
        self.word = document.word_before(offset)
        self.start = offset - len(self.word)
        self.before = document.count_before(self.start)
        self.frames, self._first = _frames(document, self.before)

    @property
    def region(self) -> Region:
        """The innermost region."""
        return self.frames[-1].region

    @property
    def items(self) -> list[Token]:
        """The tokens of the innermost bracket before the word."""
        return self.frames[-1].items

    @property
    def span(self) -> ast.Span:
        """The word: what a completion replaces."""
        return self.document.span(self.start, self.offset)

    @property
    def previous(self) -> Token | None:
        """The token before the word."""
        return self.document.tokens[self.before - 1] if self.before else None

    @cached_property
    def string(self) -> Token | None:
        """The string that the cursor is inside of, also one without an end."""
        index = self.document.count_before(self.offset) - 1
        if index < 0:
            return None
        token = self.document.tokens[index]
        if token.kind == "STRING":
            return token if self.offset < token.end else None
        if token.kind == ERROR and self.document.text[token.start] == '"':
            return token if self.offset <= token.end else None
        return None

    @cached_property
    def chain(self) -> tuple[str, ...] | None:
        """The path before the word when a ``.`` precedes it: ``payload.location.`` is ``("payload", "location")``.

        None without a ``.``; the empty path after something that is no plain path.
        """
        tokens = self.document.tokens
        index = self.before - 1
        if index < 0 or tokens[index].kind != ".":
            return None
        segments: list[str] = []
        while index >= 0 and tokens[index].kind == ".":
            index -= 1
            index = self._skip_call(index)
            if index < 0 or tokens[index].kind not in ("IDENT", "VAR", "DOT_INT"):
                break
            if tokens[index].kind == "DOT_INT":
                segments.append(tokens[index].value)
                while index > 0 and tokens[index].kind == "DOT_INT":
                    index -= 1
                if tokens[index].kind != "IDENT":
                    break
            segments.append(tokens[index].value)
            index -= 1
        return tuple(reversed(segments))

    def _skip_call(self, index: int) -> int:
        """Step over ``()`` or ``[..]`` that ends at a token, to what it follows."""
        tokens = self.document.tokens
        if index < 0 or tokens[index].kind not in (")", "]"):
            return index
        depth = 0
        while index >= 0:
            depth += (tokens[index].kind in (")", "]", "}")) - (tokens[index].kind in ("(", "[", "{"))
            index -= 1
            if depth == 0:
                break
        return index

    @cached_property
    def header(self) -> Header | None:
        """The declaration around the cursor, or the one whose head is being written; None in a raw request."""
        if not self.document.is_file:
            return None
        items = self.frames[0].items
        for index, token in enumerate(items):
            annotates = index > 0 and items[index - 1].kind == "@"
            if token.value in _HEADS and token.kind == "IDENT" and not annotates:
                return _header(self.document.tokens, self.document.count_before(token.start))
        return None

    @cached_property
    def following_header(self) -> Header | None:
        """The head of the declaration that an annotation at the cursor belongs to, when it is written already."""
        tokens = self.document.tokens
        depth = len(self.frames) - 1
        for index in range(self.before, min(self.before + _LOOK_AHEAD, len(tokens))):
            token = tokens[index]
            depth += (token.kind in ("(", "[")) - (token.kind in (")", "]"))
            if depth > 0:
                continue
            if token.kind in ("{", "}", END):
                return None
            annotates = index > 0 and tokens[index - 1].kind == "@" and tokens[index - 1].end == token.start
            if token.kind == "IDENT" and token.value in _HEADS and not annotates:
                return _header(tokens, index)
        return None

    @cached_property
    def declaration(self) -> tuple[int, int]:
        """The tokens of the declaration around the cursor as far as brackets tell."""
        tokens = self.document.tokens
        depth = 0
        for index in range(self._first, len(tokens)):
            if index > self._first and index >= self.before and _begins(self.document, index):
                return self._first, index
            depth += (tokens[index].kind == "{") - (tokens[index].kind == "}")
            if tokens[index].kind == END or (depth <= 0 and tokens[index].kind == "}" and index >= self.before - 1):
                return self._first, index
        return self._first, len(tokens) - 1

    @cached_property
    def args(self) -> tuple[LocalField, ...]:
        """The declared arguments of the declaration around the cursor."""
        first, stop = self.declaration
        tokens = self.document.tokens
        for index in range(first, stop):
            if tokens[index].value == "args" and tokens[index + 1].kind == "{":
                return self._fields_between(index + 1, stop)
        return ()

    @cached_property
    def own_fields(self) -> tuple[LocalField, ...]:
        """The fields of the concept, builtin, prompt or tool around the cursor."""
        header = self.header
        if header is None:
            return ()
        first, stop = header.first, self.declaration[1]
        for index in range(first, stop):
            if self.document.tokens[index].kind == "{":
                return self._fields_between(index, stop)
        return ()

    def _fields_between(self, opened: int, stop: int) -> tuple[LocalField, ...]:
        tokens = self.document.tokens
        depth = 0
        end = tokens[stop].end
        for index in range(opened, stop + 1):
            depth += (tokens[index].kind == "{") - (tokens[index].kind == "}")
            if depth == 0:
                end = tokens[index].start
                break
        head = "builtin x {"
        start = tokens[opened].end
        file = parse_file(f"{head}{self.document.text[start:end]}}}").file
        shift = start - len(head)
        fields = file.decls[0].fields if file.decls and isinstance(file.decls[0], ast.BuiltinDecl) else ()
        return tuple(
            LocalField(field, self.document.span(field.span.start + shift, field.span.end + shift)) for field in fields
        )


def place_at(document: Document, offset: int) -> Place:
    """The place at an offset."""
    return Place(document, offset)


def ends_operand(items: Sequence[Token]) -> bool:
    """Whether tokens end with an operand, so that an operator or something new must follow."""
    if not items:
        return False
    last = items[-1]
    is_member = len(items) > 1 and items[-2].kind == "."
    return last.kind in _OPERAND_ENDS and (is_member or last.value not in _BEFORE_OPERAND)


def _frames(document: Document, count: int) -> tuple[list[Frame], int]:
    """The brackets open before a token, outermost first, and where the declaration around it begins."""
    outermost = TOP if document.is_file else REQUEST
    frames = [Frame(outermost, [], -1)]
    first = 0
    for index in range(count):
        token = document.tokens[index]
        if document.is_file and _begins(document, index):
            frames = [Frame(outermost, [], -1)]
            first = index
        if token.kind in ("(", "[", "{"):
            region = inside(frames[-1].region, frames[-1].items[-_LOOK_BACK:], token.kind)
            frames[-1].items.append(token)
            frames.append(Frame(region, [], index))
        elif token.kind in (")", "]", "}"):
            if len(frames) > 1:
                frames.pop()
            frames[-1].items.append(token)
            if len(frames) == 1 and token.kind == "}" and document.is_file:
                frames = [Frame(outermost, [], -1)]
                first = index + 1
        else:
            frames[-1].items.append(token)
    return frames, min(first, count)


def _begins(document: Document, index: int) -> bool:
    """Whether a declaration begins a line here, whatever is open before it."""
    tokens = document.tokens
    token = tokens[index]
    if token.start and document.text[token.start - 1] != "\n":
        return False
    if token.kind == "@":
        return index == 0 or tokens[index - 1].kind == "}"
    if token.value not in _HEADS or token.kind != "IDENT" or tokens[index + 1].kind != "IDENT":
        return False
    if index and tokens[index - 1].kind not in ("}", "{"):
        after = tokens[index + 2 : index + 4]
        return token.value == "use" or any(one.kind == "{" for one in after)
    return True


def _header(tokens: list[Token], index: int) -> Header:
    words: list[str] = []
    for at in range(index + 1, min(index + 3, len(tokens))):
        if tokens[at].kind not in ("IDENT", "CONCEPT"):
            break
        words.append(tokens[at].value)
    kind = tokens[index].value
    if len(words) == 2:
        return Header(kind, words[0] if kind in _BOUND else "", words[1], index)
    written = words[0] if words else ""
    if kind in ("query", "mutation", "seed"):
        return Header(kind, written, "", index)
    return Header(kind, "", written, index)
