"""Every node that should see an event sees it once, whatever is killed meanwhile."""

from __future__ import annotations

import random
from collections import Counter
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
VICTIMS = (*NODES, "database", "database", "database")
"""What is killed at random; of the database, connections."""

_CUT_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'memql' AND random() < 0.3"
)


async def wreck(fleet: Fleet, dsn: str, chooser: random.Random, kills: Counter[str]) -> None:
    """Kill a node, or connections of the database, now and then; what was killed starts again at once."""
    async with Database.open(dsn, application_name="wrecker") as database:
        while True:
            await anyio.sleep(chooser.uniform(*SECONDS_BETWEEN_KILLS))
            victim = chooser.choice(VICTIMS)
            kills[victim] += 1
            # The last one that is killed starts again too.
            with anyio.CancelScope(shield=True):
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
    kills: Counter[str] = Counter()
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
    show(f"{EVENTS} events written meanwhile", rows)
    show("killed", [{"victim": victim, "times": kills[victim]} for victim in dict.fromkeys(VICTIMS)])
    assert len(events) >= EVENTS
    assert kills.total() >= 10
    assert {"bff-1", "database"} <= kills.keys()
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(NODES)
