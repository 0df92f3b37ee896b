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
WHOLE_WITHIN = 10.0
"""Seconds from the readiness of who was away to a whole mesh; the longest back-off is thirty."""


async def write_everywhere(nodes: Fleet, names: Sequence[str], seconds: float = 0.0) -> None:
    async with anyio.create_task_group() as writers:
        for number, name in enumerate(names):
            numbers = range(number, EVENTS, len(names))
            writers.start_soon(partial(write, nodes, name, numbers, seconds=seconds))


async def test_a_thousand_writes_while_the_hub_is_down_for_a_minute(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    """A whole minute with the default settings: longer than any limit of silence, and twice the longest back-off. An
    agent that others dial is down with the hub."""
    everybody = ("bff-1", "agent-2", *WORKERS)
    down = ("bff-1", "agent-2")
    async with fleet(dsn, tmp_path) as nodes:
        for name in everybody:
            await nodes.start(name)
        await nodes.ready()
        await nodes.whole()
        for name in down:
            nodes.kill(name)
            await nodes.gone(name)
        async with anyio.create_task_group() as outage:
            outage.start_soon(anyio.sleep, MINUTE)
            await write_everywhere(nodes, WORKERS, seconds=MINUTE / 2)
            events = await logged(database)
            await wait_until_seen(nodes, WORKERS, events, MINUTE / 4)
            meanwhile = sightings(nodes, WORKERS, events)
        for name in down:
            await nodes.start(name)
        await nodes.ready(*down)
        began = anyio.current_time()
        await wait_until_seen(nodes, down, events, 30)
        delivered = anyio.current_time() - began
        await nodes.whole(seconds=60)
        healed = anyio.current_time() - began
        rows = sightings(nodes, everybody, events)
        for row in rows:
            row["from the log"] = await nodes.metric(nodes.nodes[str(row["node"])], "memql_mesh_events_from_log_total")
    show("while the hub was down", meanwhile)
    show(f"after it returned: all delivered {delivered:.1f} s after it was ready, all whole after {healed:.1f} s", rows)
    assert len(events) >= EVENTS
    assert [(row["lost"], row["doubled"]) for row in meanwhile] == [(0, 0)] * len(WORKERS)
    assert [(row["lost"], row["doubled"]) for row in rows] == [(0, 0)] * len(everybody)
    assert healed < WHOLE_WITHIN


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
    assert len(events) >= EVENTS
    assert [(row["lost"], row["doubled"], row["streams"]) for row in rows] == [(0, 0, 0)] * len(LONELY)
