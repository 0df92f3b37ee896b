"""The rows of nodes: written on change, kept true, retired when their beat stops."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
import pytest

from memql.engine.assembly import build_engine
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.lang.loader import load_tree, read_sources
from memql.mesh.discovery.registry import Registry, Self, new_incarnation
from memql.mesh.discovery.topology import NodeRow
from memql.mesh.options import Options
from memql.mesh.peers import Health

pytestmark = pytest.mark.anyio

QUICK = Options(rows_every=0.05, rows_grace=0.6, rows_prune=1.2)


class Node:
    """A registry and what it is told."""

    def __init__(self, database: Database, node_id: str = "agent-1") -> None:
        self.health = Health.HEALTHY
        self.database = database
        self.registry = Registry(
            database,
            build_engine(database, load_tree(read_sources()).require(), publish=lambda event: None),
            Self(
                id=node_id,
                type="agent",
                address=f"{node_id}:1",
                version="1",
                incarnation=new_incarnation(),
                started_at=datetime.now(UTC),
            ),
            QUICK,
            lambda: self.health,
        )

    async def row(self, node_id: str) -> NodeRow | None:
        return next((row for row in await self.registry.rows() if row.id == node_id), None)

    async def versions(self, node_id: str) -> int:
        statement = "SELECT count(*) FROM memory_nodes WHERE id = %s"
        found = await self.database.fetch_one(statement, (f"v1:cluster:node:{node_id}",))
        assert found is not None
        return int(found[0])


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[Node]:
    await node.registry.begin()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.registry.run)
        yield node
        tasks.cancel_scope.cancel()


async def eventually(node: Node, node_id: str, health: str | None) -> None:
    with anyio.fail_after(20):
        while (None if (row := await node.row(node_id)) is None else row.health) != health:  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def test_a_row_is_written_on_change_only_and_a_beat_leaves_no_version(database: Database) -> None:
    async with running(Node(database)) as node:
        await anyio.sleep(0.4)
        assert await node.versions("agent-1") == 1
        node.health = Health.DRAINING
        node.registry.changed()
        await eventually(node, "agent-1", "draining")
        assert await node.versions("agent-1") == 2
        row = await node.row("agent-1")
        assert row is not None
        assert row.age < 0.6


async def test_a_node_that_leaves_says_so(database: Database) -> None:
    async with running(Node(database)) as node:
        await node.registry.leave()
        await eventually(node, "agent-1", "stopped")


@pytest.mark.parametrize("dead", ["agent-0", "agent-2"])
async def test_a_node_that_lives_retires_a_silent_one_and_forgets_it_in_the_end(database: Database, dead: str) -> None:
    await Node(database, dead).registry.begin()
    async with running(Node(database)) as node:
        await eventually(node, dead, "offline")
        await eventually(node, dead, None)
        assert await node.row("agent-1") is not None


async def test_of_several_nodes_that_live_one_retires(database: Database) -> None:
    await Node(database, "agent-0").registry.begin()
    async with running(Node(database, "agent-2")) as second, running(Node(database)):
        await eventually(second, "agent-0", "offline")
        assert await second.versions("agent-0") == 2


async def test_a_node_that_was_retired_by_mistake_announces_itself_again(database: Database) -> None:
    async with running(Node(database)) as node, running(Node(database, "other")) as other:
        await other.registry._write(
            'update("v1:cluster:node", id=$id, payload=$payload)', id="agent-1", payload={"health": "offline"}
        )
        await eventually(node, "agent-1", "healthy")


async def test_of_two_live_nodes_with_one_id_the_younger_stops(database: Database) -> None:
    elder = Node(database)
    time.sleep(0.005)  # noqa: ASYNC251  incarnations order by their millisecond
    younger = Node(database)
    async with running(elder):
        with pytest.raises(MemqlError, match="MEMQL_NODE_ID") as refused, anyio.fail_after(20):
            await younger.registry.begin()
            await younger.registry.run()
        assert refused.value.code is Code.CONFIG_INVALID


async def test_a_node_that_starts_again_after_a_crash_is_not_in_its_own_way(database: Database) -> None:
    crashed = Node(database)
    await crashed.registry.begin()
    async with running(Node(database)) as node:
        await anyio.sleep(0.5)
        row = await node.row("agent-1")
        assert row is not None
        assert row.incarnation == node.registry.own.incarnation


async def test_without_a_database_the_registry_waits(database: Database) -> None:
    async with running(Node(database)) as node:
        await database.execute("ALTER TABLE mesh_cursors RENAME TO mesh_cursors_away")
        await anyio.sleep(0.2)
        await database.execute("ALTER TABLE mesh_cursors_away RENAME TO mesh_cursors")
        node.health = Health.DRAINING
        await eventually(node, "agent-1", "draining")


async def test_rows_of_several_nodes_are_told_apart(database: Database) -> None:
    one, other = Node(database), Node(database, "agent-2")
    await one.registry.begin()
    await other.registry.begin()
    assert {row.id: row.address for row in await one.registry.rows()} == {
        "agent-1": "agent-1:1",
        "agent-2": "agent-2:1",
    }
