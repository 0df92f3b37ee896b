"""Public keys that tokens are verified with, and where they come from (spec "Signing keys and JWKS")."""

from __future__ import annotations

import binascii
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prometheus_client import Gauge

__all__ = ["KeySource", "PublicKey", "ShownKeySet", "fingerprint", "kid_of", "read_key_set"]

_KEY_BYTES = 32
_keyset = Gauge("memql_jwks_keyset", "1 for the set of public keys in use; all nodes should show one", ["fingerprint"])


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def kid_of(raw: bytes) -> str:
    """The id of a public key: base64url of the first eight bytes of its SHA-256."""
    return base64url(hashlib.sha256(raw).digest()[:8])


@dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key: its id and its 32 bytes."""

    kid: str
    raw: bytes

    @classmethod
    def of(cls, raw: bytes) -> PublicKey:
        """The key of 32 bytes, under its own id."""
        return cls(kid_of(raw), raw)

    @cached_property
    def key(self) -> Ed25519PublicKey:
        """What signatures are checked with."""
        return Ed25519PublicKey.from_public_bytes(self.raw)

    def to_jwk(self) -> dict[str, str]:
        """One element of a JWKS."""
        return {
            "kty": "OKP",
            "alg": "EdDSA",
            "use": "sig",
            "crv": "Ed25519",
            "kid": self.kid,
            "x": base64url(self.raw),
        }


class KeySource(Protocol):
    """Where a verifier finds public keys."""

    async def find(self, kid: str) -> PublicKey | None:
        """The key of that id, None when there is none.

        :raises MemqlError: ``UNAVAILABLE`` while no key at all is known.
        """
        ...

    @property
    def ready(self) -> bool:
        """Whether any key is known."""
        ...


def read_key_set(document: Any) -> dict[str, PublicKey]:
    """The usable keys of a JWKS document by id; keys of other kinds are passed over."""
    items = document.get("keys") if isinstance(document, Mapping) else None
    found = (_read_key(item) for item in items) if isinstance(items, list) else ()
    return {key.kid: key for key in found if key is not None}


def _read_key(item: Any) -> PublicKey | None:
    if not isinstance(item, Mapping):
        return None
    kid, x = item.get("kid"), item.get("x")
    for name, wanted in (("kty", "OKP"), ("crv", "Ed25519")):
        if item.get(name) != wanted:
            return None
    if item.get("use", "sig") != "sig" or item.get("alg", "EdDSA") != "EdDSA":
        return None
    if not (isinstance(kid, str) and kid and isinstance(x, str)):
        return None
    try:
        raw = urlsafe_b64decode(x + "=" * (-len(x) % 4))
    except (binascii.Error, ValueError):
        return None
    return PublicKey(kid, raw) if len(raw) == _KEY_BYTES else None


def fingerprint(kids: Iterable[str]) -> str:
    """What tells sets of keys apart: 16 hex digits of the SHA-256 of their sorted ids; empty for none."""
    text = ",".join(sorted(kids))
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


class ShownKeySet:
    """The gauge ``memql_jwks_keyset`` of one holder of keys."""

    def __init__(self) -> None:
        self.fingerprint = ""

    def show(self, kids: Iterable[str]) -> None:
        """Show another set instead of the last one."""
        current = fingerprint(kids)
        if current == self.fingerprint:
            return
        if self.fingerprint:
            _keyset.remove(self.fingerprint)
        if current:
            _keyset.labels(fingerprint=current).set(1)
        self.fingerprint = current
