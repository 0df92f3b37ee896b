"""Keeps the leases of the claims that this process holds, and stops runs whose claim is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import structlog

from memql.automations.claims import Claim, Claims
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.errors import MemqlError

__all__ = ["Leases"]

_log = structlog.get_logger("memql.automations")


@dataclass(slots=True)
class _Held:
    claim: Claim
    renewed: float
    scope: anyio.CancelScope | None = None


class Leases:
    """The claims held by this process."""

    def __init__(self, claims: Claims, counts: Counts, options: Options) -> None:
        self._claims = claims
        self._counts = counts
        self._lease = options.lease
        self._held: dict[tuple[str, str], _Held] = {}

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[anyio.CancelScope]:
        """Renew a claim while the block runs. The block is cancelled when the claim is lost."""
        key = (claim.name, claim.key)
        with anyio.CancelScope() as scope:
            held = _Held(claim, time.monotonic(), scope)
            self._held[key] = held
            try:
                yield scope
            finally:
                if self._held.get(key) is held:
                    del self._held[key]

    def keep_waiting(self, claim: Claim) -> Callable[[], bool]:
        """Renew a claim whose run waits for its turn. The returned function ends that, once, when the turn
        has come, and tells whether the claim is still held."""
        key = (claim.name, claim.key)
        held = _Held(claim, time.monotonic())
        self._held[key] = held

        def still_held() -> bool:
            return self._held.pop(key, None) is held

        return still_held

    async def keep(self) -> None:
        """Renew for ever, three times per lease."""
        while True:
            await anyio.sleep(self._lease / 3)
            await self._renew()

    async def release(self) -> None:
        """Give back what is still held, so that others need not wait for the lease to run out."""
        for held in list(self._held.values()):
            try:
                await self._claims.release(held.claim)
            except MemqlError as error:
                _log.warning("automation_release_failed", automation=held.claim.name, error=error.message)
                return

    async def _renew(self) -> None:
        asked = time.monotonic()
        mine = list(self._held.values())
        try:
            lost = {id(claim) for claim in await self._claims.renew([held.claim for held in mine])}
        except MemqlError as error:
            _log.warning("automation_renewal_failed", held=len(mine), error=error.message)
            lost = {id(held.claim) for held in mine if held.renewed + self._lease < time.monotonic()}
            asked = float("-inf")
        for held in mine:
            if id(held.claim) in lost:
                self._drop(held)
            else:
                held.renewed = max(held.renewed, asked)

    def _drop(self, held: _Held) -> None:
        key = (held.claim.name, held.claim.key)
        if self._held.get(key) is not held:
            return
        self._counts.add("claims_lost")
        _log.warning("automation_claim_lost", automation=held.claim.name, dedup_key=held.claim.key)
        if held.scope is None:
            del self._held[key]
        else:
            held.scope.cancel()
