from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.graph.embedded import EmbeddedServer
from memql.graph.migrator import Migration, applied_head, migrate, packaged, packaged_head, pending
from memql.graph.readiness import CRITICAL_TABLES, check_readiness

pytestmark = pytest.mark.anyio

FIRST = Migration(1, "first", "CREATE TABLE one (n int); INSERT INTO one VALUES (1);")
SECOND = Migration(2, "second", "CREATE TABLE two (n int);")
BROKEN = Migration(2, "second", "CREATE TABLE two (n int); SELECT broken;")


@pytest.fixture
async def empty(postgres: EmbeddedServer) -> AsyncIterator[Database]:
    name = f"empty_{uuid.uuid4().hex[:16]}"
    async with Database.open(postgres.dsn) as admin:
        await admin.execute(f"CREATE DATABASE {name}")
        async with Database.open(postgres.dsn_of(name)) as database:
            yield database
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_migrations_run_in_order_once(empty: Database) -> None:
    assert await pending(empty, [FIRST, SECOND]) == [FIRST, SECOND]
    assert await migrate(empty, [FIRST]) == [FIRST]
    assert await migrate(empty, [FIRST, SECOND]) == [SECOND]
    assert await migrate(empty, [FIRST, SECOND]) == []
    assert await applied_head(empty) == 2
    assert await empty.fetch("SELECT n FROM one") == [(1,)]


async def test_runners_at_the_same_time_apply_each_migration_once(empty: Database) -> None:
    applied: list[Migration] = []

    async def run() -> None:
        applied.extend(await migrate(empty, [FIRST, SECOND]))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(run)
    assert applied == [FIRST, SECOND]
    assert await empty.fetch("SELECT n FROM one") == [(1,)]


async def test_a_failing_migration_is_rolled_back_and_named(empty: Database) -> None:
    with pytest.raises(MemqlError, match="0002_second failed") as raised:
        await migrate(empty, [FIRST, BROKEN])
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert await applied_head(empty) == 1
    assert await migrate(empty, [FIRST, SECOND]) == [SECOND]


async def test_a_migration_that_was_edited_after_it_ran_is_refused(empty: Database) -> None:
    await migrate(empty, [FIRST])
    edited = replace(FIRST, sql=FIRST.sql + " ")
    with pytest.raises(MemqlError, match="applied with other text") as raised:
        await migrate(empty, [edited])
    assert raised.value.details["version"] == 1


async def test_a_database_is_ready_once_it_has_exactly_the_packaged_migrations(empty: Database) -> None:
    assert {ready for _, ready in await check_readiness(empty)} == {False}
    await migrate(empty)
    assert await check_readiness(empty) == [*((name, True) for name in CRITICAL_TABLES), ("schema_version", True)]
    await empty.execute("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'newer', '')")
    assert ("schema_version", False) in await check_readiness(empty)


def test_packaged_migrations_are_numbered_without_gaps() -> None:
    assert [migration.version for migration in packaged()] == list(range(1, packaged_head() + 1))
