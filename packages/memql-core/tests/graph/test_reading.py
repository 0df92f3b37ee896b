from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from memql.events.horizon import Horizon
from memql.graph.database import Connection, Database
from memql.graph.log import NewVersion, Store, append, append_expected, head
from memql.graph.sources import as_of, history, latest, text_literal

pytestmark = pytest.mark.anyio

CONCEPT = "v1:ops:job"
SCOPE = f"h.concept = {text_literal(CONCEPT)}"


def row(short: str, n: int, *, deleted: bool = False) -> NewVersion:
    return NewVersion(
        id=f"{CONCEPT}:{short}",
        concept=CONCEPT,
        created_by="system:test",
        schema={},
        payload={"n": n},
        provenance={"kind": "system", "name": "test"},
        deleted=deleted,
    )


async def test_every_instant_shows_what_was_latest_then(database: Database) -> None:
    chance = random.Random(11)
    written: list[tuple[datetime, str, int, bool]] = []
    for n in range(120):
        version = row(chance.choice("abcdefgh"), n, deleted=chance.random() < 0.2)
        outcome = await append(database, version)
        written.append((outcome.created_at, version.id, n, version.deleted))
    await append(database, NewVersion(**{**_members(row("z", 0)), "id": "v1:ops:other:z", "concept": "v1:ops:other"}))
    statement = f"SELECT n.id, n.payload FROM {as_of('n', SCOPE, '%(at)s::timestamptz')} WHERE NOT n.deleted"
    for at in [*(moment for moment, *_ in written[::7]), written[0][0] - timedelta(microseconds=1)]:
        state = {name: (n, gone) for moment, name, n, gone in written if moment <= at}
        expected = {name: {"n": n} for name, (n, gone) in state.items() if not gone}
        assert dict(await database.fetch(statement, {"at": at})) == expected
    newest = f"SELECT n.id, n.payload FROM {latest('n')} WHERE n.concept = '{CONCEPT}' AND NOT n.deleted"
    assert dict(await database.fetch(newest)) == dict(await database.fetch(statement, {"at": written[-1][0]}))
    everything = f"SELECT n.created_at, n.id, n.payload, n.deleted FROM {history('n', SCOPE)} ORDER BY n.seq"
    assert await database.fetch(everything) == [(at, name, {"n": n}, gone) for at, name, n, gone in written]


def _members(version: NewVersion) -> dict[str, Any]:
    return {name: getattr(version, name) for name in NewVersion.__slots__}


async def test_as_of_does_not_read_versions_it_does_not_return(database: Database) -> None:
    for n in range(60):
        for short in "abcd":
            await append(database, row(short, n))
    await database.execute("ANALYZE")
    middle = await database.fetch_one("SELECT created_at FROM memory_nodes ORDER BY created_at OFFSET 120 LIMIT 1")
    assert middle is not None
    plan = await database.fetch_one(
        f"EXPLAIN (ANALYZE, FORMAT json) SELECT n.id FROM {as_of('n', SCOPE, '%(at)s::timestamptz')}",
        {"at": middle[0]},
    )
    assert plan is not None
    assert _rows_read(plan[0][0]["Plan"], "memory_nodes") == 4


def _rows_read(node: dict[str, Any], table: str) -> int:
    below = sum(_rows_read(child, table) for child in node.get("Plans", ()))
    if node.get("Relation Name") != table:
        return below
    read: float = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return below + round(read)


async def write_at_random(database: Database, worker: int, enough: Callable[[], bool]) -> None:
    """Transactions that draw numbers early and late, beside compare-and-set writes of one shared row."""
    chance = random.Random(worker)
    number = 0
    while number < 25 or not enough():
        number += 1

        async def work(connection: Connection, name: str = str(number % 5)) -> None:
            await append(connection, row(f"{worker}{name}", 0))
            await connection.execute("SELECT pg_sleep(%s)", (chance.random() * 0.004,))
            await append(connection, row(f"{worker}-{name}", 0))

        await database.transaction(work)
        current = await head(database, f"{CONCEPT}:shared")
        await append_expected(database, row("shared", 0), current.seq if current else None)


async def test_a_reader_up_to_the_horizon_never_passes_a_version_that_commits_late(dsn: str) -> None:
    statement = "SELECT seq FROM memory_nodes WHERE seq > %s AND seq <= %s ORDER BY seq"
    seen: list[int] = []
    async with Database.open(dsn) as database, Database.open(dsn, max_size=1) as reading:
        horizon = Horizon(reading, "memory_seq")

        async def read_on() -> None:
            position = seen[-1] if seen else 0
            seen.extend(seq for (seq,) in await reading.fetch(statement, (position, await horizon.settled())))

        async def poll() -> None:
            while True:
                await read_on()
                await anyio.lowlevel.checkpoint()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as polling:
                polling.start_soon(poll)
                async with anyio.create_task_group() as writers:
                    for worker in range(8):
                        writers.start_soon(write_at_random, database, worker, lambda: len(seen) > 100)
                polling.cancel_scope.cancel()
            written = [seq for (seq,) in await reading.fetch("SELECT seq FROM memory_nodes ORDER BY seq")]
            # Transactions of other tests, in other databases, hold the horizon back.
            while seen[-1] < written[-1]:
                await read_on()
        assert seen == written


async def test_secret_rows_live_in_tables_of_their_own_with_numbers_of_the_same_sequence(database: Database) -> None:
    first = await append(database, row("a", 1), store=Store.SECRET)
    second = await append(database, row("a", 2))
    assert first.created
    assert second.created
    assert second.seq > first.seq
    secret = await head(database, f"{CONCEPT}:a", store=Store.SECRET)
    assert secret is not None
    assert secret.payload == {"n": 1}


async def test_numbers_beyond_a_double_are_read(database: Database) -> None:
    assert await database.fetch_one("""SELECT '{"a": 1e400, "b": 123456789012345678901234567890}'::jsonb""") == (
        {"a": 10**400, "b": 123456789012345678901234567890},
    )


def test_only_names_become_literals() -> None:
    assert text_literal("it's") == "'it''s'"
    for text in ("50%", "back\\slash"):
        with pytest.raises(ValueError, match="is no name"):
            text_literal(text)
