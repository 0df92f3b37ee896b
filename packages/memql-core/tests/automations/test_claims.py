from __future__ import annotations

import random
import string
from collections import Counter
from datetime import timedelta
from typing import Any

import anyio
import psycopg
import pytest
from psycopg import AsyncConnection

from memql.automations import Claim, ClaimLostError, Claims, Subject
from memql.automations.batched_claims import BatchedClaims
from memql.automations.claims import Ending, Entry, record
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


async def test_a_batch_is_claimed_in_one_go_and_each_gets_its_own_answer(database: Database) -> None:
    one, two = claims(database), claims(database, "b")
    taken = await held(one, of(3))
    await expire(database)
    await held(two, of(5))
    won = await one.claim_all([of(7), of(5), of(3), of(1), of(7)])
    assert [claim and (claim.key, claim.epoch) for claim in won] == [("7", 1), None, ("3", 2), ("1", 1), None]
    assert won[2] is not None
    assert won[2].started_at == taken.started_at


def of(number: int, name: str = "book") -> Subject:
    return Subject(name=name, key=str(number), event=b"{}")


async def test_a_batch_of_endings_finishes_what_is_still_held(database: Database) -> None:
    one, two = claims(database), claims(database, "b")
    lost = await held(one, of(1))
    await expire(database)
    await two.take_over(["book"], 10)
    good, bad = await held(one, of(2)), await held(one, of(3))
    await database.run(lambda connection: record(connection, good, [Entry("p", "t", b"1")]))
    endings = [Ending(bad, "failed", "why"), Ending(lost, "completed"), Ending(good, "completed")]
    assert await one.complete_all(endings) == [True, False, True]
    assert await one.journal(good) == []
    rows = await database.fetch("SELECT dedup_key, outcome, error FROM automation_execution_claims ORDER BY 1")
    assert rows == [("1", None, None), ("2", "completed", None), ("3", "failed", "why")]


async def test_what_is_left_to_others_is_nobodys_until_it_is_taken_and_then_as_if_claimed_first(
    database: Database,
) -> None:
    one, two = claims(database), claims(database, "b")
    await one.leave(SUBJECT)
    await one.leave(SUBJECT)
    assert await database.fetch("SELECT claimed_by, epoch FROM automation_execution_claims") == [("", 0)]
    (taken,) = await two.take_over(["book"], 10)
    assert (taken.epoch, taken.is_take_over, taken.event) == (1, False, b"{}")
    assert await one.take_over(["book"], 10) == []
    await one.leave(of(2))
    claimed = await one.claim(of(2))
    assert claimed is not None
    assert claimed.epoch == 1


async def test_abandoning_waits_longest_for_what_somebody_may_still_come_for(database: Database) -> None:
    one = claims(database)
    await one.leave(Subject(name="known", key="cron:2026-01-01", event=b"{}"))
    await one.leave(Subject(name="known", key="spawned", event=b"{}"))
    await held(one, Subject(name="known", key="interrupted", event=b"{}"))
    await held(one, Subject(name="unknown", key="gone", event=b"{}"))
    gone: list[set[str]] = []
    for hours in (2, 4, 6, 50):
        await database.execute(
            "UPDATE automation_execution_claims SET lease_until = clock_timestamp() - make_interval(hours => %s) "
            "WHERE completed_at IS NULL",
            (hours,),
        )
        await one.abandon(["known"], left=3 * 3600, unknown=5 * 3600, interrupted=48 * 3600)
        rows = await database.fetch("SELECT dedup_key FROM automation_execution_claims WHERE outcome = 'abandoned'")
        gone.append({key for (key,) in rows})
    everything = {"cron:2026-01-01", "spawned", "interrupted", "gone"}
    assert gone == [set(), {"cron:2026-01-01"}, {"cron:2026-01-01", "gone"}, everything]


async def test_without_a_limit_a_known_automation_is_never_abandoned(database: Database) -> None:
    one = claims(database)
    await held(one)
    await database.execute("UPDATE automation_execution_claims SET lease_until = lease_until - interval '1 year'")
    await one.abandon(["book"], left=1, unknown=1, interrupted=None)
    assert await database.fetch_one("SELECT completed_at FROM automation_execution_claims") == (None,)


async def test_a_batch_with_a_bad_member_claims_the_others(database: Database) -> None:
    bad = Subject(name="book", key="no such key \x00", event=b"{}")
    huge = Subject(name="book", key="".join(random.choices(string.ascii_letters, k=20_000)), event=b"{}")
    async with anyio.create_task_group() as group:
        batched = BatchedClaims(claims(database), group.start_soon, most=100, give_back=nobody_leaves)
        answers: dict[str, Claim | Exception | None] = {}

        async def ask(subject: Subject) -> None:
            try:
                answers[subject.key] = await batched.claim(subject)
            except Exception as error:
                answers[subject.key] = error

        async with anyio.create_task_group() as asking:
            for subject in (*map(of, range(20)), bad, *map(of, range(20, 40)), huge):
                asking.start_soon(ask, subject)
    assert all(isinstance(answers[str(number)], Claim) for number in range(40))
    assert all(isinstance(answers[subject.key], Exception) for subject in (bad, huge))
    assert await database.fetch_one("SELECT count(*) FROM automation_execution_claims") == (40,)


async def nobody_leaves(claims: list[Claim]) -> None:
    raise AssertionError(claims)


async def test_a_claim_that_its_claimant_did_not_wait_for_is_given_back(database: Database, dsn: str) -> None:
    one = claims(database)
    returned = anyio.Event()

    async def give_back(left: list[Claim]) -> None:
        await one.release(left)
        returned.set()

    async with await psycopg.AsyncConnection.connect(dsn) as other, anyio.create_task_group() as group:
        await other.execute("LOCK TABLE automation_execution_claims IN ACCESS EXCLUSIVE MODE")
        batched = BatchedClaims(one, group.start_soon, most=100, give_back=give_back)
        with anyio.move_on_after(0.2):
            await batched.claim(SUBJECT)
        await other.rollback()
        with anyio.fail_after(10):
            await returned.wait()
    (theirs,) = await claims(database, "b").take_over(["book"], 10)
    assert theirs.key == SUBJECT.key


async def test_overlapping_batches_of_four_processes_never_wait_for_one_another_in_a_ring(dsn: str) -> None:
    """They claim, finish, renew, take over, give back and prune the same keys in every order at once."""
    won: Counter[str] = Counter()

    async def live(number: int) -> None:
        async with Database.open(dsn, max_size=6) as database, anyio.create_task_group() as group:
            mine = Claims(database, owner=f"p{number}", lease=30)
            choice = random.Random(number)

            async def claim_and_finish() -> None:
                for _ in range(25):
                    wanted = [of(choice.randrange(400), choice.choice("ab")) for _ in range(60)]
                    held = [claim for claim in await mine.claim_all(wanted) if claim is not None]
                    won.update(f"{claim.name}{claim.key}.{claim.epoch}" for claim in held)
                    choice.shuffle(held)
                    half = len(held) // 2
                    await mine.renew(held)
                    await mine.complete_all([Ending(claim, "completed") for claim in held[:half]])
                    await mine.release(held[half:])

            async def carry_on() -> None:
                for _ in range(25):
                    taken = await mine.take_over(["a", "b"], 20)
                    won.update(f"{claim.name}{claim.key}.{claim.epoch}" for claim in taken)
                    choice.shuffle(taken)
                    await mine.renew(taken)
                    await mine.complete_all([Ending(claim, "completed") for claim in taken[:15]])
                    await mine.release(taken[15:])

            async def tidy() -> None:
                for _ in range(10):
                    await mine.abandon(["a", "b"], left=3600, unknown=3600, interrupted=3600)

            for work in (claim_and_finish, claim_and_finish, carry_on, tidy):
                group.start_soon(work)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(live, number)
    assert set(won.values()) == {1}, "one owner per epoch"
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert await cursor.fetchone() == (0,)


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
