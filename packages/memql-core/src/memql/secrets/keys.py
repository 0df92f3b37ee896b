"""The master key: 32 bytes, written as 64 hex digits, under which everything is sealed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from memql.errors import Code, MemqlError

__all__ = ["MASTER_KEY_VARIABLE", "MasterKey", "load_master_key"]

MASTER_KEY_VARIABLE = "MEMQL_MASTER_KEY"
_HEX = re.compile(r"[0-9A-Fa-f]{64}")


class MasterKey:
    """The key. It never shows in a representation, and is not comparable by accident."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != 32:
            raise ValueError("a master key has 32 bytes")
        self._raw = raw

    @classmethod
    def from_hex(cls, text: str) -> MasterKey:
        """The key that 64 hex digits spell.

        :raises MemqlError: ``CONFIG_INVALID``; the text is not repeated.
        """
        digits = text.strip()
        if not _HEX.fullmatch(digits):
            raise MemqlError(
                Code.CONFIG_INVALID,
                f"{MASTER_KEY_VARIABLE} is malformed: expected 64 hex digits (32 bytes), got {len(digits)} characters",
            )
        return cls(bytes.fromhex(digits))

    @classmethod
    def generate(cls) -> MasterKey:
        """A fresh random key."""
        return cls(secrets.token_bytes(32))

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return self._raw

    def to_hex(self) -> str:
        """The 64 hex digits, to be shown once to whoever must keep them."""
        return self._raw.hex()

    def __repr__(self) -> str:
        return "MasterKey(...)"


def load_master_key(environ: Mapping[str, str]) -> MasterKey:
    """The key in ``MEMQL_MASTER_KEY``. There is no fallback: without a key nothing is stored or read.

    :raises MemqlError: ``CONFIG_INVALID`` when it is missing or malformed.
    """
    text = environ.get(MASTER_KEY_VARIABLE, "")
    if not text.strip():
        raise MemqlError(
            Code.CONFIG_INVALID,
            f"{MASTER_KEY_VARIABLE} is not set, so secrets can be neither sealed nor opened; set it to 64 hex digits",
        )
    return MasterKey.from_hex(text)
