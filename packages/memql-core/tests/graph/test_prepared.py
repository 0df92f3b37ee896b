"""Prepared statements: kept per connection, bounded, and prepared again when the session lost them."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.graph.prepared import MAX_STATEMENTS, execute_prepared

pytestmark = pytest.mark.anyio


async def one(connection: AsyncConnection[Any], statement: bytes, *params: bytes | None) -> bytes | None:
    return (await execute_prepared(connection, statement, params)).get_value(0, 0)


async def test_a_statement_runs_with_its_parameters_again_and_again(database: Database) -> None:
    async def work(connection: AsyncConnection[Any]) -> list[bytes | None]:
        return [await one(connection, b"SELECT $1::int + 1", b"%d" % number) for number in range(3)]

    assert await database.run(work) == [b"1", b"2", b"3"]


async def test_a_session_that_lost_its_statements_gets_them_again(database: Database) -> None:
    async def work(connection: AsyncConnection[Any]) -> bytes | None:
        await one(connection, b"SELECT $1::text", b"a")
        await connection.execute("DEALLOCATE ALL")
        return await one(connection, b"SELECT $1::text", b"b")

    assert await database.run(work) == b"b"


async def test_a_rollback_between_two_runs_costs_nothing_but_time(database: Database) -> None:
    async def work(connection: AsyncConnection[Any]) -> bytes | None:
        for _ in range(3):
            await one(connection, b"SELECT $1::text", b"a")
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with connection.transaction():
                    await one(connection, b"SELECT $1::text", b"b")
                    await one(connection, b"SELECT 1 / $1::int", b"0")
        return await one(connection, b"SELECT $1::text", b"c")

    assert await database.run(work) == b"c"


async def test_more_statements_than_are_kept_still_run(database: Database) -> None:
    async def work(connection: AsyncConnection[Any]) -> int:
        for number in range(MAX_STATEMENTS + 20):
            assert await one(connection, b"SELECT %d + $1::int" % number, b"1") == b"%d" % (number + 1)
        return int(await one(connection, b"SELECT count(*) FROM pg_prepared_statements") or 0)

    assert await database.run(work) <= MAX_STATEMENTS


async def test_what_the_server_refuses_is_a_coded_error_and_the_connection_stays_usable(database: Database) -> None:
    with pytest.raises(MemqlError) as caught:
        await database.run(lambda connection: execute_prepared(connection, b"SELECT nothing", ()))
    assert caught.value.code is Code.FAILED_PRECONDITION
    assert await database.fetch_one("SELECT 1") == (1,)
