"""Record ids: ``{concept}:{shortId}`` (spec "Ids").

A concept id is ``v<MAJOR>:<namespace>[:<namespace>...]:<name>``; a short id has no colon, so an id splits
unambiguously once the registered concepts are known.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import rfc8785

from memql.errors import Code, MemqlError

__all__ = [
    "CONCEPT_ID",
    "SHORT_ID",
    "ParsedId",
    "canonical_json",
    "content_id",
    "derived_id",
    "new_id",
    "parse_id",
    "qualify",
    "short_id",
]

CONCEPT_ID = re.compile(r"v[0-9]+(?::[A-Za-z_][A-Za-z0-9_]*){2,}")
SHORT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,199}")
_EXACT = 2**53
"""Integers of this size and beyond have no exact double, hence no canonical form."""
_encode = msgspec.json.encode
_FALLBACK = re.compile(r"(v[0-9]+:[^:]+:[^:]+):(.+)", re.DOTALL)


class ParsedId(NamedTuple):
    """An id cut in two; ``concept`` is empty for a bare short id."""

    concept: str
    short: str


def parse_id(text: str, is_concept: Callable[[str], bool]) -> ParsedId:
    """Split an id: the longest registered concept that prefixes it, else ``v<digits>`` and two segments, else bare.

    :param is_concept: whether a string is a registered concept id.
    """
    cut = text.rfind(":")
    while cut > 0:
        if is_concept(text[:cut]):
            return ParsedId(text[:cut], text[cut + 1 :])
        cut = text.rfind(":", 0, cut)
    if match := _FALLBACK.fullmatch(text):
        return ParsedId(match[1], match[2])
    return ParsedId("", text)


def short_id(text: str) -> str:
    """The part of an id after its concept; a bare id is its own short id. Short ids never hold a colon."""
    return text.rpartition(":")[2]


def qualify(value: str, concept: str) -> str:
    """The canonical id of ``value`` in ``concept``; accepts a bare short id or one already prefixed.

    :raises MemqlError: ``VALIDATION_FAILED`` when it belongs to another concept or has a character an id cannot have.
    """
    prefix = concept + ":"
    bare = value[len(prefix) :] if value.startswith(prefix) else value
    if SHORT_ID.fullmatch(bare):
        return prefix + bare
    raise MemqlError(
        Code.VALIDATION_FAILED,
        f"{value!r} is not an id of {concept}: expected letters, digits and ._~- (at most 200, starting with a "
        f"letter or digit), bare or after {prefix!r}",
        details={"violations": [{"path": "id", "rule": "id", "message": f"{value!r} is not an id of {concept}"}]},
    )


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 form of a JSON value.

    Where no number is a float and all keys are ASCII, sorted compact JSON is that form, and is made in C.

    :raises rfc8785.CanonicalizationError: for a value that has none, such as an integer beyond 2**53.
    """
    return _encode(value, order="sorted") if _is_plain(value) else rfc8785.dumps(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, str | bool) or value is None:
        return True
    if isinstance(value, int):
        return -_EXACT < value < _EXACT
    if isinstance(value, dict):
        return "".join(value).isascii() and all(map(_is_plain, value.values()))
    return isinstance(value, list) and all(map(_is_plain, value))


def content_id(concept: str, payload: Mapping[str, Any], salt: str = "") -> str:
    """The short id derived from content: lower-hex SHA-256 of the RFC 8785 JSON of concept and payload."""
    body: dict[str, Any] = {"concept": concept, "payload": payload}
    if salt:
        body["salt"] = salt
    try:
        canonical = canonical_json(body)
    except rfc8785.CanonicalizationError as error:
        raise MemqlError(
            Code.VALIDATION_FAILED,
            f"the payload of {concept} has no canonical JSON form ({error}); give the record an id",
            details={"violations": [{"path": "payload", "rule": "canonical", "message": str(error)}]},
        ) from error
    return hashlib.sha256(canonical).hexdigest()


def new_id() -> str:
    """A fresh random short id (UUID hex)."""
    return uuid.uuid4().hex


def derived_id(*parts: str) -> str:
    """A deterministic short id (32 hex digits) from parts, for writes that may be repeated, such as an automation's."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
