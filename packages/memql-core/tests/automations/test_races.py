"""Processes that race for the same events, and a database that goes away under a batch."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import psycopg
import pytest
from nursery import nursery
from plant import RecordingBus, plant, process, until

from memql.automations import Options
from memql.events import Event
from memql.graph.database import Database

pytestmark = pytest.mark.anyio

EVENTS = 3000
TICKING = """
@enabled @trigger(event="node.created", concept="v1:plant:order")
automation takeOrder { step take { logic take { event: event } } }
logic logicTake { args { event object! } body { return { item: args.event.payload.item } } }
@enabled @trigger(event="node.created", concept="v1:plant:order") @filter(payload.amount == 100)
automation bookHundredth { step book { mutation tick { at: event.payload.item } } }
"""
ORDERS = """
INSERT INTO memory_nodes (id, created_at, concept, type, created_by, schema, payload, provenance)
SELECT 'v1:plant:order:o' || n, clock_timestamp(), 'v1:plant:order', 'object', 'system:test',
       '{"$id":"v1.plant.order"}', jsonb_build_object('item', 'o' || n, 'amount', 1 + mod(n, 100)),
       '{"kind":"direct","name":"raw"}'
FROM generate_series(1, %s) AS n
"""
DONE = "SELECT count(*) FROM automation_execution_claims WHERE completed_at IS NOT NULL"
GOING = '@enabled @trigger(event="plant.go") automation go { step t { mutation tick { at: event.payload.n } } }'


async def all_done(database: Database, claims: int) -> None:
    with anyio.fail_after(60):
        while await database.fetch_one(DONE) != (claims,):  # noqa: ASYNC110
            await anyio.sleep(0.05)


@pytest.mark.parametrize("killed", [False, True])
async def test_two_processes_share_thousands_of_events_and_their_counts_add_up(
    dsn: str, database: Database, tmp_path: Path, killed: bool
) -> None:
    booked = EVENTS // 100
    async with nursery(dsn, tmp_path / "processes.log") as raised:
        nodes = [await raised.spawn(TICKING, executors=(), lease=2.0) for _ in range(2)]
        await raised.all_ready()
        await database.execute(ORDERS, (EVENTS,))
        if killed:
            with anyio.fail_after(60):
                while (await database.fetch_one(DONE) or (0,))[0] < EVENTS // 3:  # noqa: ASYNC110
                    await anyio.sleep(0.005)
            raised.signal(nodes.pop(), signal.SIGKILL)
            nodes.append(await raised.spawn(TICKING, executors=(), lease=2.0))
        await all_done(database, EVENTS + booked)
        counts = [await raised.stop(node) for node in nodes]
    total = {name: sum(count[name] for count in counts) for name in counts[0]}
    per_event = await database.fetch(
        "SELECT automation_name, count(*), count(DISTINCT dedup_key), bool_and(outcome = 'completed') "
        "FROM automation_execution_claims GROUP BY 1 ORDER BY 1"
    )
    assert per_event == [("bookHundredth", booked, booked, True), ("takeOrder", EVENTS, EVENTS, True)]
    ticks = await database.fetch(
        "SELECT count(*), count(DISTINCT payload ->> 'at') FROM memory_nodes WHERE concept = 'v1:plant:tick'"
    )
    assert ticks == [(booked, booked)]
    assert (total["claim_errors"], total["unguarded"], total["runs_failed"]) == (0, 0, 0)
    if not killed:
        assert total["claimed"] == total["runs_completed"] == EVENTS + booked
        assert total["duplicates_prevented"] <= EVENTS + booked
        assert (total["take_overs"], total["claims_lost"]) == (0, 0)
        assert all(count["claimed"] for count in counts), "both had a share"


async def publish(bus: RecordingBus, count: int) -> None:
    for number in range(count):
        bus.publish(Event(id=f"e{number}", topic="plant.go", body={"n": f"{number}"}))


END_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%automation_execution_claims%'
"""


@pytest.mark.parametrize("open_window", [0, 5])
async def test_when_the_database_goes_away_under_a_batch_no_member_is_lost(
    dsn: str, database: Database, open_window: int
) -> None:
    options = Options(unguarded_runs=open_window, concurrency=40, concurrency_each=40, retry_delay=0.05, lease=2.0)
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher,
        await psycopg.AsyncConnection.connect(dsn) as other,
        process(database, plant(GOING), options=options) as one,
    ):
        await anyio.wait_all_tasks_blocked()
        await other.execute("LOCK TABLE automation_execution_claims IN ACCESS EXCLUSIVE MODE")
        await publish(one.bus, 40)
        counts = one.automations.counts
        with anyio.fail_after(10):
            while not (await watcher.execute(END_WAITING)).rowcount:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        await until(lambda: counts.claim_errors >= 40)
        await other.rollback()
        await until(lambda: counts.runs_completed + counts.runs_failed >= 40)
        assert counts.claim_errors >= 40, "each member of the batch counts"
        assert counts.unguarded == open_window
        assert counts.claimed == 40, "those that went ahead without a claim wait for one where they write"
        rows = await database.fetch("SELECT payload ->> 'at' FROM memory_nodes WHERE concept = 'v1:plant:tick'")
        assert len(rows) == len(set(rows)) == 40
