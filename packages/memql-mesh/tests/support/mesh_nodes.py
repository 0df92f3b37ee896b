"""Nodes of a mesh in the test's own process, over one database and real sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from memql.auth import local_owner
from memql.config import load_settings
from memql.events import Event
from memql.mesh import MeshRole
from memql.mesh.mesh import Mesh
from memql.node import Node, open_node

TREE = Path(__file__).parent / "tree"


def role(name: str) -> MeshRole:
    """A role of that name with nothing of its own."""

    class Plain(MeshRole):
        port = 0

    Plain.name = name
    return Plain()


@dataclass
class Member:
    """One node, and what its bus has published since the test began."""

    node: Node
    seen: Counter[str] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)

    @property
    def mesh(self) -> Mesh:
        """Its mesh."""
        assert isinstance(self.node.companion, Mesh)
        return self.node.companion

    @property
    def id(self) -> str:
        """Its node id."""
        return self.node.identity.id

    def note(self, event: Event) -> None:
        """A tap of the bus."""
        if not event.demanded:
            self.seen[event.id] += 1
        self.events.append(event)

    def topics(self) -> list[str]:
        """The topics seen so far."""
        return [event.topic for event in self.events]

    async def do(self, text: str, **variables: Any) -> list[dict[str, Any]]:
        """Run raw text as the owner; the nodes."""
        result = await self.node.engine.execute(text, actor=local_owner(), variables=variables)
        return result.decoded_nodes()


def environment(dsn: str, node_id: str, home: Path, **more: str) -> dict[str, str]:
    """The environment of a member."""
    return {
        "MEMQL_ENVIRONMENT": "development",
        "MEMQL_HOME": str(home),
        "MEMQL_DATABASE_DSN": dsn,
        "MEMQL_DSL_PATH": str(TREE),
        "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
        "SERVER_ADDRESS": "127.0.0.1:0",
        "MEMQL_NODE_SERVICE_ADDRESS": "127.0.0.1:0",
        "MEMORY_NODES_DATABASE_MAX_OPEN_CONNS": "4",
        "MEMQL_NODE_ID": node_id,
        "MEMQL_SHUTDOWN_BUDGET": "2s",
        **more,
    }


@asynccontextmanager
async def member(
    dsn: str,
    node_type: str,
    node_id: str,
    home: Path,
    *,
    made: Callable[[str], MeshRole] = role,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Member]:
    """A running member of the mesh over a migrated database."""
    loaded = load_settings(environment(dsn, node_id, home, **(settings or {})))
    async with open_node(loaded, roles=[made(node_type)]) as node:
        one = Member(node)
        with node.bus.tap(one.note):
            yield one
            await node.drain()


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something is so that no event tells of."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def connected(*members: Member) -> None:
    """Wait until each hub has a stream to every other node."""
    hubs = [one for one in members if one.node.identity.type == "bff"] or members[:1]
    await until(
        lambda: all(other.id in hub.mesh.switchboard.lines for hub in hubs for other in members if other is not hub)
    )
