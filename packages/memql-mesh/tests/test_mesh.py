"""Whole nodes that find each other through the database and share their events."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mesh_nodes import connected, member, until
from prometheus_client import REGISTRY

from memql.mesh.peers import Health

pytestmark = pytest.mark.anyio


async def test_nodes_find_each_other_in_the_database_and_share_events(dsn: str, tmp_path: Path) -> None:
    async with (
        member(dsn, "bff", "bff-1", tmp_path) as bff,
        member(dsn, "cognition", "cognition-1", tmp_path) as cognition,
        member(dsn, "agent", "agent-1", tmp_path) as agent,
    ):
        everyone = (bff, cognition, agent)
        await connected(*everyone)
        await until(lambda: "agent-1" in cognition.mesh.switchboard.lines)
        sent = sample("memql_mesh_events_sent_total")
        (row,) = await cognition.do('insert("v1:cognition:utterance", payload={text: "hello"})')
        topic = "graph.node.created.v1:cognition:utterance"
        await until(lambda: all(topic in one.topics() for one in everyone))
        ids = {event.id for one in everyone for event in one.events if event.topic == topic}
        assert len(ids) == 1
        await anyio.sleep(0.6)
        assert all(one.seen[next(iter(ids))] == 1 for one in everyone)
        event = next(event for event in agent.events if event.topic == topic)
        assert event.origin == "cognition-1"
        assert event.payload["nodeId"] == row["id"]
        assert {peer.id: peer.health for peer in bff.mesh.peers} == {
            "cognition-1": Health.HEALTHY,
            "agent-1": Health.HEALTHY,
        }
        await until(lambda: sample("memql_mesh_events_sent_total") >= sent + 1)
        await until(lambda: sample("memql_mesh_peers", health="healthy") == 2)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
