"""A signing key under a secret: AES-256-GCM with a key that Argon2id makes of the secret (spec "Signing keys and
JWKS")."""

from __future__ import annotations

import binascii
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.pwhash import argon2id

from memql.errors import Code, MemqlError

__all__ = ["is_sealed", "seal", "unseal"]

_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_PASSES: Final = 2
_MEMORY_BYTES: Final = 64 * 1024 * 1024
_MOST_PASSES: Final = 16
_MOST_MEMORY: Final = 1024 * 1024 * 1024


def seal(plaintext: bytes, secret: str) -> dict[str, Any]:
    """The members of a key file that hold ``plaintext`` sealed, the parameters of the derivation beside it."""
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    key = argon2id.kdf(_KEY_BYTES, secret.encode(), salt, _PASSES, _MEMORY_BYTES)
    return {
        "kdf": {"name": "argon2id", "passes": _PASSES, "memoryBytes": _MEMORY_BYTES, "lanes": 1},
        "encSalt": _encode(salt),
        "encNonce": _encode(nonce),
        "encPayload": _encode(AESGCM(key).encrypt(nonce, plaintext, None)),
    }


def is_sealed(members: Mapping[str, Any]) -> bool:
    """Whether a key file is a sealed one."""
    return "encPayload" in members


def unseal(members: Mapping[str, Any], secret: str) -> bytes:
    """Open what :func:`seal` made.

    :raises MemqlError: ``CONFIG_INVALID`` for another secret, a changed file, or parameters out of bounds.
    """
    try:
        passes, memory = _parameters(members.get("kdf"))
        salt, nonce, payload = (_decode(members[name]) for name in ("encSalt", "encNonce", "encPayload"))
        key = argon2id.kdf(_KEY_BYTES, secret.encode(), salt, passes, memory)
        return AESGCM(key).decrypt(nonce, payload, None)
    except InvalidTag as error:
        raise MemqlError(
            Code.CONFIG_INVALID,
            "the signing key cannot be opened: IDENTITY_KEY_ENCRYPTION_KEY is not the secret it was stored under, or "
            "the file has been changed",
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"the stored signing key is malformed ({type(error).__name__})"
        ) from error


def _parameters(kdf: Any) -> tuple[int, int]:
    """Passes and memory; a file without them was made with the usual ones."""
    if kdf is None:
        return _PASSES, _MEMORY_BYTES
    passes, memory = int(kdf["passes"]), int(kdf["memoryBytes"])
    if kdf["name"] != "argon2id" or not (1 <= passes <= _MOST_PASSES and 8192 <= memory <= _MOST_MEMORY):
        raise ValueError("kdf")
    return passes, memory


def _encode(data: bytes) -> str:
    return b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError("base64") from error
