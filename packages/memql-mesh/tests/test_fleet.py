"""A mesh of real processes."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from fleet import fleet

pytestmark = pytest.mark.anyio

TOPIC = "graph.node.created.v1:cognition:utterance"


async def test_it_runs(dsn: str, tmp_path: Path) -> None:
    async with fleet(dsn, tmp_path) as f:
        for name in ("bff-1", "cognition-1", "agent-1", "planner-1"):
            await f.start(name)
        await f.ready()
        async with f.client("cognition-1") as client:
            await client.execute('insert("v1:cognition:utterance", payload={text: "hello"})')
        with anyio.fail_after(20):
            while not all(node.sightings(TOPIC) for node in f.nodes.values()):
                await anyio.sleep(0.05)
        print([node.sightings(TOPIC) for node in f.nodes.values()])
