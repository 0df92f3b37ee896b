"""Cursors: where a page ended, as an opaque text that only the query it came from accepts.

A cursor holds the sort keys of the last row, signed together with what identifies the query: its text or name, its
arguments, and the caller. Whatever does not verify is refused, so a cursor grants nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import msgspec

from memql.errors import Code, MemqlError

__all__ = ["CursorCodec"]

_SIGNATURE_BYTES = 16
_encode = msgspec.json.Encoder(order="sorted").encode


class CursorCodec:
    """Makes and reads cursors under one key; all nodes of a system share it.

    :param key: at least 16 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the signing key of cursors needs at least 16 bytes")
        self._key = hashlib.sha256(b"memql cursor\x00" + key).digest()

    def encode(self, keys: Sequence[str | None], identity: bytes) -> str:
        """The cursor after a row with these sort keys."""
        body = _encode(list(keys))
        return base64.urlsafe_b64encode(self._sign(body, identity) + body).rstrip(b"=").decode()

    def decode(self, cursor: str, identity: bytes, size: int) -> list[str | None]:
        """The sort keys in a cursor.

        :param size: how many keys the query sorts by.
        :raises MemqlError: ``INVALID_ARGUMENT`` when it was changed, or belongs to another query or caller.
        """
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _refused() from None
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body, identity)):
            raise _refused()
        keys: list[str | None] = msgspec.json.decode(body)
        if len(keys) != size:
            raise _refused()
        return keys

    def _sign(self, body: bytes, identity: bytes) -> bytes:
        return hashlib.blake2b(identity + b"\x00" + body, key=self._key, digest_size=_SIGNATURE_BYTES).digest()


def identity_of(source: bytes, parts: Any) -> bytes:
    """What a cursor belongs to: the query, by a digest of its text, and the values given to it."""
    return source + _encode(parts)


def _refused() -> MemqlError:
    return MemqlError(
        Code.INVALID_ARGUMENT,
        "the cursor does not belong to this query with these arguments and this caller, or was changed; start again "
        "without a cursor",
    )
