from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest
from psycopg import AsyncConnection

from memql.automations import Claim, ClaimLostError, Claims, Subject
from memql.automations.claims import Entry, record
from memql.graph.database import Database

pytestmark = pytest.mark.anyio

SUBJECT = Subject(name="book", key="g:1:created", event=b"{}")


def claims(database: Database, owner: str = "a", lease: float = 30) -> Claims:
    return Claims(database, owner=owner, lease=lease)


async def expire(database: Database) -> None:
    await database.execute("UPDATE automation_execution_claims SET lease_until = clock_timestamp() - interval '1 s'")


async def held(of: Claims, subject: Subject = SUBJECT) -> Claim:
    claim = await of.claim(subject)
    assert claim is not None
    return claim


async def test_of_many_claimants_one_wins(database: Database) -> None:
    won: list[Claim] = []

    async def claim(number: int) -> None:
        if found := await claims(database, f"p{number}").claim(SUBJECT):
            won.append(found)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(claim, number)
    assert [claim.epoch for claim in won] == [1]


async def test_a_running_lease_and_a_finished_claim_keep_others_out(database: Database) -> None:
    first, second = claims(database), claims(database, "b")
    mine = await held(first)
    assert await second.claim(SUBJECT) is None
    assert await first.complete(mine, "completed")
    await expire(database)
    assert await second.claim(SUBJECT) is None
    assert await second.take_over(["book"], 10) == []


async def test_an_expired_lease_is_taken_over_with_the_next_epoch_and_the_first_start(database: Database) -> None:
    mine = await held(claims(database))
    await expire(database)
    (theirs,) = await claims(database, "b").take_over(["book"], 10)
    assert (theirs.epoch, theirs.owner, theirs.started_at, theirs.event) == (2, "b", mine.started_at, b"{}")
    assert theirs.is_take_over
    await expire(database)
    again = await held(claims(database, "c"))
    assert again.epoch == 3


async def test_only_known_automations_are_taken_over_the_oldest_first_and_no_more_than_wanted(
    database: Database,
) -> None:
    one = claims(database)
    for number in range(4):
        await held(one, Subject(name="book" if number else "other", key=str(number), event=b"{}"))
        await database.execute(
            "UPDATE automation_execution_claims SET lease_until = clock_timestamp() - %s WHERE dedup_key = %s",
            (timedelta(seconds=10 - number), str(number)),
        )
    taken = await claims(database, "b").take_over(["book"], 2)
    assert sorted(claim.key for claim in taken) == ["1", "2"]


async def test_a_lost_claim_can_be_neither_renewed_nor_finished_nor_released(database: Database) -> None:
    one, two = claims(database), claims(database, "b")
    mine, other = await held(one), await held(one, Subject(name="book", key="2", event=b"{}"))
    await database.execute(
        "UPDATE automation_execution_claims SET lease_until = clock_timestamp() - interval '1 s' WHERE dedup_key = %s",
        (mine.key,),
    )
    (theirs,) = await two.take_over(["book"], 10)
    assert await one.renew([mine, other]) == [mine]
    assert not await one.complete(mine, "completed")
    await one.release([mine])
    assert await two.renew([theirs]) == []


async def test_a_released_claim_is_free_at_once(database: Database) -> None:
    one, two = claims(database), claims(database, "b")
    await one.release([await held(one)])
    (theirs,) = await two.take_over(["book"], 10)
    assert theirs.epoch == 2


async def test_the_journal_refuses_an_owner_that_lost_its_claim_and_takes_its_effect_back(database: Database) -> None:
    one, two = claims(database), claims(database, "b")
    mine = await held(one)
    await expire(database)
    await two.take_over(["book"], 10)

    async def write(connection: AsyncConnection[Any]) -> None:
        await connection.execute("INSERT INTO mesh_cursors VALUES ('effect', 'x', 1)")
        await record(connection, mine, [Entry("p", "t", b"1")])

    with pytest.raises(ClaimLostError):
        await database.transaction(write)
    assert await database.fetch("SELECT FROM mesh_cursors") == []
    assert await two.journal(mine) == []


async def test_a_take_over_waits_for_a_write_that_is_committing(database: Database) -> None:
    """Else the new owner could read the journal before the old owner's last write is in it."""
    one, two = claims(database), claims(database, "b")
    mine = await held(one)
    recorded, finish = anyio.Event(), anyio.Event()

    async def write(connection: AsyncConnection[Any]) -> None:
        await record(connection, mine, [Entry("p", "t", b"1")])
        recorded.set()
        await finish.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(database.transaction, write)
        await recorded.wait()
        assert await two.take_over(["book"], 10) == []
        with anyio.move_on_after(0.2) as blocked:
            await database.execute("UPDATE automation_execution_claims SET lease_until = clock_timestamp()")
        assert blocked.cancelled_caught
        finish.set()
    await expire(database)
    (theirs,) = await two.take_over(["book"], 10)
    assert await two.journal(theirs) == [Entry("p", "t", b"1")]


async def test_finishing_drops_the_journal(database: Database) -> None:
    one = claims(database)
    mine = await held(one)
    await database.run(lambda connection: record(connection, mine, [Entry("p", "t", b"1"), Entry("q", "t", b"2")]))
    assert len(await one.journal(mine)) == 2
    assert await one.complete(mine, "failed", "why")
    assert await one.journal(mine) == []
    assert await database.fetch_one("SELECT outcome, error FROM automation_execution_claims") == ("failed", "why")


async def test_pruning_takes_old_finished_claims_only(database: Database) -> None:
    one = claims(database)
    done = await held(one)
    await held(one, Subject(name="book", key="open", event=b"{}"))
    await one.complete(done, "completed")
    assert await one.prune(3600) == 0
    await database.execute("UPDATE automation_execution_claims SET completed_at = completed_at - interval '2 h'")
    assert await one.prune(3600) == 1
    assert await database.fetch("SELECT dedup_key FROM automation_execution_claims") == [("open",)]


async def test_runs_of_automations_that_nobody_knows_are_abandoned(database: Database) -> None:
    one = claims(database)
    mine = await held(one)
    await database.run(lambda connection: record(connection, mine, [Entry("p", "t", b"1")]))
    await one.abandon([], left=3600, unknown=3600, interrupted=None)
    assert await one.journal(mine) != []
    await database.execute("UPDATE automation_execution_claims SET lease_until = lease_until - interval '2 h'")
    await one.abandon([], left=3600, unknown=3600, interrupted=None)
    assert await one.journal(mine) == []
    assert await database.fetch_one("SELECT outcome FROM automation_execution_claims") == ("abandoned",)


async def test_a_thousand_events_in_six_processes_are_claimed_a_thousand_times(database: Database) -> None:
    won: list[str] = []

    async def process(owner: str) -> None:
        mine = claims(database, owner)
        for number in range(1000):
            claim = await mine.claim(Subject(name="book", key=f"g:{number}:created", event=b"{}"))
            won.extend([claim.key] if claim else [])

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(process, f"p{number}")
    assert len(won) == len(set(won)) == 1000
