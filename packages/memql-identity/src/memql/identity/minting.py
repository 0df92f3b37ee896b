"""Putting claims together and signing them (spec "JWT")."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from memql.auth.claims import TokenClass
from memql.identity.keyring import KeyRing

__all__ = ["Minted", "Minter", "random_secret"]


def random_secret(prefix: str = "") -> str:
    """43 characters of base64url: 32 random bytes, after a prefix such as ``mql_pat_``."""
    return prefix + secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A credential that is shown this once. ``id`` is the full id of the row that can revoke it."""

    token: str = field(repr=False)
    id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Minter:
    """Signs tokens of one issuer for one audience."""

    ring: KeyRing
    issuer: str
    audience: str

    def mint(
        self, token_class: TokenClass, subject: str, life: timedelta, own: Mapping[str, Any]
    ) -> tuple[str, datetime]:
        """A signed token, and when it expires.

        :param own: the claims of the class beside those that every token has; empty ones are left out.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        expires = now + life
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.audience,
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(expires.timestamp()),
            "jti": secrets.token_hex(16),
            **{name: value for name, value in own.items() if value != ""},
        }
        # A user's token says so by saying nothing.
        if token_class is not TokenClass.USER:
            claims["class"] = token_class.value
        return self.ring.sign(claims), expires
