from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import anyio
import pytest
from plant import Process, plant, process, until

from memql.automations import Options
from memql.automations.leader import CRON_LOCK
from memql.graph.database import Database

pytestmark = pytest.mark.anyio

EVERY_SECOND = """
@enabled @trigger(schedule="* * * * * *")
automation everySecond { step t { mutation tick { at: event.payload.scheduledAt, by: event.topic } } }
"""
DAILY = (
    '@enabled @trigger(schedule="0 15 6 * * *") automation daily { step t { mutation tick { at: event.timestamp } } }'
)
QUICK = Options(leader_poll=0.05, read_every=0.1, take_over_every=0.1, lease=2.0)


async def instants_of(one: Process) -> list[datetime]:
    return sorted(datetime.fromisoformat(row["payload"]["at"]) for row in await one.do("concept==v1:plant:tick"))


async def ticked(one: Process, count: int) -> list[datetime]:
    with anyio.fail_after(20):
        while len(found := await instants_of(one)) < count:  # noqa: ASYNC110
            await anyio.sleep(0.02)
    return found


async def test_a_schedule_fires_each_instant_once_with_its_own_time(database: Database) -> None:
    async with process(database, plant(EVERY_SECOND), options=QUICK) as one:
        found = await ticked(one, 2)
        assert found[1] - found[0] == timedelta(seconds=1)
        assert found[0].microsecond == 0
        (first, *_) = await one.do("concept==v1:plant:tick")
        assert first["payload"]["by"] == "schedule.everySecond"
        assert first["createdBy"] == "system:automation:everySecond"
        assert one.automations.is_cron_leader


async def test_a_new_schedule_owes_nothing_from_before(database: Database) -> None:
    async with process(database, plant(DAILY), options=QUICK) as one:
        await until(lambda: one.automations.is_cron_leader)
        await database.execute("UPDATE cron_schedules SET fired_until = fired_until - interval '25 hours'")
    changed = DAILY.replace("0 15 6", "0 16 6")
    async with process(database, plant(changed), options=QUICK) as one:
        await until(lambda: one.automations.is_cron_leader)
        await anyio.sleep(0.2)
        assert await instants_of(one) == []


async def test_instants_missed_while_nobody_led_fire_later_within_the_window(database: Database) -> None:
    options = Options(leader_poll=0.05, catch_up=30.5)
    async with process(database, plant(EVERY_SECOND), options=options) as one:
        await ticked(one, 1)
    await database.execute("UPDATE cron_schedules SET fired_until = fired_until - interval '1 hour'")
    await database.execute("DELETE FROM cron_firings")
    async with process(database, plant(EVERY_SECOND), options=options) as one:
        found = await ticked(one, 29)
        assert one.automations.counts.cron_passed_over == 1
        assert len(found) == len(set(found))


@asynccontextmanager
async def two_processes(database: Database, dsn: str) -> AsyncIterator[tuple[Process, Process]]:
    async with Database.open(dsn) as other:
        catalog = plant(EVERY_SECOND)
        async with (
            process(database, catalog, node="a", options=QUICK) as one,
            process(other, catalog, node="b", options=QUICK) as two,
        ):
            await until(lambda: one.automations.is_cron_leader or two.automations.is_cron_leader)
            leader, follower = (one, two) if one.automations.is_cron_leader else (two, one)
            yield leader, follower


async def test_one_of_two_processes_leads(database: Database, dsn: str) -> None:
    async with two_processes(database, dsn) as (leader, follower):
        await ticked(leader, 2)
        assert not follower.automations.is_cron_leader
        assert follower.automations.counts.cron_fired == 0


async def test_a_leader_whose_session_ends_hands_over(database: Database, dsn: str) -> None:
    async with two_processes(database, dsn) as (leader, follower):
        await ticked(leader, 1)
        before = await database.fetch_one("SELECT epoch FROM cron_leadership")
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted",
            (CRON_LOCK & 0xFFFFFFFF,),
        )
        await until(lambda: leader.automations.is_cron_leader or follower.automations.is_cron_leader)
        found = await ticked(follower, 4)
        assert found == [found[0] + timedelta(seconds=number) for number in range(len(found))]
        after = await database.fetch_one("SELECT epoch FROM cron_leadership")
        assert before is not None
        assert after is not None
        assert after > before


async def test_a_follower_ends_the_session_of_a_leader_that_stopped_beating(database: Database, dsn: str) -> None:
    async with Database.open(dsn) as other, other.direct() as stopped:
        await stopped.execute("SELECT pg_try_advisory_lock(%s)", (CRON_LOCK,))
        await stopped.execute(
            "INSERT INTO cron_leadership (epoch, leader, beat) VALUES (7, 'asleep', now() - interval '1 minute')"
        )
        async with process(database, plant(EVERY_SECOND), options=QUICK) as one:
            await until(lambda: one.automations.is_cron_leader)
            assert await database.fetch_one("SELECT epoch FROM cron_leadership") == (8,)


async def test_a_leader_that_somebody_followed_stands_down_and_fires_nothing_more(database: Database) -> None:
    async with process(database, plant(EVERY_SECOND), options=QUICK) as one:
        await ticked(one, 1)
        row = await database.fetch_one(
            "UPDATE cron_leadership SET epoch = epoch + 1 RETURNING epoch, clock_timestamp()"
        )
        assert row is not None
        followed, since = row
        found = await ticked(one, 3)
        assert found == [found[0] + timedelta(seconds=number) for number in range(len(found))]
        late = await database.fetch("SELECT epoch FROM cron_firings WHERE fired_at > %s", (since,))
        assert late
        assert all(epoch > followed for (epoch,) in late)
