"""Every node that should see an event sees it once, whatever is killed meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest
from fleet import Fleet, fleet

from memql.client import Client
from memql.errors import MemqlError
from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

TOPIC = "graph.node.created.v1:cognition:utterance"
NODES = ("bff-1", "cognition-1", "agent-1", "planner-1", "voice-1")
WRITERS = ("cognition-1", "agent-1", "planner-1")
EVENTS = 10_000
AT_ONCE = 12
SECONDS_BETWEEN_KILLS = (0.3, 1.2)

_INSERT = 'insert("v1:cognition:utterance", id=$id, payload={text: $text})'
_LOGGED = "SELECT 'g:' || seq || ':created' FROM memory_nodes WHERE concept = 'v1:cognition:utterance'"
_CUT_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'memql' AND random() < 0.3"
)


async def write(fleet: Fleet, node_id: str, numbers: list[int]) -> None:
    """Write through one node until every number is acknowledged; a write whose answer was lost is repeated."""
    waiting = list(numbers)
    while waiting:
        try:
            async with fleet.client(node_id) as client:
                while waiting:
                    await _write_some(client, waiting)
        except MemqlError:
            await anyio.sleep(0.1)


async def _write_some(client: Client, waiting: list[int]) -> None:
    batch = waiting[-AT_ONCE:]
    failed: list[tuple[int, MemqlError]] = []

    async def one(number: int) -> None:
        try:
            await client.execute(_INSERT, {"id": f"u{number}", "text": "x" * 200}, timeout=10)
        except MemqlError as error:
            failed.append((number, error))

    async with anyio.create_task_group() as tasks:
        for number in batch:
            tasks.start_soon(one, number)
    del waiting[-AT_ONCE:]
    waiting.extend(number for number, _ in failed)
    if failed:
        raise failed[0][1]


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
                    writers.start_soon(write, nodes, name, list(range(number, EVENTS, len(WRITERS))))
            wreckers.cancel_scope.cancel()
        await nodes.ready()
        logged = {row[0] for row in await database.fetch(_LOGGED)}
        assert len(logged) >= EVENTS
        try:
            with anyio.fail_after(120):
                while any(logged - seen_by(nodes, name) for name in NODES):  # noqa: ASYNC110  other processes
                    await anyio.sleep(0.5)
        except TimeoutError:
            pass
        for name in NODES:
            lives = nodes.nodes[name].sightings(TOPIC)
            lost = logged - seen_by(nodes, name)
            doubled = sum(count > 1 for life in lives.values() for count in life.values())
            repeated = sum(map(len, lives.values())) - len(logged) + len(lost)
            print(
                f"{name}: {len(logged)} events, {len(lost)} lost, {doubled} doubled, over {len(lives)} lives "
                f"({repeated} seen again by a later life)"
            )
            assert not lost, sorted(lost)[:5]
            assert not doubled
        print(f"killed: {kills}")
        assert sum(kills.values()) >= 10


def seen_by(nodes: Fleet, name: str) -> set[str]:
    """Everything a node has seen, in any of its lives."""
    lives = nodes.nodes[name].sightings(TOPIC)
    return {event_id for life in lives.values() for event_id in life}
