"""Connections kept aside between calls."""

from __future__ import annotations

import psycopg
import pytest

from memql.graph.lending import Lending

pytestmark = pytest.mark.anyio


async def test_the_connection_used_last_is_the_next_one_and_the_pool_gets_them_back_in_time(dsn: str) -> None:
    now = 0.0
    lending = Lending(clock=lambda: now)
    async with await psycopg.AsyncConnection.connect(dsn) as a, await psycopg.AsyncConnection.connect(dsn) as b:
        one, two = lending.begin(a), lending.begin(b)
        assert (lending.keep(one), lending.keep(two)) == ([], [])
        assert lending.take() is two
        assert lending.take() is one
        assert lending.take() is None
        lending.keep(two)
        now = 11.0
        assert lending.keep(one) == [two, one]
        assert lending.take() is None


async def test_a_connection_is_not_kept_while_somebody_queues(dsn: str) -> None:
    lending = Lending()
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        loan = lending.begin(connection)
        lending.wanted = 1
        assert lending.keep(loan) == [loan]
        assert lending.take_quiet() is None


async def test_a_connection_with_something_to_read_is_looked_at_first(dsn: str) -> None:
    lending = Lending()
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as other,
    ):
        loan = lending.begin(connection)
        lending.keep(loan)
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
        assert lending.take_quiet() is None
        assert lending.take() is loan
        assert loan.has_unread()
