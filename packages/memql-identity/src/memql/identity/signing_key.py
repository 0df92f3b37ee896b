"""One Ed25519 signing key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memql.auth.keys import PublicKey
from memql.auth.verifier import ALGORITHM

__all__ = ["SEED_BYTES", "SigningKey"]

SEED_BYTES = 32


@dataclass(frozen=True)
class SigningKey:
    """A key by its seed. ``retires_at`` is when one that no longer signs stops counting; None while it signs."""

    seed: bytes = field(repr=False)
    created_at: datetime
    retires_at: datetime | None = None

    @classmethod
    def generate(cls) -> SigningKey:
        """A fresh random key, made now."""
        return cls(secrets.token_bytes(SEED_BYTES), datetime.now(UTC))

    @cached_property
    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @cached_property
    def public(self) -> PublicKey:
        """What verifies its signatures."""
        return PublicKey.of(self._private.public_key().public_bytes_raw())

    @property
    def kid(self) -> str:
        """Its id."""
        return self.public.kid

    def sign(self, claims: dict[str, Any]) -> str:
        """A token with these claims."""
        return jwt.encode(claims, self._private, algorithm=ALGORITHM, headers={"kid": self.kid})

    def counts_at(self, moment: datetime) -> bool:
        """Whether its tokens still count then."""
        return self.retires_at is None or moment < self.retires_at
