"""The text form of values, and what counts as blank."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

__all__ = ["BLANK", "is_blank", "json_text", "text_hash", "text_of"]

BLANK = " \t\n\r\f\v"
"""The characters that make up blank text and that ``trim`` removes."""

_encode = msgspec.json.encode


def is_blank(value: Any) -> bool:
    """Whether a value is null or text of nothing but blanks."""
    return value is None or (isinstance(value, str) and not value.strip(BLANK))


def json_text(value: Any) -> str:
    """The compact JSON form; null is the empty text."""
    return "" if value is None else _encode(value).decode()


def text_of(value: Any) -> str:
    """The text form: strings as they are, null empty, anything else its JSON form."""
    if isinstance(value, str):
        return value
    return json_text(value)


def text_hash(value: Any) -> str:
    """Lower-hex SHA-256 of the text form."""
    return hashlib.sha256(text_of(value).encode()).hexdigest()
