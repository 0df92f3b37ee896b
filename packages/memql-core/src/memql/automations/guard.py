"""The execution guard: of all processes that see an event, one runs the automation (spec "Event-execution
guard").

When the database cannot be reached, legitimate work is not dropped: a bounded number of runs per window goes
ahead without a claim, counted and logged, up to where they need the database. Only effects elsewhere can double,
and those carry an idempotency key.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

from memql.automations.claims import Claim, Subject
from memql.automations.metrics import Counts
from memql.automations.options import Options
from memql.errors import Code, MemqlError
from memql.graph.failures import UNREACHABLE

__all__ = ["Claiming", "Guard", "Unguarded"]

_log = structlog.get_logger("memql.automations")


class Claiming(Protocol):
    """What the guard asks: :class:`~memql.automations.claims.Claims`, alone or in batches."""

    async def claim(self, subject: Subject) -> Claim | None:
        """A claim, or None when another process has it."""
        ...

    async def complete(self, claim: Claim, outcome: str, error: str = "") -> bool:
        """Finish a run; False when the claim was lost."""
        ...


class Unguarded:
    """Leave to run without a claim, because the database could not be asked."""


class Guard:
    """Decides who runs.

    :param clock: seconds, monotonic; measures the window of unguarded runs.
    """

    def __init__(
        self, claims: Claiming, counts: Counts, options: Options, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._claims = claims
        self._counts = counts
        self._options = options
        self._clock = clock
        self._unguarded: deque[float] = deque()

    async def admit(self, subject: Subject) -> Claim | Unguarded | None:
        """A claim, leave to run without one, or None when another process has the event or the run is given up.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached and the window is used up.
        """
        try:
            claim = await self._claims.claim(subject)
        except MemqlError as error:
            if error.code not in UNREACHABLE:
                raise
            return self._without_claim(subject, error)
        return await self._decide(subject, claim)

    async def claim(self, subject: Subject) -> Claim | None:
        """As :meth:`admit`, for a run that needs its claim.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        return await self._decide(subject, await self._claims.claim(subject))

    async def _decide(self, subject: Subject, claim: Claim | None) -> Claim | None:
        if claim is None:
            self._counts.add("duplicates_prevented")
            _log.debug("automation_duplicate_prevented", automation=subject.name, dedup_key=subject.key)
            return None
        self._counts.add("claimed")
        if claim.is_take_over and not await self.may_carry_on(claim):
            return None
        return claim

    async def may_carry_on(self, claim: Claim) -> bool:
        """Whether to carry on a run that somebody else had, or left. One that outlived too many processes may be what
        kills them: it is closed as failed.

        :raises MemqlError: ``UNAVAILABLE`` when that cannot be written; the lease runs out, and somebody tries again.
        """
        if not claim.is_take_over:
            self._counts.add("adopted")
            return True
        self._counts.add("take_overs")
        _log.warning("automation_taken_over", automation=claim.name, dedup_key=claim.key, epoch=claim.epoch)
        if claim.epoch <= self._options.take_overs:
            return True
        reason = f"given up: {claim.epoch - 1} processes died while they ran it"
        _log.error("automation_given_up", automation=claim.name, dedup_key=claim.key, reason=reason)
        await self._claims.complete(claim, "failed", reason)
        self._counts.add("runs_failed")
        return False

    def _without_claim(self, subject: Subject, error: MemqlError) -> Unguarded:
        self._counts.add("claim_errors")
        now = self._clock()
        while self._unguarded and self._unguarded[0] <= now - self._options.unguarded_window:
            self._unguarded.popleft()
        if len(self._unguarded) >= self._options.unguarded_runs:
            raise MemqlError(
                Code.UNAVAILABLE,
                f"the run of {subject.name} waits: the database cannot be reached, and {len(self._unguarded)} runs "
                f"went ahead without it within {self._options.unguarded_window:g} s",
            ) from error
        self._unguarded.append(now)
        self._counts.add("unguarded")
        _log.warning("automation_runs_unguarded", automation=subject.name, dedup_key=subject.key, error=error.message)
        return Unguarded()
