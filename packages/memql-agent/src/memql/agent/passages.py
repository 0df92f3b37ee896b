"""What of a row can be quoted: its text fields, and what stands around them.

A short text means little alone: ``crew out of hours`` answers a question about Denver only together with the route and
the airports that its row points to. So a passage is a text to quote and a context: the row's other texts, and the names
of the rows it points to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from memql.engine.readable import FieldPath
from memql.errors import MemqlError
from memql.ids import CONCEPT_ID, qualify
from memql.lang import ast
from memql.lang.catalog import Concept, Field

__all__ = ["Labels", "Layout", "Passage", "Pointer", "Row", "label_of", "passages_of", "pointed_ids", "windows"]

Row: TypeAlias = Mapping[str, Any]
"""A decoded node."""
Labels: TypeAlias = Mapping[str, Sequence[str]]
"""The parts of the names of rows, by id."""

WINDOW: Final = 600
"""Characters of a passage at most; longer texts are cut."""
_MOST_PASSAGES: Final = 20
_MOST_CONTEXT: Final = 600
_LONGEST_WORD: Final = 40
"""A longer run of characters is a hash or a token, not language."""
_CARD: Final = ("primary", "secondary", "tertiary", "status")
_CUTS: Final = tuple(re.compile(f".*{end}", re.DOTALL) for end in (r"\n\s*\n", r"[.!?…。]\s", r"\n", r"\s"))
"""Where a text is best cut: after a paragraph, a sentence, a line, a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A text of a row. ``created_at`` is the row's, as text that sorts by time."""

    concept: str
    id: str
    field: str
    text: str
    context: tuple[str, ...]
    created_at: str

    @property
    def whole(self) -> str:
        """What its nearness to a question is judged by."""
        return ". ".join((self.text, ", ".join(self.context))) if self.context else self.text


@dataclass(frozen=True, slots=True)
class Pointer:
    """A field that names rows of another concept."""

    path: FieldPath
    target: str


@dataclass(frozen=True, slots=True)
class Layout:
    """What of a concept's rows is language and what leads to other rows.

    ``texts`` are the string fields that are neither secret nor the id of another row, ``enums`` the fields with a
    closed set of words, ``pointers`` the fields that name rows of other concepts by the concept's relationships.
    """

    concept: Concept
    texts: tuple[FieldPath, ...]
    enums: tuple[FieldPath, ...]
    pointers: Mapping[FieldPath, Pointer]

    @classmethod
    def of(cls, concept: Concept) -> Layout:
        """The layout of a concept; make it once and keep it."""
        pointing = {
            path: Pointer(path, one.target)
            for one in concept.relationships
            if one.direction != "incoming"
            for path in (tuple(one.field.split(".")),)
        }
        fields = list(_open_fields(concept.fields))
        texts = (path for path, declared in fields if _is_string(declared) and path not in pointing)
        enums = (path for path, declared in fields if isinstance(declared.type, ast.EnumType))
        return cls(concept, tuple(dict.fromkeys(texts)), tuple(dict.fromkeys(enums)), pointing)

    @property
    def card(self) -> list[FieldPath]:
        """What generic clients show of a row, by its display card."""
        shown = self.concept.display_card
        return [tuple(shown[name].split(".")) for name in _CARD if name in shown]


def _open_fields(fields: Sequence[Field], above: FieldPath = ()) -> Iterator[tuple[FieldPath, Field]]:
    """Every field that is no secret and stands in no list."""
    for declared in fields:
        if not declared.secret:
            path = (*above, declared.name)
            yield path, declared
            if not isinstance(declared.type, ast.ListType):
                yield from _open_fields(declared.members, path)


def _is_string(declared: Field) -> bool:
    return isinstance(declared.type, ast.ScalarType) and declared.type.name == "string"


# --- values ----------------------------------------------------------------------------------------------------------


def _value(row: Row, path: FieldPath) -> Any:
    value: Any = row.get("payload")
    for segment in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(segment)
    return value


def _text(row: Row, path: FieldPath) -> str:
    value = _value(row, path)
    return value.strip() if isinstance(value, str) and _is_language(value) else ""


def _is_language(value: str) -> bool:
    """Whether it is more than an id, a number or a hash."""
    words = value.split()
    if len(words) == 1 and CONCEPT_ID.match(value):
        return False
    readable = sum(len(word) for word in words if len(word) <= _LONGEST_WORD)
    return any(map(str.isalpha, value)) and 4 * readable > sum(map(len, words))


def pointed_ids(row: Row, pointer: Pointer) -> list[str]:
    """The full ids that a field of a row names."""
    value = _value(row, pointer.path)
    found = []
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, str) and one:
            try:
                found.append(qualify(one, pointer.target))
            except MemqlError:
                continue
    return found


# --- rows ------------------------------------------------------------------------------------------------------------


def label_of(row: Row, layout: Layout, labels: Labels) -> tuple[str, ...]:
    """How a row is named in the context of another: what its display card shows, else its first text.

    :param labels: those of the rows it points to, by id.
    """
    if not layout.card:
        return _unique(text[:WINDOW] for path in layout.texts if (text := _text(row, path)))[:1]
    parts: list[str] = []
    for path in layout.card:
        if path in layout.pointers:
            parts += _pointed_labels(row, layout.pointers[path], labels)
        elif path in layout.texts or path in layout.enums:
            parts.append(_text(row, path)[:WINDOW])
    return _unique(parts)


def passages_of(row: Row, layout: Layout, labels: Labels) -> list[Passage]:
    """Everything a row has to quote: one passage of its short texts, and the pieces of each long one.

    :param labels: those of the rows it points to, by id.
    """
    texts = {path: text for path in layout.texts if (text := _text(row, path))}
    around = [text for path in layout.enums if (text := _text(row, path))]
    for pointer in layout.pointers.values():
        around += _pointed_labels(row, pointer, labels)
    short = {path: text for path, text in texts.items() if len(text) <= WINDOW}
    found: list[Passage] = []
    if short:
        main = _main(short, layout.concept)
        others = (text for path, text in short.items() if path != main)
        found.append(_passage(row, main, short[main], (*others, *around)))
    for path, text in texts.items():
        if path not in short:
            context = (*short.values(), *around)
            found += (_passage(row, path, piece, context) for piece in windows(text))
    return found[:_MOST_PASSAGES]


def _pointed_labels(row: Row, pointer: Pointer, labels: Labels) -> list[str]:
    return [part for id in pointed_ids(row, pointer) for part in labels.get(id, ())]


def _main(texts: Mapping[FieldPath, str], concept: Concept) -> FieldPath:
    """The field to quote: what the display card shows first, else the longest."""
    primary = tuple(concept.display_card.get("primary", "").split("."))
    return primary if primary in texts else max(texts, key=lambda path: len(texts[path]))


def _passage(row: Row, path: FieldPath, text: str, context: Iterable[str]) -> Passage:
    return Passage(
        concept=str(row["concept"]),
        id=str(row["id"]),
        field=".".join(path),
        text=text,
        context=_bounded(part for part in _unique(context) if part != text),
        created_at=str(row.get("createdAt", "")),
    )


def _unique(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in parts if part))


def _bounded(parts: Iterable[str]) -> tuple[str, ...]:
    kept: list[str] = []
    left = _MOST_CONTEXT
    for part in parts:
        left -= len(part)
        if left < 0:
            break
        kept.append(part)
    return tuple(kept)


def windows(text: str) -> list[str]:
    """A long text in pieces of at most :data:`WINDOW` characters, each cut in its last quarter where it is best."""
    pieces: list[str] = []
    while len(text) > WINDOW and len(pieces) < _MOST_PASSAGES:
        cut = _cut(text)
        pieces.append(text[:cut].strip())
        text = text[cut:]
    if len(pieces) < _MOST_PASSAGES and text.strip():
        pieces.append(text.strip())
    return [piece for piece in pieces if piece]


def _cut(text: str) -> int:
    head = WINDOW * 3 // 4
    tail = text[head:WINDOW]
    found = next((match.end() for cut in _CUTS if (match := cut.match(tail))), len(tail))
    return head + found
