"""Kept answers and the writes of other processes: here two engines on one database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from memql.auth import system
from memql.engine.assembly import build_engine
from memql.engine.engine import Engine
from memql.engine.freshness import Freshness
from memql.events import Bus, Event
from memql.graph.database import Connection, Database
from memql.ids import new_id
from memql.lang.catalog import Catalog
from memql.lang.loader import Sources, load_tree, read_sources

pytestmark = pytest.mark.anyio

ACTOR = system("system:test")
TREE = """
@rowAuthz(public) @cache(ttl="5m")
concept note { text string }

@rowAuthz(public) @cache(ttl="5m")
concept other { text string }
"""
PATIENCE = 10.0


@pytest.fixture(scope="module")
def tree() -> Catalog:
    return load_tree(read_sources().over(Sources({"lab/concepts.memql": TREE}))).require()


def engine_on(database: Database, tree: Catalog) -> Engine:
    return build_engine(database, tree, publish=Bus().publish, cursor_key=b"k" * 32)


async def write(engine: Engine, concept: str = "note") -> None:
    text = f'insert("v1:lab:{concept}", id=$id, payload={{text: "x"}})'
    await engine.execute(text, actor=ACTOR, variables={"id": new_id()})


async def count(engine: Engine, concept: str = "note") -> int:
    result = await engine.execute(f"count(concept==v1:lab:{concept})", actor=ACTOR)
    return int(result.decoded_data()[0])


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    with anyio.fail_after(PATIENCE):
        while not await holds():  # noqa: ASYNC110  other processes tell nobody
            await anyio.sleep(0.01)


async def kept(engine: Engine, freshness: Freshness) -> None:
    """Return when the answer about notes is kept, and looked after."""

    async def is_kept() -> bool:
        await count(engine)
        return freshness.watching and len(engine.cache) > 0

    await until(is_kept)


async def becomes(engine: Engine, expected: int, concept: str = "note") -> None:
    async def does() -> bool:
        return await count(engine, concept) == expected

    await until(does)


@asynccontextmanager
async def followed(engine: Engine, database: Database, poll_seconds: float = 0.05) -> AsyncIterator[Freshness]:
    """An engine whose cache is looked after, past the first look."""
    freshness = Freshness(database, engine.cache, poll_seconds=poll_seconds)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(freshness.run)
        await kept(engine, freshness)
        yield freshness
        tasks.cancel_scope.cancel()


async def test_a_write_of_another_process_is_seen_after_the_next_look(database: Database, tree: Catalog) -> None:
    mine, theirs = engine_on(database, tree), engine_on(database, tree)
    async with followed(mine, database) as freshness:
        await write(theirs)
        await becomes(mine, 1)
        await kept(mine, freshness)
        await write(theirs)
        await write(theirs)
        await becomes(mine, 3)


async def test_without_a_look_the_answer_is_the_kept_one(database: Database, tree: Catalog) -> None:
    mine, theirs = engine_on(database, tree), engine_on(database, tree)
    async with followed(mine, database, poll_seconds=60.0):
        await write(theirs)
        assert await count(mine) == 0


async def test_what_was_read_from_other_concepts_stays(database: Database, tree: Catalog) -> None:
    mine, theirs = engine_on(database, tree), engine_on(database, tree)
    async with followed(mine, database) as freshness:
        await write(theirs, "other")
        await becomes(mine, 1, "other")
        await database.execute("DELETE FROM memory_heads")
        assert await count(mine) == 0
        await kept(mine, freshness)


async def test_a_commit_that_comes_late_is_seen_as_well(database: Database, tree: Catalog) -> None:
    mine, theirs = engine_on(database, tree), engine_on(database, tree)
    drawn, commit = anyio.Event(), anyio.Event()

    async def slowly(connection: Connection) -> None:
        await connection.execute(
            "INSERT INTO memory_nodes (id, created_at, concept, type, created_by, schema, payload, provenance) "
            "VALUES ('v1:lab:note:late', now(), 'v1:lab:note', 'object', 'x', '{}', '{}', '{}')"
        )
        await connection.execute(
            "INSERT INTO memory_heads (id, created_at, concept, type, created_by, schema, payload, provenance, seq) "
            "SELECT id, created_at, concept, type, created_by, schema, payload, provenance, seq FROM memory_nodes "
            "WHERE id = 'v1:lab:note:late'"
        )
        drawn.set()
        await commit.wait()

    async with followed(mine, database) as freshness, anyio.create_task_group() as tasks:
        tasks.start_soon(database.transaction, slowly)
        await drawn.wait()
        await write(theirs)
        await becomes(mine, 1)
        await kept(mine, freshness)
        commit.set()
        await becomes(mine, 2)


async def test_an_event_from_another_node_evicts_at_once(database: Database, tree: Catalog) -> None:
    mine, theirs = engine_on(database, tree), engine_on(database, tree)
    async with followed(mine, database, poll_seconds=60.0) as freshness:
        bus = Bus()
        with bus.tap(freshness.heard, local=False, root="graph"):
            await write(theirs)
            bus.publish(Event(id="1", topic="graph.node.created.v1:lab:other", body={}, origin="node-2"))
            bus.publish(Event(id="2", topic="graph.node.created.v1:lab:note", body={}))
            assert await count(mine) == 0
            bus.publish(Event(id="3", topic="graph.node.created.v1:lab:note", body={}, origin="node-2"))
            assert await count(mine) == 1


async def test_an_empty_cache_is_not_looked_after(database: Database, tree: Catalog) -> None:
    mine = engine_on(database, tree)
    async with followed(mine, database) as freshness:
        mine.cache.clear()

        async def is_idle() -> bool:
            return not mine.cache.in_use.is_set()

        await until(is_idle)
        await kept(mine, freshness)
        assert mine.cache.in_use.is_set()
