"""What the name at a place means: what hovers and definitions are made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from memql.lang import ast
from memql.lang.checker.tree import SPACES, Declared, Space
from memql.lang.functions import FUNCTIONS
from memql.lang.lexer import Token
from memql.lang.sense.annotated import rows_named
from memql.lang.sense.candidates import candidates
from memql.lang.sense.document import Document
from memql.lang.sense.entries import (
    Entry,
    annotation_entry,
    construct_entry,
    field_entry,
    function_entry,
    word_entries,
)
from memql.lang.sense.index import Index, fields_of
from memql.lang.sense.place import Place, place_at
from memql.lang.sense.surroundings import Surroundings
from memql.lang.sense.vocabulary import (
    CLAUSE_WORDS,
    CONSTRUCT_WORDS,
    DIRECTIVE_WORDS,
    INTROSPECTION_WORDS,
    OPERATOR_WORDS,
    RELATION_WORDS,
    STATEMENT_WORDS,
)

__all__ = ["Meaning", "meaning_at"]

_NAME: Final = re.compile(r"v[0-9]+(?::[A-Za-z_][A-Za-z0-9_]*){2,}|[A-Za-z_][A-Za-z0-9_]*")
_SPACES: Final[tuple[Space, ...]] = tuple(dict.fromkeys(SPACES.values()))
_TARGETS: Final = frozenset({"logic", "query", "mutation", "builtin", "automation"})
_WORDS: Final = (
    STATEMENT_WORDS, *CLAUSE_WORDS.values(), DIRECTIVE_WORDS, RELATION_WORDS, OPERATOR_WORDS, INTROSPECTION_WORDS,
    CONSTRUCT_WORDS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a piece of text means."""

    span: ast.Span
    entry: Entry


def meaning_at(document: Document, offset: int, index: Index) -> Meaning | None:
    """What stands at an offset, or None when it means nothing by itself."""
    if document.in_comment(offset):
        return None
    at = document.token_at(offset)
    if at is None:
        return None
    token = document.tokens[at]
    start, end = (token.start, token.end) if token.kind != "STRING" else _name_in(document, token, offset)
    if token.kind not in ("IDENT", "CONCEPT", "STRING", "DIRECTIVE") or start == end:
        return None
    text = document.text[start:end]
    place = place_at(document, start)
    entry = _entry(Surroundings(place, index), at, text)
    return Meaning(document.span(start, end), entry) if entry else None


def _name_in(document: Document, token: Token, offset: int) -> tuple[int, int]:
    """The name inside a string that covers an offset."""
    for match in _NAME.finditer(document.text, token.start + 1, token.end - 1):
        if match.start() <= offset <= match.end():
            return match.span()
    return offset, offset


def _entry(around: Surroundings, at: int, text: str) -> Entry | None:
    place, index = around.place, around.index
    token = place.document.tokens[at]
    if ":" in text:
        declared = index.tree.concept(text)
        return construct_entry(declared, label=text) if declared else None
    if token.kind == "IDENT":
        if (own := _declared_here(place, token, index)) is not None:
            return own
        if place.previous is not None and place.previous.kind == "@":
            return next((annotation_entry(row) for row in rows_named(text, place)), None)
    offered = [entry for entry in candidates(around) if entry.label == text]
    return _nearest(offered, around) or _elsewhere(around, at, text)


def _declared_here(place: Place, token: Token, index: Index) -> Entry | None:
    """The construct or field whose declaration begins with a token."""
    for declared in index.tree.declared:
        if declared.file.path != place.document.path:
            continue
        if declared.span.start == token.start and declared.span.end == token.end:
            return construct_entry(declared)
        if declared.decl.span.start <= token.start < declared.decl.span.end:
            for field in _all_fields(declared):
                if field.span.start == token.start:
                    kind = "field" if declared.kind == "concept" else "argument"
                    return field_entry(field, f"{declared.kind} {declared.name}", kind=kind)
    return None


def _all_fields(declared: Declared) -> Iterator[ast.FieldDecl]:
    pending = list(fields_of(declared))
    while pending:
        field = pending.pop()
        yield field
        pending.extend(field.fields or ())


def _nearest(offered: list[Entry], around: Surroundings) -> Entry | None:
    """The most likely of several meanings; of several constructs the one that the file's imports reach."""
    if not offered:
        return None
    best = min(offered, key=lambda entry: entry.rank)
    if isinstance(best.about, Declared):
        near = around.index.find(best.label, (best.about.space,), around.path)
        return next((entry for entry in offered if entry.about is near), best)
    return best


def _elsewhere(around: Surroundings, at: int, text: str) -> Entry | None:
    """A meaning that the place alone does not tell: an alias, a word of the language, a name used too early."""
    place = around.place
    tokens = place.document.tokens
    if place.chain is not None:
        return None
    if place.region.name == "step" and place.previous is not None and place.previous.value in _TARGETS:
        target = around.callable(f"{place.previous.value} {text}")
        return construct_entry(target) if target else None
    is_key = at + 1 < len(tokens) and tokens[at + 1].kind == ":"
    declared = None if is_key else around.index.find(text, _SPACES, around.path)
    if declared is not None and place.string is None:
        return construct_entry(declared)
    if declared is not None and place.region.subject == "handler":
        return construct_entry(declared)
    if place.string is not None or is_key:
        return None
    if text in FUNCTIONS:
        return function_entry(FUNCTIONS[text])
    return _word(tokens[at], text)


def _word(token: Token, text: str) -> Entry | None:
    if not token.alt and token.kind != "DIRECTIVE":
        return None
    found: Iterable[Entry] = (
        entry for words in _WORDS for entry in word_entries(words, "keyword", rank=0, only=(text,))
    )
    return next(iter(found), None)
