"""Every node that should see an event sees it once, whatever is killed meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest
from fleet import Fleet, fleet
from tally import show
from traffic import logged, sightings, wait_until_seen, write

from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

NODES = ("bff-1", "cognition-1", "agent-1", "planner-1", "voice-1")
WRITERS = ("cognition-1", "agent-1", "planner-1")
EVENTS = 10_000
SECONDS_BETWEEN_KILLS = (0.3, 1.2)

_CUT_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'memql' AND random() < 0.3"
)


async def wreck(fleet: Fleet, dsn: str, chooser: random.Random, kills: dict[str, int]) -> None:
    """Kill a node, or connections of the database, now and then; what was killed starts again at once."""
    async with Database.open(dsn, application_name="wrecker") as database:
        while True:
            await anyio.sleep(chooser.uniform(*SECONDS_BETWEEN_KILLS))
            victim = chooser.choice((*NODES, "database"))
            kills[victim] = kills.get(victim, 0) + 1
            if victim == "database":
                await database.fetch(_CUT_CONNECTIONS)
            else:
                fleet.kill(victim)
                await fleet.gone(victim)
                await fleet.start(victim)


async def test_ten_thousand_events_of_three_nodes_while_anything_is_killed(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    chooser = random.Random(7)
    kills: dict[str, int] = {}
    async with fleet(dsn, tmp_path) as nodes:
        for name in NODES:
            await nodes.start(name)
        await nodes.ready()
        async with anyio.create_task_group() as wreckers:
            wreckers.start_soon(wreck, nodes, dsn, chooser, kills)
            async with anyio.create_task_group() as writers:
                for number, name in enumerate(WRITERS):
                    writers.start_soon(write, nodes, name, range(number, EVENTS, len(WRITERS)))
            wreckers.cancel_scope.cancel()
        await nodes.ready()
        events = await logged(database)
        await wait_until_seen(nodes, NODES, events, 120)
        rows = sightings(nodes, NODES, events)
    show(f"{EVENTS} events written while processes and connections were killed: {kills}", rows)
    assert len(events) >= EVENTS
    assert sum(kills.values()) >= 10
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(NODES)
