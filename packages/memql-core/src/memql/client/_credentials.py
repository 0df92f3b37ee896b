"""The client's credential: where it comes from, and when the next one is due."""

from __future__ import annotations

import binascii
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable

import msgspec

__all__ = ["Credentials", "TokenSource", "expiry_of"]

TokenSource = str | Callable[[], Awaitable[str]] | None
"""A token, or a coroutine function that is asked for one on every dial and before a token expires."""

_LEAD_SECONDS = 60.0


class Credentials:
    """The token in use and its source."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self.token = ""

    @property
    def can_renew(self) -> bool:
        """Whether another token can be had."""
        return callable(self._source)

    async def renew(self) -> str:
        """Ask the source; the answer is the token in use from now on."""
        source = self._source
        self.token = (source or "") if isinstance(source, str | None) else await source()
        return self.token

    def seconds_left(self) -> float | None:
        """Seconds until the next token should be asked for, a minute before this one expires; None for
        never."""
        expiry = expiry_of(self.token) if self.can_renew else None
        return None if expiry is None else max(expiry - time.time() - _LEAD_SECONDS, 0.0)


def expiry_of(token: str) -> float | None:
    """When a JWT expires, in seconds of the epoch, unverified; None for anything else."""
    parts = token.rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return float(expiry) if isinstance(expiry, int | float) and not isinstance(expiry, bool) else None
