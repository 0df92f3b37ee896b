"""Verifying a token, step by step in a fixed order (spec "JWT")."""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import msgspec

from memql.auth.claims import Claims, read_claims
from memql.auth.keys import KeySource, PublicKey
from memql.auth.refusals import Cause, RefusedError

__all__ = ["ALGORITHM", "LEEWAY_SECONDS", "MAX_TOKEN_BYTES", "TokenVerifier"]

ALGORITHM = "EdDSA"
MAX_TOKEN_BYTES = 8 * 1024
LEEWAY_SECONDS = 30.0
"""How far clocks may differ."""

_KID = re.compile(r"[A-Za-z0-9_.~-]{1,128}")
_LATEST = 253_402_300_799
"""The last second of the year 9999."""


class TokenVerifier:
    """Verifies tokens of one issuer for one audience.

    What the database says about the token's user, session and credential is another matter: see
    :class:`memql.auth.credentials.CredentialStore`.

    :param keys: where public keys are found.
    :param issuer: the ``iss`` that counts, without a slash at its end.
    :param audience: what ``aud`` must contain.
    :param clock: seconds since 1970.
    """

    def __init__(
        self, keys: KeySource, *, issuer: str, audience: str = "memql", clock: Callable[[], float] = time.time
    ) -> None:
        self.keys = keys
        self.issuer = issuer
        self.audience = audience
        self._clock = clock

    async def verify(self, token: str) -> Claims:
        """The claims of a token that is sound.

        :raises MemqlError: ``UNAUTHENTICATED`` with one fixed text, whatever is wrong (a :class:`RefusedError`, whose
            cause is logged and counted); ``UNAVAILABLE`` while no public key is known.
        """
        kid = self._key_id(token)
        key = await self.keys.find(kid)
        if key is None:
            raise RefusedError(Cause.UNKNOWN_KEY, kid)
        raw = _open(token, key)
        self._check_origin(raw)
        self._check_times(raw)
        return read_claims(raw)

    def _key_id(self, token: str) -> str:
        """Judge size and header; ``jku``, ``jwk`` and ``x5u`` are never looked at."""
        if len(token) > MAX_TOKEN_BYTES or len(token.encode("utf-8", "replace")) > MAX_TOKEN_BYTES:
            raise RefusedError(Cause.OVERSIZE, f"{len(token)} characters")
        header = _header(token)
        if header.get("alg") != ALGORITHM:
            raise RefusedError(Cause.ALGORITHM, repr(header.get("alg"))[:32])
        if "crit" in header:
            raise RefusedError(Cause.CRITICAL_HEADER)
        kid = header.get("kid")
        if not isinstance(kid, str) or not _KID.fullmatch(kid):
            raise RefusedError(Cause.KEY_ID)
        return kid

    def _check_origin(self, raw: Mapping[str, Any]) -> None:
        if raw.get("iss") != self.issuer:
            raise RefusedError(Cause.ISSUER, repr(raw.get("iss"))[:128])
        audience = raw.get("aud")
        if self.audience not in (audience if isinstance(audience, list) else [audience]):
            raise RefusedError(Cause.AUDIENCE, repr(audience)[:128])

    def _check_times(self, raw: Mapping[str, Any]) -> None:
        """Those that are present; that all must be is judged with the other claims."""
        now = self._clock()
        expires, begins = _seconds(raw, "exp"), max(_seconds(raw, "nbf") or 0, _seconds(raw, "iat") or 0)
        if expires is not None and expires + LEEWAY_SECONDS <= now:
            raise RefusedError(Cause.EXPIRED)
        if begins - LEEWAY_SECONDS > now:
            raise RefusedError(Cause.NOT_YET_VALID)


def _header(token: str) -> dict[str, Any]:
    segments = token.split(".")
    if len(segments) != 3:
        raise RefusedError(Cause.MALFORMED, f"{len(segments)} segments")
    try:
        text = b64decode(segments[0] + "=" * (-len(segments[0]) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, msgspec.MsgspecError):
        raise RefusedError(Cause.MALFORMED, "the header is none") from None


def _open(token: str, key: PublicKey) -> dict[str, Any]:
    """The payload of a token that the key has signed. The key is an Ed25519 one by its type: Ed448 never gets here."""
    try:
        return jwt.decode(token, key.key, algorithms=[ALGORITHM], options=_SIGNATURE_ONLY)
    except jwt.InvalidSignatureError:
        raise RefusedError(Cause.SIGNATURE, f"key {key.kid}") from None
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise RefusedError(Cause.MALFORMED, type(error).__name__) from None


_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


def _seconds(raw: Mapping[str, Any], name: str) -> float | None:
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise RefusedError(Cause.MALFORMED, f"{name} is no time")
    return float(value)
