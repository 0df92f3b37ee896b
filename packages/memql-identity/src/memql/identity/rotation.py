"""Replacing keys on disk: staged, then signing, then published only, then gone (spec "Signing keys and JWKS")."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import anyio

from memql.errors import MemqlError
from memql.identity.keyring import KeyRing

__all__ = ["CHECK_SECONDS", "STAGED_FOR", "Rotation", "Step"]

log = logging.getLogger(__name__)

CHECK_SECONDS = 3600.0
STAGED_FOR = timedelta(minutes=15)
"""How long a key is published before it signs: three looks of a verifier at the JWKS."""

Step = Literal["staged", "promoted", "retired"]


@dataclass(slots=True, kw_only=True)
class Rotation:
    """The component that rotates.

    ``every`` is the age at which a key is replaced, ``overlap`` the least time that the one before stays published;
    ``longest`` tells when the last token that it may have signed expires. ``told`` is called after each step.
    """

    ring: KeyRing
    every: timedelta
    overlap: timedelta
    longest: Callable[[], Awaitable[datetime | None]]
    told: Callable[[Step], Awaitable[None]]
    staged_for: timedelta = STAGED_FOR

    async def run(self) -> None:
        """Look every hour, more often while a key is staged, until cancelled."""
        while True:
            try:
                await self.look(datetime.now(UTC))
            except (MemqlError, OSError) as error:
                log.error("the signing keys are not rotated, the next look tries again: %s", error)
            waits = self.staged_for.total_seconds() if self.ring.following is not None else CHECK_SECONDS
            await anyio.sleep(min(waits, CHECK_SECONDS))

    async def look(self, now: datetime) -> None:
        """Take the step that is due, if any. While the previous key counts, the current one is not replaced: there is
        room for one before it."""
        ring = self.ring
        if ring.previous is not None and not ring.previous.counts_at(now):
            await self._take("retired", ring.retire)
        if ring.following is not None:
            if now - ring.following.created_at >= self.staged_for and ring.previous is None:
                retires = await self._retires_at(now)
                await self._take("promoted", lambda: ring.promote(retires))
        elif now - ring.current.created_at >= self.every and ring.previous is None:
            await self._take("staged", ring.stage)

    async def _retires_at(self, now: datetime) -> datetime:
        last = await self.longest()
        least = now + self.overlap
        return least if last is None else max(least, last)

    async def _take(self, step: Step, action: Callable[[], Awaitable[None]]) -> None:
        await action()
        log.info("signing key %s: %s signs now", step, self.ring.current.kid)
        await self.told(step)
