"""Starting further nodes on request, and asking who can do something."""

from __future__ import annotations

import signal
from pathlib import Path

import anyio
import pytest
from fleet import fleet
from mesh_nodes import member
from trusted_mesh import calling, hello

from memql.agent import AgentRole
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.mesh.wire.messages import CapabilityQuery, CapabilityResponse, SpawnRequest, SpawnResult

pytestmark = pytest.mark.anyio

_HEALTH = "SELECT payload ->> 'health' FROM memory_heads WHERE id = %s"


async def test_a_node_for_development_starts_others_and_takes_them_along(dsn: str, tmp_path: Path) -> None:
    async with fleet(dsn, tmp_path) as nodes, Database.open(dsn) as database:
        bff = await nodes.start("bff-1", MEMQL_MESH_SPAWNER="local")
        await nodes.ready()
        async with calling(bff.service, "") as caller:
            await caller.say(hello("planner-9", "planner"))
            await caller.say(SpawnRequest(request_id="1", node_type="agent", labels={"zone": "a"}))
            result = await caller.wait_for(SpawnResult, 60)
            assert (result.request_id, result.success, result.error) == ("1", True, "")
            row = f"v1:cluster:node:{result.node_id}"
            await _health(database, row, "healthy")
            for request, said in (
                (SpawnRequest(request_id="2", node_type="identity"), "no type of node"),
                (SpawnRequest(request_id="3", node_type="agent", env={"LD_PRELOAD": "x"}), "LD_PRELOAD"),
            ):
                await caller.say(request)
                refused = await caller.wait_for(SpawnResult)
                assert (refused.request_id, refused.success) == (request.request_id, False)
                assert said in refused.error
        nodes.signal("bff-1", signal.SIGTERM)
        await nodes.gone("bff-1", 60)
        await _health(database, row, "stopped")


async def _health(database: Database, row: str, wanted: str) -> None:
    with anyio.fail_after(60):
        while await database.fetch_one(_HEALTH, (row,)) != (wanted,):  # noqa: ASYNC110  another process
            await anyio.sleep(0.1)


async def test_a_node_of_a_cluster_starts_none(dsn: str, tmp_path: Path) -> None:
    async with (
        member(dsn, "bff", "bff-1", tmp_path) as bff,
        calling(bff.mesh.address, "") as caller,
    ):
        await caller.say(hello("planner-9", "planner"))
        await caller.say(SpawnRequest(request_id="1", node_type="agent"))
        result = await caller.wait_for(SpawnResult)
        assert not result.success
        assert result.error.startswith("FAILED_PRECONDITION")


async def test_a_spawner_outside_development_is_refused(dsn: str, tmp_path: Path) -> None:
    settings = {"MEMQL_MESH_SPAWNER": "anything"}
    with pytest.raises(MemqlError) as refused:
        async with member(dsn, "bff", "bff-1", tmp_path, settings=settings):
            pass
    assert refused.value.code is Code.CONFIG_INVALID


async def test_a_node_says_who_can_do_something(dsn: str, tmp_path: Path) -> None:
    async with (
        member(dsn, "bff", "bff-1", tmp_path) as bff,
        member(dsn, "agent", "agent-1", tmp_path, made=lambda _: AgentRole()) as agent,
    ):
        with anyio.fail_after(30):
            while bff.mesh.switchboard.dialed("agent-1") is None:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        link = bff.mesh.switchboard.dialed("agent-1")
        assert link is not None
        for name, answer in (
            ("models", CapabilityResponse(available=True, node_id="agent-1", address=agent.mesh.address)),
            ("executor:integration.si.embedText", CapabilityResponse(available=True, node_id="agent-1")),
            ("telepathy", CapabilityResponse()),
        ):
            found = await bff.mesh.forwarding.capabilities.ask(link, name, 10)
            assert (found.available, found.node_id) == (answer.available, answer.node_id)
        async with calling(bff.mesh.address, "") as caller:
            await caller.say(hello("planner-9", "planner"))
            await caller.say(CapabilityQuery(request_id="q", capability_name="models"))
            told = await caller.wait_for(CapabilityResponse)
            assert (told.available, told.node_id, told.address) == (True, "agent-1", agent.mesh.address)
