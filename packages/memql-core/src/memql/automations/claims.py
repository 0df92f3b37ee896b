"""The fenced claim: one owner at a time for a key, with a lease on the database's clock and an epoch that
only rises.

A claimant that dies leaves a lease that expires; whoever takes the claim over gets the next epoch. Everything
the old owner still tries under its epoch is refused by the database, in the transaction that tries it. A claim that
is left to others has no owner, epoch 0 and a lease that has run out. Each operation is one statement, also for many
claims at once; those that wait for locks take them in the order of the keys, so that none waits for another in a ring.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from memql.automations import claim_statements as sql
from memql.errors import Code, MemqlError
from memql.graph.database import Database

__all__ = ["Claim", "ClaimLostError", "Claims", "Ending", "Entry", "Subject", "record"]

_PRUNED_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is claimed: a key, and the event that a later owner needs to carry on."""

    name: str
    key: str
    event: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim as its owner holds it. ``started_at`` is when the run was first claimed, by whoever it was."""

    name: str
    key: str
    owner: str
    epoch: int
    started_at: datetime
    event: bytes

    @property
    def is_take_over(self) -> bool:
        """Whether another owner began this run."""
        return self.epoch > 1


class Ending(NamedTuple):
    """How a run ended. ``outcome`` is ``completed`` or ``failed``."""

    claim: Claim
    outcome: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a run's journal: what the call of ``target`` at ``place`` gave, as JSON."""

    place: str
    target: str
    result: bytes


class ClaimLostError(MemqlError):
    """Another process has taken the run over and carries it on; this one must stop."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(
            Code.CONFLICT,
            f"the run of {claim.name} for {claim.key} was taken over by another process; this one stops",
            details={"automation": claim.name, "epoch": claim.epoch},
            retryable=False,
        )


class Claims:
    """The claims of one owner.

    :param owner: the incarnation of this process: fresh per start, never a pod name alone.
    :param lease: seconds a claim lives without renewal.
    """

    def __init__(self, database: Database, *, owner: str, lease: float) -> None:
        self._database = database
        self._lease = timedelta(seconds=lease)
        self.owner = owner

    async def claim(self, subject: Subject) -> Claim | None:
        """Claim a key; None when it is finished or another owner's lease runs.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        return (await self.claim_all((subject,)))[0]

    async def claim_all(self, subjects: Sequence[Subject]) -> list[Claim | None]:
        """:meth:`claim` for many keys at once; of two with the same key the first one gets the claim.

        :raises MemqlError: as :meth:`claim`; then none is claimed, or nobody knows.
        """
        rows = await self._database.fetch(
            sql.CLAIM,
            {
                "names": [subject.name for subject in subjects],
                "keys": [subject.key for subject in subjects],
                "events": [subject.event for subject in subjects],
                "owner": self.owner,
                "lease": self._lease,
            },
        )
        won = {(name, key): (epoch, started_at) for name, key, epoch, started_at in rows}
        return [self._of(subject, won.pop((subject.name, subject.key), None)) for subject in subjects]

    async def leave(self, subject: Subject) -> None:
        """Leave a run to whoever can carry it out: a claim without an owner, there to be taken over at once.

        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached.
        """
        await self._database.execute(sql.LEAVE, (subject.name, subject.key, subject.event))

    async def take_over(self, names: Collection[str], limit: int) -> list[Claim]:
        """Claim what died or was left: unfinished runs of these automations whose lease has expired, the oldest
        first."""
        rows = await self._database.fetch(sql.TAKE_OVER, (self.owner, self._lease, list(names), limit))
        return [self._held(*row) for row in rows]

    async def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Extend the leases of claims; gives those that are lost."""
        if not claims:
            return []
        rows = await self._database.fetch(
            sql.RENEW, (*_columns(claims), self._lease), timeout=self._lease.total_seconds() / 3
        )
        alive = {(name, key) for name, key in rows}
        return [claim for claim in claims if (claim.name, claim.key) not in alive]

    async def complete(self, claim: Claim, outcome: str, error: str = "") -> bool:
        """Finish a run and drop its journal; False when the claim was lost.

        :param outcome: ``completed`` or ``failed``.
        """
        return (await self.complete_all((Ending(claim, outcome, error),)))[0]

    async def complete_all(self, endings: Sequence[Ending]) -> list[bool]:
        """:meth:`complete` for many runs at once."""
        claims = [ending.claim for ending in endings]
        outcomes = [ending.outcome for ending in endings]
        errors = [ending.error or None for ending in endings]
        rows = await self._database.fetch(sql.COMPLETE, (*_columns(claims), outcomes, errors))
        done = {(name, key) for name, key in rows}
        return [(claim.name, claim.key) in done for claim in claims]

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give unfinished runs back: their leases end now, and another process may take them over at once."""
        if claims:
            await self._database.execute(sql.RELEASE, _columns(claims))

    async def defer(self, claim: Claim, seconds: float) -> None:
        """Put off a run that has not begun: in so many seconds any process may take it up, as if it were new."""
        wait = timedelta(seconds=seconds)
        await self._database.execute(sql.DEFER, (wait, claim.name, claim.key, claim.epoch))

    async def journal(self, claim: Claim) -> list[Entry]:
        """What the run has done so far."""
        rows = await self._database.fetch(sql.JOURNAL, (claim.name, claim.key))
        return [Entry(place, target, bytes(result)) for place, target, result in rows]

    async def prune(self, retention: float) -> int:
        """Drop claims that were finished ``retention`` seconds ago, but none that a role may still need; gives how many
        went.

        Without its claim a replayed event would run again: a role that has not caught up to when a run ended may yet
        read the event that began it.
        """
        gone = 0
        while True:
            some = await self._database.execute(sql.PRUNE, (timedelta(seconds=retention), _PRUNED_AT_ONCE))
            gone += some
            if some < _PRUNED_AT_ONCE:
                return gone

    async def abandon(self, known: Collection[str], *, left: float, unknown: float, interrupted: float | None) -> int:
        """Finish runs that nobody carries on any more, by the seconds since their lease expired; gives how many.

        :param known: automations that are still in the tree: somebody may yet come who can run them.
        :param left: for firings of schedules that nobody has begun.
        :param unknown: for automations that are not in the tree.
        :param interrupted: for the others; None for never.
        """
        never = None if interrupted is None else timedelta(seconds=interrupted)
        ages = timedelta(seconds=left), list(known), never, timedelta(seconds=unknown)
        return await self._database.execute(sql.ABANDON, ages)

    def _of(self, subject: Subject, won: tuple[int, datetime] | None) -> Claim | None:
        return None if won is None else self._held(subject.name, subject.key, *won, subject.event)

    def _held(self, name: str, key: str, epoch: int, started_at: datetime, event: bytes) -> Claim:
        return Claim(name=name, key=key, owner=self.owner, epoch=epoch, started_at=started_at, event=bytes(event))


def _columns(claims: Sequence[Claim]) -> tuple[list[str], list[str], list[int]]:
    return [claim.name for claim in claims], [claim.key for claim in claims], [claim.epoch for claim in claims]


async def record(connection: AsyncConnection[Any], claim: Claim, entries: Sequence[Entry]) -> None:
    """Write journal entries under the fence, in the caller's transaction; the claim stays locked until it
    ends.

    :raises MemqlError: ``CONFLICT`` when the claim has another owner or is finished; roll the transaction
        back.
    """
    cursor = await connection.execute(
        sql.RECORD,
        (
            claim.name,
            claim.key,
            claim.epoch,
            claim.name,
            claim.key,
            claim.epoch,
            [entry.place for entry in entries],
            [entry.target for entry in entries],
            [entry.result for entry in entries],
        ),
    )
    if cursor.rowcount != len(entries):
        raise ClaimLostError(claim)
