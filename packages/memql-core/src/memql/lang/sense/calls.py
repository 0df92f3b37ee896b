"""``signature_help``: the call around the cursor, and the parameter that is being written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from memql.lang.annotations import signature as annotation_signature
from memql.lang.catalog import Catalog
from memql.lang.functions import FUNCTIONS
from memql.lang.lexer import Token
from memql.lang.sense.annotated import rows_named
from memql.lang.sense.describe import call_label, construct_documentation, field_documentation, field_label
from memql.lang.sense.document import open_document
from memql.lang.sense.index import fields_of, index_of, tree_path
from memql.lang.sense.model import Parameter, Signature, SignatureHelp
from memql.lang.sense.place import Frame, place_at
from memql.lang.sense.surroundings import Surroundings
from memql.lang.sense.vocabulary import DIRECTIVE_WORDS, INTROSPECTION_WORDS, RELATION_WORDS, WRITE_REQUESTS

__all__ = ["signature_help"]

_PLACEHOLDER: Final = re.compile(r"\$\{\d+[:|]([^}|]*)\|?\}|\$\d")
_SEPARATED: Final = re.compile(r'(?:"[^"]*"|\{[^{}]*\}|[^,"{}])+')


def signature_help(source: str, line: int, column: int, path: str, catalog: Catalog) -> SignatureHelp | None:
    """The innermost call or annotation whose brackets hold a place, or None. Never raises.

    Parameters are those of :func:`memql.lang.sense.complete`.
    """
    document = open_document(source, tree_path(catalog, path))
    offset = document.offset(line, column)
    if document.in_comment(offset):
        return None
    place = place_at(document, offset)
    around = Surroundings(place, index_of(catalog, document))
    for frame in reversed(place.frames):
        if (found := _help(frame, around)) is not None:
            return found
    return None


def _help(frame: Frame, around: Surroundings) -> SignatureHelp | None:
    region = frame.region
    if region.name == "annotation":
        return _of_annotation(frame, around)
    subject = region.subject
    if region.name == "object" and subject and subject != "write":
        return _of_construct(subject.removeprefix("call "), frame, around)
    if region.name != "call":
        return None
    return _of_word(subject, frame, around) or _of_construct(subject, frame, around)


def _of_construct(name: str, frame: Frame, around: Surroundings) -> SignatureHelp | None:
    target = around.callable(name)
    if target is None:
        return None
    fields = fields_of(target)
    names = [field.name for field in fields]
    key = frame.region.path[0] if frame.region.path else _key(frame.items)
    given = {token.value for token in frame.items}
    active = names.index(key) if key in names else next((at for at, name in enumerate(names) if name not in given), 0)
    parameters = tuple(Parameter(field_label(field), field_documentation(field)) for field in fields)
    return SignatureHelp((Signature(call_label(target), construct_documentation(target), parameters),), 0, active)


def _key(items: Sequence[Token]) -> str:
    """The key whose value is being written, empty while it is the key itself."""
    for index in range(len(items) - 1, 0, -1):
        if items[index].kind == ",":
            return ""
        if items[index].kind in (":", "="):
            return items[index - 1].value
    return ""


def _of_word(name: str, frame: Frame, around: Surroundings) -> SignatureHelp | None:
    in_filter = frame.region.place in ("F", "R")
    if name in RELATION_WORDS and (in_filter or name not in FUNCTIONS):
        return _of_text(f"{name}(filter)", RELATION_WORDS[name][1], frame)
    if around.place.header is None:
        for words in (DIRECTIVE_WORDS, WRITE_REQUESTS, INTROSPECTION_WORDS):
            if name in words:
                form, meaning = words[name]
                return _of_text(_PLACEHOLDER.sub(lambda match: match[1] or "", form), meaning, frame)
    if name in FUNCTIONS:
        return _of_text(FUNCTIONS[name].signature, FUNCTIONS[name].summary, frame)
    return None


def _of_annotation(frame: Frame, around: Surroundings) -> SignatureHelp | None:
    outer = place_at(around.place.document, around.place.document.tokens[frame.opened - 1].start)
    rows = rows_named(frame.region.subject, outer)
    if not rows:
        return None
    row = rows[0]
    found = _of_text(annotation_signature(row), row.summary, frame)
    names = [param.name for param in row.params]
    key = _key(frame.items)
    return SignatureHelp(found.signatures, 0, names.index(key)) if key in names else found


def _of_text(label: str, meaning: str, frame: Frame) -> SignatureHelp:
    """A signature from its text: parameters are what the commas in its brackets separate."""
    inner = label.partition("(")[2].rpartition(")")[0].replace("[", "").replace("]", "")
    parameters = tuple(Parameter(part.strip()) for part in _SEPARATED.findall(inner) if part.strip())
    commas = sum(token.kind == "," for token in frame.items)
    return SignatureHelp((Signature(label, meaning, parameters),), 0, min(commas, max(len(parameters) - 1, 0)))
