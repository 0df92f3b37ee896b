"""A writer over a real database and the worked example tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from memql.auth import Actor, system
from memql.engine.context import RequestContext
from memql.engine.result import Result
from memql.engine.write import GraphWriter
from memql.engine.write.requests import RawWrite
from memql.events.event import Event
from memql.graph.database import Database
from memql.graph.indexes import ensure_indexes
from memql.lang.catalog import Catalog
from memql.lang.loader import Sources, load_tree, read_sources
from memql.lang.parser import parse_request
from memql.secrets.keys import MasterKey

OPS = Path(__file__).parents[2] / "trees" / "ops"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def user(name: str, role: str = "writer") -> Actor:
    return Actor(user_id=f"v1:identity:user:{name}", role=role)


U1, U2, BOSS, SYSTEM = user("u1"), user("u2"), user("boss", "admin"), system("system:test")


@dataclass
class World:
    """A writer with its database, its catalog and what it published."""

    database: Database
    catalog: Catalog
    writer: GraphWriter
    events: list[Event] = field(default_factory=list)

    def context(self, actor: Actor = SYSTEM, **changes: Any) -> RequestContext:
        return replace(RequestContext(actor=actor, now=NOW), **changes)

    async def raw(self, text: str, actor: Actor = SYSTEM, **changes: Any) -> Result:
        request = parse_request(text)
        assert isinstance(request.operation, RawWrite)
        return await self.writer.request(request.operation, self.context(actor, **changes))

    async def call(self, name: str, args: Mapping[str, Any], actor: Actor = U1, **changes: Any) -> dict[str, Any]:
        result = await self.writer.mutate(self.catalog.mutations[name], args, self.context(actor, **changes))
        return result.decoded_nodes()[0]

    async def versions(self, node_id: str) -> list[dict[str, Any]]:
        rows = await self.database.fetch(
            "SELECT payload FROM memory_nodes WHERE id = %s ORDER BY created_at", (node_id,)
        )
        return [payload for (payload,) in rows]


def tree(extra: Mapping[str, str] | None = None) -> Catalog:
    sources = read_sources([OPS]).over(Sources(extra or {}))
    return load_tree(sources).require()


@pytest.fixture(scope="session")
def ops_catalog() -> Catalog:
    return tree()


def unused_reader() -> Any:
    """For writes that decide everything in process."""
    return None


async def open_world(database: Database, catalog: Catalog) -> World:
    await ensure_indexes(database, catalog.concepts.values())
    events: list[Event] = []
    key = MasterKey(bytes(range(32)))
    writer = GraphWriter(database, lambda: catalog, events.append, reader=unused_reader, master_key=key)
    return World(database, catalog, writer, events)


@pytest.fixture
async def world(database: Database, ops_catalog: Catalog) -> World:
    return await open_world(database, ops_catalog)


@pytest.fixture
async def fixture_world(world: World) -> World:
    """With the customers and jobs of the worked examples."""
    for text in (
        'insert("v1:ops:customer", id="acme", payload={name:"Acme", tier:"gold", ownerUserId:"u1", prefs:{}})',
        'insert("v1:ops:customer", id="bolt", payload={name:"Bolt", ownerUserId:"u2"})',
        'insert("v1:ops:job", id="j1", parent="acme", payload={title:"Boiler", priority:1, '
        'dueAt:"2026-03-05T00:00:00Z"})',
        'insert("v1:ops:job", id="j2", payload={customerId:"acme", title:"Radiator", status:"done"})',
        'insert("v1:ops:route", id="r1", payload={day:"2026-03-01", jobIds:["j1", "j2"]})',
    ):
        await world.raw(text)
    world.events.clear()
    return world
