"""Versions as lines of PostgreSQL's COPY text format."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from operator import is_
from typing import Any

import msgspec

from memql.graph.log import NewVersion

__all__ = ["RowEncoder"]

_encode = msgspec.json.Encoder().encode
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class RowEncoder:
    """Encodes rows in the order of the logged columns, then instant and number.

    What many rows share (concept, schema, provenance and so on) is encoded once: members are compared by
    identity.
    """

    __slots__ = ("_front", "_front_of", "_instant", "_instant_text", "_rear", "_rear_of")

    def __init__(self) -> None:
        self._front_of: tuple[Any, ...] = ()
        self._front = b""
        self._rear_of: tuple[Any, ...] = ()
        self._rear = b""
        self._instant: datetime | None = None
        self._instant_text = b""

    def encode(self, version: NewVersion, created_at: datetime, number: int | None = None) -> bytes:
        """One line; without a number the line ends after the instant."""
        front_of = (version.concept, version.type, version.created_by, version.schema)
        if not _same(front_of, self._front_of):
            self._front_of, self._front = front_of, _front(version)
        rear_of = (version.metadata, version.provenance, version.deleted)
        if not _same(rear_of, self._rear_of):
            self._rear_of, self._rear = rear_of, _rear(version)
        if created_at is not self._instant:
            self._instant = created_at
            self._instant_text = created_at.isoformat().encode()
        end = b"\n" if number is None else b"\t%d\n" % number
        return b"".join((_text(version.id), self._front, _json(version.payload), self._rear, self._instant_text, end))


def _front(version: NewVersion) -> bytes:
    names = (_text(version.concept), _text(version.type), _text(version.created_by))
    return b"\t%s\t%s\t" % (b"\t".join(names), _json(version.schema))


def _rear(version: NewVersion) -> bytes:
    flag = b"t" if version.deleted else b"f"
    return b"\t%s\t%s\t%s\t" % (_json(version.metadata or {}), _json(version.provenance), flag)


def _same(members: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(members) == len(others) and all(map(is_, members, others))


def _text(value: str) -> bytes:
    return value.translate(_ESCAPES).encode()


def _json(value: Mapping[str, Any] | msgspec.Raw) -> bytes:
    # JSON text has no tabs or line breaks of its own: only backslashes need escaping.
    return _encode(value).replace(b"\\", b"\\\\")
