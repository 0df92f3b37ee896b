"""Events while the hub is away, or was never there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest
from fleet import Fleet, fleet, free_port
from tally import show
from traffic import logged, sightings, wait_until_seen, write

from memql.graph.database import Database

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

WORKERS = ("cognition-1", "agent-1", "voice-1")
LONELY = ("cognition-1", "planner-1", "voice-1")
EVENTS = 1000
MINUTE = 60.0


async def write_everywhere(nodes: Fleet, names: Sequence[str], seconds: float = 0.0) -> None:
    async with anyio.create_task_group() as writers:
        for number, name in enumerate(names):
            numbers = range(number, EVENTS, len(names))
            writers.start_soon(partial(write, nodes, name, numbers, seconds=seconds))


async def test_a_thousand_writes_while_the_hub_is_down_for_a_minute(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    """A whole minute with the default settings: longer than any limit of silence, and twice the longest back-off."""
    everybody = ("bff-1", *WORKERS)
    async with fleet(dsn, tmp_path) as nodes:
        for name in everybody:
            await nodes.start(name)
        await nodes.ready()
        nodes.kill("bff-1")
        await nodes.gone("bff-1")
        async with anyio.create_task_group() as outage:
            outage.start_soon(anyio.sleep, MINUTE)
            await write_everywhere(nodes, WORKERS, seconds=MINUTE / 2)
            events = await logged(database)
            await wait_until_seen(nodes, WORKERS, events, MINUTE / 4)
            meanwhile = sightings(nodes, WORKERS, events)
        await nodes.start("bff-1")
        await nodes.ready("bff-1")
        await wait_until_seen(nodes, ["bff-1"], events, 30)
        rows = sightings(nodes, everybody, events)
        from_log = await nodes.metric(nodes.nodes["bff-1"], "memql_mesh_events_from_log_total")
        healed = await nodes.whole(seconds=60)
    show("while the hub was down", meanwhile)
    show(f"after it returned; it found {from_log:.0f} in the log, and all were whole after {healed:.1f} s", rows)
    assert len(events) == EVENTS
    assert [(row["lost"], row["doubled"]) for row in meanwhile] == [(0, 0)] * len(WORKERS)
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(everybody)
    assert from_log >= EVENTS


async def test_a_thousand_writes_without_a_hub_or_any_stream(dsn: str, database: Database, tmp_path: Path) -> None:
    """Nodes of types that do not dial one another, under a parent that does not exist: only the log connects them."""
    nowhere = f"127.0.0.1:{free_port()}"
    async with fleet(dsn, tmp_path) as nodes:
        for name in LONELY:
            await nodes.start(name, MEMQL_PARENT_ADDRESS=nowhere)
        await nodes.ready()
        await write_everywhere(nodes, LONELY)
        events = await logged(database)
        await wait_until_seen(nodes, LONELY, events, 30)
        rows = sightings(nodes, LONELY, events)
        for row, name in zip(rows, LONELY, strict=True):
            row["streams"] = len(nodes.nodes[name].view()["streams"])
            row["from the log"] = await nodes.metric(nodes.nodes[name], "memql_mesh_events_from_log_total")
    show("without a hub or any stream", rows)
    assert len(events) == EVENTS
    assert [(row["lost"], row["doubled"], row["streams"]) for row in rows] == [(0, 0, 0)] * len(LONELY)
