"""The fenced claim: one owner at a time for a key, with a lease on the database's clock and an epoch that
only rises.

A claimant that dies leaves a lease that expires; whoever takes the claim over gets the next epoch. Everything
the old owner still tries under its epoch is refused by the database, in the transaction that tries it. Each
operation is one statement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from memql.errors import Code, MemqlError
from memql.graph.database import Database

__all__ = ["Claim", "ClaimLostError", "Claims", "Entry", "Subject", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is claimed: a key, and what a later owner needs to carry on.

    ``source`` and ``position`` say where the event stands in a durable source (``log`` or ``outbox``), if
    anywhere.
    """

    name: str
    key: str
    event: bytes
    source: str | None = None
    position: int | None = None


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


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a run's journal: what the call of ``target`` at ``place`` gave, as JSON."""

    place: str
    target: str
    result: bytes


_CLAIM = """
INSERT INTO automation_execution_claims AS held
    (automation_name, dedup_key, claimed_by, lease_until, event)
VALUES (%s, %s, %s, clock_timestamp() + %s, %s)
ON CONFLICT (automation_name, dedup_key) DO UPDATE
SET claimed_by = EXCLUDED.claimed_by, claimed_at = clock_timestamp(),
    epoch = held.epoch + (held.claimed_by <> '')::int, lease_until = EXCLUDED.lease_until
WHERE held.completed_at IS NULL AND held.lease_until < clock_timestamp()
RETURNING epoch, started_at
"""

_TAKE_OVER = """
UPDATE automation_execution_claims AS held
SET claimed_by = %s, claimed_at = clock_timestamp(), epoch = held.epoch + (held.claimed_by <> '')::int,
    lease_until = clock_timestamp() + %s
FROM (
    SELECT automation_name, dedup_key FROM automation_execution_claims
    WHERE completed_at IS NULL AND lease_until < clock_timestamp() AND automation_name = ANY (%s)
    ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED
) AS expired
WHERE held.automation_name = expired.automation_name AND held.dedup_key = expired.dedup_key
RETURNING held.automation_name, held.dedup_key, held.epoch, held.started_at, held.event
"""

_RENEW = """
UPDATE automation_execution_claims AS held SET lease_until = clock_timestamp() + %s
FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS mine (automation_name, dedup_key, epoch)
WHERE held.automation_name = mine.automation_name AND held.dedup_key = mine.dedup_key
  AND held.epoch = mine.epoch AND held.completed_at IS NULL
RETURNING held.automation_name, held.dedup_key
"""

_COMPLETE = """
WITH done AS (
    UPDATE automation_execution_claims SET completed_at = clock_timestamp(), outcome = %s, error = %s
    WHERE automation_name = %s AND dedup_key = %s AND epoch = %s AND completed_at IS NULL
    RETURNING automation_name, dedup_key
), swept AS (
    DELETE FROM automation_run_journal AS journal USING done
    WHERE journal.automation_name = done.automation_name AND journal.dedup_key = done.dedup_key
)
SELECT count(*) FROM done
"""

_RELEASE = """
UPDATE automation_execution_claims SET lease_until = clock_timestamp()
WHERE automation_name = %s AND dedup_key = %s AND epoch = %s AND completed_at IS NULL
"""

# Nobody owns what is put off, so that whoever takes it up takes nothing over.
_DEFER = """
UPDATE automation_execution_claims SET claimed_by = '', lease_until = clock_timestamp() + %s
WHERE automation_name = %s AND dedup_key = %s AND epoch = %s AND completed_at IS NULL
"""

_RECORD = """
WITH held AS (
    SELECT 1 FROM automation_execution_claims
    WHERE automation_name = %s AND dedup_key = %s AND epoch = %s AND completed_at IS NULL
    FOR SHARE
)
INSERT INTO automation_run_journal (automation_name, dedup_key, place, target, result, epoch)
SELECT %s, %s, entry.place, entry.target, entry.result, %s
FROM held, unnest(%s::text[], %s::text[], %s::bytea[]) AS entry (place, target, result)
"""

_JOURNAL = """
SELECT place, target, result FROM automation_run_journal WHERE automation_name = %s AND dedup_key = %s
"""

_PRUNE = "DELETE FROM automation_execution_claims WHERE completed_at < clock_timestamp() - %s"

_ABANDON = """
WITH dead AS (
    UPDATE automation_execution_claims SET completed_at = clock_timestamp(), outcome = 'abandoned',
        error = 'no process that knows this automation took the run over'
    WHERE completed_at IS NULL AND lease_until < clock_timestamp() - %s
    RETURNING automation_name, dedup_key
)
DELETE FROM automation_run_journal AS journal USING dead
WHERE journal.automation_name = dead.automation_name AND journal.dedup_key = dead.dedup_key
"""


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
        row = await self._database.fetch_one(
            _CLAIM, (subject.name, subject.key, self.owner, self._lease, subject.event)
        )
        if row is None:
            return None
        epoch, started_at = row
        return self._held(subject.name, subject.key, epoch, started_at, subject.event)

    async def take_over(self, names: Collection[str], limit: int) -> list[Claim]:
        """Claim what died: unfinished runs of these automations whose lease has expired, the oldest first."""
        rows = await self._database.fetch(_TAKE_OVER, (self.owner, self._lease, list(names), limit))
        return [self._held(*row) for row in rows]

    async def renew(self, claims: Sequence[Claim]) -> list[Claim]:
        """Extend the leases of claims; gives those that are lost."""
        if not claims:
            return []
        rows = await self._database.fetch(
            _RENEW,
            (
                self._lease,
                [claim.name for claim in claims],
                [claim.key for claim in claims],
                [claim.epoch for claim in claims],
            ),
            timeout=self._lease.total_seconds() / 3,
        )
        alive = {(name, key) for name, key in rows}
        return [claim for claim in claims if (claim.name, claim.key) not in alive]

    async def complete(self, claim: Claim, outcome: str, error: str = "") -> bool:
        """Finish a run and drop its journal; False when the claim was lost.

        :param outcome: ``completed`` or ``failed``.
        """
        row = await self._database.fetch_one(_COMPLETE, (outcome, error or None, claim.name, claim.key, claim.epoch))
        return row is not None and row[0] == 1

    async def release(self, claim: Claim) -> None:
        """Give an unfinished run back: its lease ends now, and another process may take it over at once."""
        await self._database.execute(_RELEASE, (claim.name, claim.key, claim.epoch))

    async def defer(self, claim: Claim, seconds: float) -> None:
        """Put off a run that has not begun: in so many seconds any process may take it up, as if it were new."""
        wait = timedelta(seconds=seconds)
        await self._database.execute(_DEFER, (wait, claim.name, claim.key, claim.epoch))

    async def journal(self, claim: Claim) -> list[Entry]:
        """What the run has done so far."""
        rows = await self._database.fetch(_JOURNAL, (claim.name, claim.key))
        return [Entry(place, target, bytes(result)) for place, target, result in rows]

    async def prune(self, retention: float) -> int:
        """Drop claims that were finished ``retention`` seconds ago; gives how many went.

        Without its claim a replayed event would run again: prune only when replay has come further than that.
        """
        return await self._database.execute(_PRUNE, (timedelta(seconds=retention),))

    async def abandon(self, age: float) -> int:
        """Finish runs whose lease expired ``age`` seconds ago: their automation is gone from every
        process."""
        return await self._database.execute(_ABANDON, (timedelta(seconds=age),))

    def _held(self, name: str, key: str, epoch: int, started_at: datetime, event: bytes) -> Claim:
        return Claim(name=name, key=key, owner=self.owner, epoch=epoch, started_at=started_at, event=bytes(event))


async def record(connection: AsyncConnection[Any], claim: Claim, entries: Sequence[Entry]) -> None:
    """Write journal entries under the fence, in the caller's transaction; the claim stays locked until it
    ends.

    :raises MemqlError: ``CONFLICT`` when the claim has another owner or is finished; roll the transaction
        back.
    """
    cursor = await connection.execute(
        _RECORD,
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
