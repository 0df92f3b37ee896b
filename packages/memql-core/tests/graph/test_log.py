from __future__ import annotations

import anyio
import pytest

from memql.graph.database import Database
from memql.graph.log import NewVersion, Written, append, append_expected, head, last_live

pytestmark = pytest.mark.anyio


def version(short: str = "a", *, deleted: bool = False, **payload: object) -> NewVersion:
    return NewVersion(
        id=f"v1:ops:job:{short}",
        concept="v1:ops:job",
        created_by="system:test",
        schema={"$id": "v1.ops.job", "version": "1.0.0", "hash": "00"},
        payload=payload,
        provenance={"kind": "direct", "name": "raw"},
        deleted=deleted,
    )


async def test_a_first_version_is_in_the_log_and_is_the_head(database: Database) -> None:
    written = await append(database, version(title="one"))
    assert written.created
    latest = await head(database, "v1:ops:job:a")
    assert latest is not None
    assert (latest.payload, latest.seq, latest.created_at) == (
        {"title": "one"},
        written.seq,
        written.created_at,
    )
    logged = await database.fetch("SELECT created_at, seq FROM memory_nodes WHERE id = %s", (latest.id,))
    assert logged == [(written.created_at, written.seq)]


async def test_hundred_parallel_appends_to_one_id_leave_hundred_ordered_versions(database: Database) -> None:
    results: list[Written] = []

    async def write(number: int) -> None:
        results.append(await append(database, version(number=number)))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(write, number)

    rows = await database.fetch("SELECT created_at, seq FROM memory_nodes ORDER BY created_at")
    assert len({row[0] for row in rows}) == 100
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert sum(written.created for written in results) == 1
    latest = await head(database, "v1:ops:job:a")
    assert latest is not None
    assert (latest.created_at, latest.seq) == rows[-1]
    assert sorted(w.previous_seq for w in results if w.previous_seq) == [row[1] for row in rows[:-1]]


async def test_a_compare_and_set_write_is_refused_when_the_head_has_moved(database: Database) -> None:
    first = await append_expected(database, version(n=1), None)
    assert first is not None
    assert await append_expected(database, version(n=2), None) is None
    second = await append_expected(database, version(n=2), first.seq)
    assert second is not None
    assert second.previous_seq == first.seq
    assert await append_expected(database, version(n=3), first.seq) is None
    assert await database.fetch_one("SELECT count(*) FROM memory_nodes") == (2,)


async def test_the_last_live_version_is_found_behind_a_tombstone(database: Database) -> None:
    await append(database, version(n=1))
    await append(database, version(deleted=True, id="v1:ops:job:a"))
    latest = await head(database, "v1:ops:job:a")
    live = await last_live(database, "v1:ops:job:a")
    assert latest is not None
    assert latest.deleted
    assert live is not None
    assert live.payload == {"n": 1}
