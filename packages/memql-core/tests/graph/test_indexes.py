from __future__ import annotations

from typing import Any

import pytest

from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.graph.indexes import declared_indexes, ensure_indexes, indexed_expression, violated_field
from memql.graph.log import NewVersion, append
from memql.graph.sources import latest, text_literal
from memql.lang import ast
from memql.lang.catalog import Concept, Field

pytestmark = pytest.mark.anyio


def scalar(name: str) -> ast.ScalarType:
    return ast.ScalarType(name)


def concept(*fields: Field, key: str = "v1:ops:user") -> Concept:
    return Concept(
        key=key,
        name="user",
        namespace="ops",
        file="ops/concepts.memql",
        span=ast.NO_SPAN,
        version="1.0.0",
        row_type="object",
        fields=fields,
        relationships=(),
        json_schema={},
        schema_id="v1.ops.user",
        schema_hash="00",
    )


EMAIL = Field(name="email", type=scalar("string"), unique=True)
AGE = Field(name="age", type=scalar("int"), index=True)
TAGS = Field(name="tags", type=ast.ListType(scalar("string")), index=True)
SEEN = Field(name="seenAt", type=scalar("datetime"), index=True)
CITY = Field(name="city", type=scalar("string"), index=True)
ADDRESS = Field(name="address", type=None, fields=(CITY,))
USER = concept(EMAIL, AGE, TAGS, SEEN, ADDRESS)


def row(short: str, *, key: str = "v1:ops:user", deleted: bool = False, **payload: Any) -> NewVersion:
    return NewVersion(
        id=f"{key}:{short}",
        concept=key,
        created_by="system:test",
        schema={},
        payload=payload,
        provenance={"kind": "system", "name": "test"},
        deleted=deleted,
    )


async def names(database: Database) -> set[str]:
    rows = await database.fetch("SELECT indexname FROM pg_indexes WHERE indexname LIKE 'memql_field_%%'")
    return {found[0] for found in rows}


async def test_declared_indexes_are_created_once_and_dropped_when_nothing_declares_them(
    database: Database,
) -> None:
    first = await ensure_indexes(database, [USER])
    assert len(first.created) == 5
    assert await names(database) == set(first.created)
    again = await ensure_indexes(database, [USER])
    assert (again.created, again.dropped) == ([], [])
    fewer = await ensure_indexes(database, [concept(EMAIL)])
    assert fewer.created == []
    assert len(fewer.dropped) == 4
    assert await names(database) == {index.name for index in declared_indexes([concept(EMAIL)])}


async def test_a_unique_field_is_unique_among_live_rows_of_its_concept_only(database: Database) -> None:
    other = concept(EMAIL, key="v1:ops:guest")
    await ensure_indexes(database, [USER, other])
    await append(database, row("a", email="x@example.org"))
    await append(database, row("a", key="v1:ops:guest", email="x@example.org"))
    with pytest.raises(MemqlError) as raised:
        await append(database, row("b", email="x@example.org"))
    assert raised.value.code is Code.CONFLICT
    concepts = {USER.key: USER, other.key: other}
    assert violated_field(raised.value, concepts) == ("v1:ops:user", ("email",))
    await append(database, row("a", deleted=True, id="v1:ops:user:a"))
    assert (await append(database, row("b", email="x@example.org"))).created


async def test_stored_duplicates_are_named_when_a_field_becomes_unique(database: Database) -> None:
    await append(database, row("a", email="x@example.org"))
    await append(database, row("b", email="x@example.org"))
    with pytest.raises(MemqlError) as raised:
        await ensure_indexes(database, [USER])
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert raised.value.details["duplicates"] == [{"value": "x@example.org", "ids": ["v1:ops:user:a", "v1:ops:user:b"]}]
    assert await names(database) == set()


@pytest.mark.parametrize(
    ("holder", "declared", "path", "condition"),
    [
        (ADDRESS, CITY, ("address", "city"), "{} = 'Oslo'"),
        (AGE, AGE, ("age",), "{} > 7"),
        (SEEN, SEEN, ("seenAt",), "{} < '2026-01-01T00:00:00Z'"),
        (TAGS, TAGS, ("tags",), "{} @> '\"red\"'"),
    ],
)
async def test_a_filter_in_the_words_of_an_index_uses_it(
    database: Database, holder: Field, declared: Field, path: tuple[str, ...], condition: str
) -> None:
    await ensure_indexes(database, [concept(holder)])
    expression = indexed_expression(declared, path, "n")
    sql = (
        f"EXPLAIN SELECT n.id FROM {latest('n')} WHERE n.concept = {text_literal(USER.key)} AND NOT n.deleted "
        f"AND {condition.format(expression)}"
    )

    async def explain(connection: Any) -> str:
        async with connection.transaction():
            await connection.execute("SET LOCAL enable_seqscan = off")
            await connection.execute("DROP INDEX memory_heads_latest")
            cursor = await connection.execute(sql.encode())
            return "\n".join(line for (line,) in await cursor.fetchall())

    plan = await database.run(explain)
    wanted = declared_indexes([concept(holder)])[0].name
    assert wanted in plan


async def test_concurrent_builds_are_used_on_large_tables(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memql.graph.indexes._FEW_ROWS", 1)
    for number in range(3):
        await append(database, row(str(number), email=f"{number}@example.org"))
    assert len((await ensure_indexes(database, [USER])).created) == 5
    await append(database, row("x", age=1, email="new@example.org"))
    await append(database, row("y", age=1, email="other@example.org"))
    await ensure_indexes(database, [concept(AGE)])
    await append(database, row("x", age=1, email="other@example.org"))
    with pytest.raises(MemqlError, match="declared @unique"):
        await ensure_indexes(database, [USER])
    assert await names(database) == {index.name for index in declared_indexes([concept(AGE)])}
