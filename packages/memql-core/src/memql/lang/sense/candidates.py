"""What may stand at a place, by the region it is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from memql.lang.checker.tree import MODULES
from memql.lang.lexer import Token
from memql.lang.sense.annotated import annotation_arguments, annotations_here
from memql.lang.sense.entries import Entry, construct_entry, field_entry, name_entry, word_entries
from memql.lang.sense.expressions import expression, operators
from memql.lang.sense.fields_state import field_state
from memql.lang.sense.index import PLURALS, fields_of, members_of
from memql.lang.sense.place import ends_operand
from memql.lang.sense.quoted import in_string
from memql.lang.sense.requests import request
from memql.lang.sense.surroundings import Surroundings
from memql.lang.sense.vocabulary import (
    ACTION_WORDS,
    CLAUSE_WORDS,
    CONSTRUCT_WORDS,
    DIRECTIVE_WORDS,
    PUBLISHED_WORDS,
    ROOT_WORDS,
    STATEMENT_WORDS,
    TYPE_WORDS,
)

__all__ = ["candidates"]

_AFTER_KIND: Final = frozenset({"query", "mutation", "seed", "shape"})


def candidates(around: Surroundings) -> Iterator[Entry]:
    """Everything that may stand at a place, whatever is written of it already."""
    place = around.place
    previous = place.previous
    if place.string is not None:
        yield from in_string(around)
        return
    if previous is not None and previous.kind == "@" and previous.end == place.start:
        yield from annotations_here(place)
        return
    if place.chain is not None:
        yield from _after_dot(around, place.chain)
        return
    yield from _by_region(around)


def _after_dot(around: Surroundings, chain: tuple[str, ...]) -> Iterator[Entry]:
    header = around.place.header
    if header is not None and header.kind == "use" and around.place.region.name == "top":
        yield from _module_parts(around, ".".join(_use_path(around)))
    else:
        yield from around.members(chain)


def _by_region(around: Surroundings) -> Iterator[Entry]:
    place = around.place
    match place.region.name:
        case "top":
            yield from _top(around)
        case "use":
            yield from _symbols(around)
        case "annotation" if place.region.subject != "filter":
            yield from annotation_arguments(place, around, quoted=False)
        case "concept" | "fields" | "args":
            if field_state(place.items) == "type":
                yield from word_entries(TYPE_WORDS, "type", rank=10)
        case "type":
            yield from word_entries(TYPE_WORDS, "type", rank=10)
        case "query" | "mutation" | "policy" | "logic" | "automation" | "provider":
            yield from _clauses(around)
        case "step":
            yield from _step(around)
        case "shape":
            yield from _shape(around)
        case "seed":
            yield from _seed(around)
        case "write":
            yield from _write(around)
        case "object":
            yield from _object(around)
        case "body":
            yield from _statement(around)
        case "request":
            yield from request(around)
        case "filter" | "group" | "call" | "annotation":
            yield from _operand_or_operator(around)


# --- heads and imports -----------------------------------------------------------------------------------------------


def _top(around: Surroundings) -> Iterator[Entry]:
    place, header = around.place, around.place.header
    if header is None:
        yield from word_entries(CONSTRUCT_WORDS, "keyword", rank=10)
    elif header.kind == "use":
        yield from _module_parts(around, "")
    elif header.kind in _AFTER_KIND and place.items and place.items[-1].value == header.kind:
        for declared in around.index.of_kinds("concept"):
            yield construct_entry(declared)


def _use_path(around: Surroundings) -> list[str]:
    tokens = around.place.items
    at = max((index for index, token in enumerate(tokens) if token.value == "use"), default=-1)
    return [token.value for token in tokens[at + 1 :] if token.kind == "IDENT"]


def _module_parts(around: Surroundings, prefix: str) -> Iterator[Entry]:
    seen: set[str] = set()
    for namespace, kind in around.index.modules():
        path = f"{namespace}.{PLURALS[kind]}"
        if prefix and not path.startswith(f"{prefix}."):
            continue
        rest = path[len(prefix) + 1 :] if prefix else path
        part = rest.partition(".")[0]
        if part not in seen:
            seen.add(part)
            is_kind = "." not in rest and part in MODULES
            yield name_entry(part, "module", path if is_kind else f"namespace {part}", insert=part)


def _symbols(around: Surroundings) -> Iterator[Entry]:
    words = around.place.region.subject
    for declared in around.index.module(words):
        yield construct_entry(declared)


# --- clauses ---------------------------------------------------------------------------------------------------------


def _clauses(around: Surroundings) -> Iterator[Entry]:
    place = around.place
    kind = place.region.name
    words = CLAUSE_WORDS[kind]
    clause, since = _last_clause(place.items, frozenset(words))
    if not since and clause in ("filter", "asOf", "return", "paginate"):
        yield from expression(around, "L" if clause == "return" else "F")
    elif clause == "shape" and not since:
        concept = around.concept
        for declared in around.index.of_kinds("shape"):
            fits = concept is not None and getattr(declared.decl, "concept", None) == concept.name
            yield construct_entry(declared, rank=10 if fits else 30)
    elif clause in ("insert", "update", "delete") and not since:
        return
    elif clause in ("filter", "asOf", "return") and not ends_operand(since):
        yield from expression(around, "L" if clause == "return" else "F")
    else:
        if clause in ("filter", "return"):
            yield from operators(rank=30)
        written = {token.value for token in place.items if token.alt}
        yield from word_entries(
            words, "keyword", rank=10, only=[word for word in words if word not in written or word == "step"]
        )


def _last_clause(items: list[Token], words: frozenset[str]) -> tuple[str, list[Token]]:
    """The last clause that was begun, and what is written of it."""
    for index in range(len(items) - 1, -1, -1):
        token = items[index]
        if token.value in words and token.alt == token.value and (not index or items[index - 1].kind != "."):
            return token.value, items[index + 1 :]
    return "", []


def _step(around: Surroundings) -> Iterator[Entry]:
    items = around.place.items
    last = items[-1] if items else None
    if last is not None and last.value in ("logic", "query", "mutation", "builtin", "automation"):
        for declared in around.index.tree.declared:
            if declared.kind == last.value:
                yield construct_entry(declared)
    elif items and any(token.value == "if" for token in items) and not ends_operand(items):
        yield from expression(around, "L")
    elif last is None:
        yield from word_entries(ACTION_WORDS, "keyword", rank=10)


# --- blocks ----------------------------------------------------------------------------------------------------------


def _shape(around: Surroundings) -> Iterator[Entry]:
    items = around.place.items
    if items and items[-1].value == "include":
        for declared in around.index.of_kinds("shape"):
            yield construct_entry(declared)
        return
    if items and items[-1].value == "as":
        return
    yield from word_entries(ROOT_WORDS, "keyword", rank=10, only=("row", "payload", "actor"))
    yield name_entry("include", "keyword", "Takes over another shape.", rank=20)
    yield name_entry("as", "keyword", "The key of the member before.", rank=20)


def _seed(around: Surroundings) -> Iterator[Entry]:
    place = around.place
    if place.previous is not None and place.previous.kind == ":":
        yield from word_entries(ROOT_WORDS, "value", rank=20, only=("true", "false", "null"))
        return
    for field, owner in around.payload_fields(place.region.path):
        yield field_entry(field, owner, suffix=": " if field.fields is None else " ")
    if not place.region.path:
        yield name_entry("id", "property", "The short id; the seed's name unless given.", insert="id: ")


def _write(around: Surroundings) -> Iterator[Entry]:
    if not _begins_entry(around):
        yield from _operand_or_operator(around)
        return
    kind = around.place.region.subject
    given = _keys(around.place.items)
    if "id" not in given:
        yield name_entry("id", "property", "The id; derived from the content unless given.", insert="id: ")
    if kind == "delete":
        yield name_entry("reason", "property", "Why, for the history.", insert="reason: ")
        return
    for field, owner in around.payload_fields():
        if field.name not in given:
            yield field_entry(field, owner, suffix=": ")
    yield from word_entries(ROOT_WORDS, "keyword", rank=30, only=("args",))


def _object(around: Surroundings) -> Iterator[Entry]:
    place = around.place
    region = place.region
    if not _begins_entry(around):
        yield from _operand_or_operator(around)
        return
    given = _keys(place.items)
    if region.subject == "write":
        for field, owner in around.payload_fields(region.path):
            if field.name not in given:
                yield field_entry(field, owner, suffix=": ")
    elif region.subject.endswith("publishEvent") and not region.path:
        yield from word_entries(PUBLISHED_WORDS, "argument", rank=10)
    elif region.subject:
        target = around.callable(region.subject.removeprefix("call "))
        for field in members_of(fields_of(target), region.path) if target else ():
            if field.name not in given:
                yield field_entry(field, f"argument of {target.name}" if target else "", kind="argument", suffix=": ")


def _begins_entry(around: Surroundings) -> bool:
    """Whether a key may stand at a place in a block of entries: at its beginning, after a comma, on a new line."""
    items = around.place.items
    if not items or items[-1].kind == ",":
        return True
    return _on_new_line(around) and ends_operand(items) and items[-1].kind != ":"


def _keys(items: list[Token]) -> frozenset[str]:
    return frozenset(items[index - 1].value for index, token in enumerate(items) if token.kind == ":" and index)


def _on_new_line(around: Surroundings) -> bool:
    place = around.place
    previous = place.previous
    return previous is None or "\n" in place.document.text[previous.end : place.start]


def _statement(around: Surroundings) -> Iterator[Entry]:
    items = around.place.items
    if items and ends_operand(items) and not _on_new_line(around):
        yield from operators(rank=20)
        return
    if not items or _on_new_line(around):
        yield from word_entries(STATEMENT_WORDS, "keyword", rank=25)
    elif items[-1].kind == ":=":
        yield from word_entries(STATEMENT_WORDS, "keyword", rank=25, only=("if",))
    yield from expression(around, "L")


def _operand_or_operator(around: Surroundings) -> Iterator[Entry]:
    items = around.place.items
    if ends_operand(items):
        yield from operators(rank=20)
        return
    place = around.place
    if place.region.place == "R" and place.region.name == "call" and place.region.subject in DIRECTIVE_WORDS:
        yield from request(around)
        return
    yield from expression(around, place.region.place or "F")
