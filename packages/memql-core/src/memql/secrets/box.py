"""One sealed value: standard base64 of a 24-byte nonce and a NaCl secretbox (spec "Secrets and variables")."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from memql.errors import Code, MemqlError
from memql.secrets.keys import MasterKey

__all__ = ["fingerprint", "open_value", "seal_value"]

_SMALLEST = SecretBox.NONCE_SIZE + SecretBox.MACBYTES
_LONGEST_HIDDEN = 8
"""Values of up to so many characters show nothing: four of them would be half the secret."""


def seal_value(key: MasterKey, plaintext: str, *, nonce: bytes | None = None) -> str:
    """Seal a text, without the white space around it.

    :param nonce: 24 bytes that this key has never sealed with; random unless given.
    :raises MemqlError: ``INVALID_ARGUMENT`` when nothing is left to seal.
    """
    trimmed = plaintext.strip()
    if not trimmed:
        raise MemqlError(Code.INVALID_ARGUMENT, "a secret must not be empty")
    return b64encode(bytes(SecretBox(key.raw).encrypt(trimmed.encode(), nonce))).decode("ascii")


def open_value(key: MasterKey, sealed: str) -> str:
    """Open what :func:`seal_value` made.

    :raises MemqlError: ``VALIDATION_FAILED`` when it is no sealed value, ``FAILED_PRECONDITION`` when it was
        sealed under another key or has been changed.
    """
    try:
        box = b64decode(sealed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MemqlError(Code.VALIDATION_FAILED, "a sealed value is not base64") from error
    if len(box) <= _SMALLEST:
        raise MemqlError(Code.VALIDATION_FAILED, f"a sealed value of {len(box)} bytes is too short to hold anything")
    try:
        return SecretBox(key.raw).decrypt(box).decode()
    except CryptoError as error:
        message = "a secret cannot be opened: it was sealed under another master key, or it has been changed"
        raise MemqlError(Code.FAILED_PRECONDITION, message) from error


def fingerprint(value: str) -> str:
    """How a secret is shown: ``...`` and its last four characters, ``****`` when it has at most eight."""
    trimmed = value.strip()
    return "****" if len(trimmed) <= _LONGEST_HIDDEN else f"...{trimmed[-4:]}"
