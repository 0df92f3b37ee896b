from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest

from memql.errors import Code, MemqlError
from memql.graph.bulk import Copied, copy_versions
from memql.graph.database import Database
from memql.graph.indexes import ensure_indexes
from memql.graph.log import NewVersion, append, head
from memql.lang import ast
from memql.lang.catalog import Concept, Field

pytestmark = pytest.mark.anyio

CONCEPT = "v1:ops:user"
SCHEMA = {"$id": "v1.ops.user", "version": "1.0.0", "hash": "00"}
PROVENANCE = {"kind": "direct", "name": "raw"}


def row(short: str, *, deleted: bool = False, updated: bool = False, **payload: Any) -> NewVersion:
    return NewVersion(
        id=f"{CONCEPT}:{short}",
        concept=CONCEPT,
        created_by="system:import",
        schema=SCHEMA,
        payload=payload,
        provenance=PROVENANCE,
        deleted=deleted,
        updated=updated,
    )


async def copy(database: Database, versions: Sequence[NewVersion]) -> list[Copied]:
    return await database.run(lambda connection: copy_versions(connection, versions))


async def assert_in_step(database: Database) -> None:
    """The heads are exactly the newest rows of the log."""
    different = await database.fetch(
        """
        WITH newest AS (SELECT DISTINCT ON (id) * FROM memory_nodes ORDER BY id, created_at DESC)
        SELECT id FROM newest n FULL JOIN memory_heads h USING (id)
        WHERE (n.created_at, n.seq, n.payload, n.deleted, n.schema, n.provenance, n.metadata, n.type, n.created_by)
            IS DISTINCT FROM
            (h.created_at, h.seq, h.payload, h.deleted, h.schema, h.provenance, h.metadata, h.type, h.created_by)
        """
    )
    assert different == []


async def test_new_rows_are_in_both_tables_in_their_order(database: Database) -> None:
    copied = await copy(database, [row(str(number), n=number) for number in range(500)])
    assert all(outcome.created and not outcome.revived for outcome in copied)
    numbers = [outcome.seq for outcome in copied]
    assert numbers == sorted(numbers)
    stored = await database.fetch("SELECT id, seq FROM memory_nodes ORDER BY seq")
    assert stored == [(f"{CONCEPT}:{n}", copied[n].seq) for n in range(500)]
    await assert_in_step(database)


@pytest.mark.parametrize("text", ["tab\t", "line\nbreak\r", "back\\slash \\N \\.", 'quote"', "\u2028 é 😀", "\x01"])
async def test_every_character_survives(database: Database, text: str) -> None:
    payload: dict[str, Any] = {"text": text, text: 1}
    version = row("a", **payload)
    await copy(database, [version])
    stored = await head(database, version.id)
    assert stored is not None
    assert stored.payload == payload


async def test_known_ids_get_a_further_version_and_tombstones_are_revived(database: Database) -> None:
    first = await append(database, row("known", n=1))
    await append(database, row("gone", n=1))
    buried = await append(database, row("gone", deleted=True, id="gone"))
    known, gone, fresh = await copy(database, [row("known", n=2, updated=True), row("gone", n=2), row("new")])
    assert (known.previous_seq, known.revived) == (first.seq, False)
    assert (gone.previous_seq, gone.revived) == (buried.seq, True)
    assert fresh.created
    assert known.created_at > first.created_at
    await assert_in_step(database)


async def test_rows_of_one_id_become_versions_in_their_order(database: Database) -> None:
    rows = [row("a", n=0), row("b"), row("a", n=1), row("a", deleted=True, id="a"), row("a", n=3)]
    copied = await copy(database, rows)
    mine = [copied[index] for index in (0, 2, 3, 4)]
    assert [outcome.previous_seq for outcome in mine] == [None, *(outcome.seq for outcome in mine[:-1])]
    assert [outcome.revived for outcome in mine] == [False, False, False, True]
    payloads = await database.fetch("SELECT payload FROM memory_nodes WHERE id = %s ORDER BY created_at", (rows[0].id,))
    assert [payload for (payload,) in payloads] == [version.payload for version in rows if version.id == rows[0].id]
    await assert_in_step(database)


async def test_a_payload_may_be_json_text(database: Database) -> None:
    version = row("a")
    raw = NewVersion(
        id=version.id,
        concept=CONCEPT,
        created_by="system:import",
        schema=SCHEMA,
        payload=msgspec.Raw(b'{"a":"b\\n"}'),
        provenance=PROVENANCE,
    )
    await copy(database, [raw])
    await append(database, raw)
    stored = await head(database, version.id)
    assert stored is not None
    assert stored.payload == {"a": "b\n"}


async def test_two_imports_of_the_same_ids_at_once_both_succeed(database: Database) -> None:
    names = [uuid.uuid4().hex for _ in range(300)]
    results: list[list[Copied]] = []

    async def load(number: int) -> None:
        ordered = names if number % 2 else names[::-1]
        while True:
            try:
                results.append(await copy(database, [row(name, n=number) for name in ordered]))
            except MemqlError as error:
                if not error.retryable:
                    raise
            else:
                return

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(load, number)
    assert sum(outcome.created for result in results for outcome in result) == 300
    assert await database.fetch_one("SELECT count(*) FROM memory_nodes") == (1200,)
    await assert_in_step(database)


async def test_a_refused_row_is_named_and_nothing_is_written(database: Database) -> None:
    email = Field(name="email", type=ast.ScalarType("string"), unique=True)
    concept = Concept(
        key=CONCEPT,
        name="user",
        namespace="ops",
        file="ops/concepts.memql",
        span=ast.NO_SPAN,
        version="1.0.0",
        row_type="object",
        fields=(email,),
        relationships=(),
        json_schema={},
        schema_id="v1.ops.user",
        schema_hash="00",
    )
    await ensure_indexes(database, [concept])
    await append(database, row("old", email="taken"))
    with pytest.raises(MemqlError) as raised:
        await copy(database, [row("z", email="x"), row("old", email="taken"), row("b", email="taken"), row("a")])
    assert raised.value.code is Code.CONFLICT
    assert raised.value.details["row"] == 2
    assert await database.fetch_one("SELECT count(*) FROM memory_nodes") == (1,)


async def test_no_rows_are_no_work(database: Database) -> None:
    assert await copy(database, []) == []
