"""The claims of a process, claimed and finished in batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from memql.automations.batches import Batches, Start
from memql.automations.claims import Claim, Claims, Ending, Subject

__all__ = ["BatchedClaims"]


class BatchedClaims:
    """Claims and finishes together what is asked for at about the same time.

    :param most: the most claims of one statement.
    :param give_back: takes claims whose claimant was cancelled before it had them.
    """

    def __init__(
        self, claims: Claims, start: Start, *, most: int, give_back: Callable[[list[Claim]], Awaitable[None]]
    ) -> None:
        async def left(claim: Claim | None) -> None:
            if claim is not None:
                await give_back([claim])

        self._claiming = Batches[Subject, Claim | None](start, claims.claim_all, most=most, left=left)
        self._completing = Batches[Ending, bool](start, claims.complete_all, most=most)

    async def claim(self, subject: Subject) -> Claim | None:
        """See :meth:`memql.automations.claims.Claims.claim`."""
        return await self._claiming.ask(subject)

    async def complete(self, claim: Claim, outcome: str, error: str = "") -> bool:
        """See :meth:`memql.automations.claims.Claims.complete`."""
        return await self._completing.ask(Ending(claim, outcome, error))
