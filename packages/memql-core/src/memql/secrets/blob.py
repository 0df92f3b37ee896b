"""A sealed file, ``.znas``: a header, a nonce and one NaCl secretbox (spec "Secrets", whole blob).

======  ====================================
bytes   content
======  ====================================
0-3     ``ZNAS``
4       version, 1
5       algorithm, 1: XSalsa20-Poly1305
6-7     zero
8-31    nonce
32-     sealed bytes, a 16-byte tag included
======  ====================================
"""

from __future__ import annotations

import secrets
from enum import Enum

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from memql.errors import Code, MemqlError
from memql.secrets.keys import MASTER_KEY_VARIABLE, MasterKey

__all__ = ["BlobFault", "open_blob", "seal_blob"]

_MAGIC = b"ZNAS"
_VERSION = 1
_ALGORITHM = 1
_HEADER = _MAGIC + bytes((_VERSION, _ALGORITHM, 0, 0))
_BODY = len(_HEADER) + SecretBox.NONCE_SIZE
_SMALLEST = _BODY + SecretBox.MACBYTES


class BlobFault(str, Enum):
    """Why a blob cannot be opened; stands in ``details.reason`` of the error."""

    SHORT = "short"
    MAGIC = "magic"
    VERSION = "version"
    ALGORITHM = "algorithm"
    RESERVED = "reserved"
    KEY_MISSING = "key_missing"
    AUTHENTICATION = "authentication"


def seal_blob(key: MasterKey, plaintext: bytes, *, nonce: bytes | None = None) -> bytes:
    """Seal bytes.

    :param nonce: 24 bytes that this key has never sealed with; random unless given.
    """
    chosen = secrets.token_bytes(SecretBox.NONCE_SIZE) if nonce is None else nonce
    return _HEADER + bytes(SecretBox(key.raw).encrypt(plaintext, chosen))


def open_blob(key: MasterKey | None, blob: bytes) -> bytes:
    """Open what :func:`seal_blob` made.

    The header is judged before the key is asked for, so that a wrong file is told apart from a wrong key.

    :raises MemqlError: ``FAILED_PRECONDITION`` with a :class:`BlobFault` in ``details.reason``.
    """
    _check_header(blob)
    if key is None:
        raise _fault(BlobFault.KEY_MISSING, f"{MASTER_KEY_VARIABLE} is not set, so the sealed file cannot be opened")
    try:
        return SecretBox(key.raw).decrypt(blob[_BODY:], blob[len(_HEADER) : _BODY])
    except CryptoError as error:
        message = "the sealed file was sealed under another master key, or it has been changed"
        raise _fault(BlobFault.AUTHENTICATION, message) from error


def _check_header(blob: bytes) -> None:
    if len(blob) < _SMALLEST:
        raise _fault(BlobFault.SHORT, f"a sealed file has at least {_SMALLEST} bytes, this one has {len(blob)}")
    if blob[:4] != _MAGIC:
        raise _fault(BlobFault.MAGIC, "this is no sealed file: it does not begin with ZNAS")
    if blob[4] != _VERSION:
        raise _fault(BlobFault.VERSION, f"the sealed file has version {blob[4]}; this program reads {_VERSION}")
    if blob[5] != _ALGORITHM:
        raise _fault(BlobFault.ALGORITHM, f"the sealed file uses algorithm {blob[5]}; this program has {_ALGORITHM}")
    if blob[6:8] != b"\0\0":
        raise _fault(BlobFault.RESERVED, "bytes 6 and 7 of the sealed file must be zero")


def _fault(reason: BlobFault, message: str) -> MemqlError:
    return MemqlError(Code.FAILED_PRECONDITION, message, details={"reason": reason.value})
