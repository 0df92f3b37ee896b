"""Processes that die, or sleep, in the middle of what they do."""

from __future__ import annotations

import random
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import anyio
import pytest
from nursery import LEASE, nursery
from plant import place_order, plant

from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KILLS = 50
LEADER_KILLS = 20

_RUNNING = """
SELECT claimed_by, dedup_key FROM automation_execution_claims
WHERE completed_at IS NULL AND automation_name = 'book' AND lease_until > clock_timestamp()
ORDER BY random() LIMIT 1
"""
_TAKEN_OVER = "SELECT coalesce(sum(epoch - 1), 0)::int FROM automation_execution_claims WHERE automation_name = 'book'"
_OPEN = "SELECT count(*) FROM automation_execution_claims WHERE completed_at IS NULL AND automation_name = 'book'"
_LEADER = "SELECT leader, epoch FROM cron_leadership"
_ORDERS_WITHOUT_RUN = """
SELECT count(*) FROM memory_heads WHERE concept = 'v1:plant:order' AND NOT EXISTS (
    SELECT FROM automation_execution_claims WHERE automation_name = 'book' AND completed_at IS NOT NULL
      AND dedup_key = 'g:' || seq || ':created')
"""


async def scalar(database: Database, statement: str) -> Any:
    row = await database.fetch_one(statement)
    return None if row is None else row[0]


async def someone_at_work(database: Database) -> str:
    """The owner of a claim that is being worked on."""
    while True:
        row = await database.fetch_one(_RUNNING)
        if row is not None:
            return str(row[0])
        await anyio.sleep(0.002)


async def all_done(database: Database) -> None:
    while await scalar(database, _ORDERS_WITHOUT_RUN) or await scalar(database, _OPEN):  # noqa: ASYNC110
        await anyio.sleep(0.05)


async def check_each_order_took_effect_once(database: Database, orders: int) -> None:
    """Four entries and one total per order, and no row has a second version."""
    versions = await database.fetch(
        "SELECT concept, count(*), count(DISTINCT id) FROM memory_nodes WHERE concept IN "
        "('v1:plant:entry', 'v1:plant:total') GROUP BY concept ORDER BY concept"
    )
    assert versions == [("v1:plant:entry", 2 * orders, 2 * orders), ("v1:plant:total", orders, orders)]
    counts = await database.fetch(
        "SELECT DISTINCT payload ->> 'count' FROM memory_heads WHERE concept = 'v1:plant:total'"
    )
    assert counts == [("1",)]
    per_order = await database.fetch(
        "SELECT payload ->> 'orderId', array_agg(payload ->> 'note' ORDER BY payload ->> 'note') "
        "FROM memory_heads WHERE concept = 'v1:plant:entry' GROUP BY 1"
    )
    assert {tuple(notes) for _, notes in per_order} == {("copy of first", "first")}
    published = await scalar(database, "SELECT count(*) FROM event_outbox WHERE topic = 'plant.booked'")
    assert published == orders


async def test_fifty_killed_claimants_leave_every_effect_exactly_once(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    catalog = plant()
    orders = 0
    async with nursery(dsn, tmp_path / "processes.log") as raised:
        for _ in range(4):
            await raised.spawn()
        with anyio.fail_after(60):
            await next_leader(database, 0)
            while await scalar(database, _TAKEN_OVER) < KILLS:
                await place_order(database, catalog, f"o{orders}")
                orders += 1
                victim = await someone_at_work(database)
                await anyio.sleep(random.uniform(0.0, 0.06))
                if raised.signal(victim, signal.SIGKILL):
                    await raised.spawn()
            await all_done(database)
    await check_each_order_took_effect_once(database, orders)


async def test_a_process_that_slept_through_its_lease_cannot_write_any_more(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    catalog = plant()
    sleepers = 4
    async with nursery(dsn, tmp_path / "processes.log") as raised:
        for _ in range(3):
            await raised.spawn()
        with anyio.fail_after(60):
            await next_leader(database, 0)
            for number in range(sleepers):
                await place_order(database, catalog, f"o{number}")
                sleeper = await someone_at_work(database)
                await anyio.sleep(random.uniform(0.0, 0.05))
                raised.signal(sleeper, signal.SIGSTOP)
                await anyio.sleep(2 * LEASE)
                raised.signal(sleeper, signal.SIGCONT)
            await all_done(database)
            await anyio.sleep(LEASE)
    await check_each_order_took_effect_once(database, sleepers)


async def next_leader(database: Database, epoch: int) -> tuple[str, int]:
    while True:
        row = await database.fetch_one(_LEADER)
        if row is not None and row[1] > epoch:
            return str(row[0]), int(row[1])
        await anyio.sleep(0.005)


async def test_twenty_killed_leaders_skip_and_double_no_firing(dsn: str, database: Database, tmp_path: Path) -> None:
    handovers: list[float] = []
    async with nursery(dsn, tmp_path / "processes.log") as raised:
        for _ in range(3):
            await raised.spawn()
        with anyio.fail_after(90):
            leader, epoch = await next_leader(database, 0)
            for _ in range(LEADER_KILLS):
                await anyio.sleep(random.uniform(0.1, 0.9))
                raised.signal(leader, signal.SIGKILL)
                killed = anyio.current_time()
                leader, epoch = await next_leader(database, epoch)
                handovers.append(anyio.current_time() - killed)
                await raised.spawn()
            until = datetime.now(UTC)
            await every_instant_has_run(database, until)
    await check_firings(database, until)
    assert median(handovers) < 1.0, handovers


async def every_instant_has_run(database: Database, until: datetime) -> None:
    statement = (
        "SELECT (SELECT fired_until >= %s FROM cron_schedules) AND NOT EXISTS (SELECT FROM automation_execution_claims "
        "WHERE automation_name = 'everySecond' AND completed_at IS NULL)"
    )
    while (await database.fetch_one(statement, (until - timedelta(seconds=1),))) != (True,):  # noqa: ASYNC110
        await anyio.sleep(0.05)


async def check_firings(database: Database, until: datetime) -> None:
    rows = await database.fetch("SELECT payload ->> 'at', id FROM memory_nodes WHERE concept = 'v1:plant:tick'")
    ticks = Counter(datetime.fromisoformat(at) for at, _ in rows)
    instants = sorted(ticks)
    assert set(ticks.values()) == {1}
    assert instants == [instants[0] + timedelta(seconds=number) for number in range(len(instants))]
    assert len(instants) >= LEADER_KILLS / 2
    assert instants[-1] >= until - timedelta(seconds=2)
