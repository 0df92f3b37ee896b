"""Keeps the leases of the claims that this process holds, and stops runs whose claim is gone."""

from __future__ import annotations

import time
from types import TracebackType

import anyio
import structlog

from memql.automations.claims import Claim, Claims
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.errors import MemqlError

__all__ = ["Lease", "Leases"]

_log = structlog.get_logger("memql.automations")


class Lease:
    """One claim that is renewed until :meth:`end`. As a context it is the run itself, which is cancelled when the claim
    is lost; the context then ends quietly, and :attr:`lost` tells.

    While it is :attr:`ending`, a claim that cannot be renewed may be finished already: whoever finishes it learns that.
    """

    __slots__ = ("_leases", "_scope", "claim", "ending", "lost", "renewed")

    def __init__(self, claim: Claim, leases: Leases) -> None:
        """Use :meth:`Leases.hold`."""
        self.claim = claim
        self.renewed = time.monotonic()
        self.lost = False
        self.ending = False
        self._leases = leases
        self._scope: anyio.CancelScope | None = None

    def __enter__(self) -> Lease:
        self._scope = anyio.CancelScope().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        scope, self._scope = self._scope, None
        assert scope is not None
        return bool(scope.__exit__(kind, error, trace))

    def lose(self) -> None:
        """The claim has another owner: stop what runs under it."""
        if self.lost:
            return
        self.lost = True
        self._leases.count_lost(self.claim)
        if self._scope is not None:
            self._scope.cancel()
        self.end()

    def end(self) -> None:
        """Renew no more."""
        self._leases.forget(self)


class Leases:
    """The claims held by this process."""

    def __init__(self, claims: Claims, counts: Counts, options: Options) -> None:
        self._claims = claims
        self._counts = counts
        self._lease = options.lease
        self._held: dict[tuple[str, str], Lease] = {}

    def hold(self, claim: Claim) -> Lease:
        """Renew a claim from now on."""
        lease = Lease(claim, self)
        self._held[claim.name, claim.key] = lease
        return lease

    def forget(self, lease: Lease) -> None:
        """Renew it no more."""
        key = (lease.claim.name, lease.claim.key)
        if self._held.get(key) is lease:
            del self._held[key]

    def count_lost(self, claim: Claim) -> None:
        """Tell that another process has a run."""
        self._counts.add("claims_lost")
        _log.warning("automation_claim_lost", automation=claim.name, dedup_key=claim.key)

    async def keep(self) -> None:
        """Renew for ever, three times per lease."""
        while True:
            await anyio.sleep(self._lease / 3)
            await self._renew()

    async def release(self) -> None:
        """Give back what is still held, so that others need not wait for the lease to run out."""
        await self.give_back([lease.claim for lease in self._held.values()])

    async def give_back(self, claims: list[Claim]) -> None:
        """Give claims back; if that cannot be written, their leases run out."""
        try:
            await self._claims.release(claims)
        except MemqlError as error:
            _log.warning("automation_release_failed", claims=len(claims), error=error.message)

    async def _renew(self) -> None:
        asked = time.monotonic()
        mine = list(self._held.values())
        try:
            lost = {id(claim) for claim in await self._claims.renew([lease.claim for lease in mine])}
        except MemqlError as error:
            _log.warning("automation_renewal_failed", held=len(mine), error=error.message)
            lost = {id(lease.claim) for lease in mine if lease.renewed + self._lease < time.monotonic()}
            asked = float("-inf")
        for lease in mine:
            if id(lease.claim) in lost:
                self._drop(lease)
            else:
                lease.renewed = max(lease.renewed, asked)

    def _drop(self, lease: Lease) -> None:
        if not lease.ending and self._held.get((lease.claim.name, lease.claim.key)) is lease:
            lease.lose()
