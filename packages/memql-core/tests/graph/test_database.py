from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import anyio
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from memql.errors import Code, MemqlError
from memql.graph.database import Connection, Database
from memql.graph.failures import constraint_of

pytestmark = pytest.mark.anyio

_SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%%'"


async def backends(database: Database) -> set[int]:
    rows = await database.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'cancelled'")
    return {pid for (pid,) in rows}


async def test_calls_cancelled_at_random_cost_no_connection_and_leave_no_query(dsn: str) -> None:
    chance = random.Random(7)
    delays = [chance.uniform(0.0, 0.03) for _ in range(200)]
    async with (
        Database.open(dsn, application_name="watcher", max_size=1) as watcher,
        Database.open(dsn, application_name="cancelled", min_size=4, max_size=4) as database,
    ):
        before = await backends(watcher)
        assert len(before) == 4
        cancelled = 0

        async def call(delay: float) -> None:
            nonlocal cancelled
            with anyio.move_on_after(delay) as scope:
                await database.fetch("SELECT pg_sleep(%s)", (0.02,))
            cancelled += scope.cancelled_caught

        async with anyio.create_task_group() as group:
            for delay in delays:
                group.start_soon(call, delay)
        assert cancelled > 100
        assert await watcher.fetch_one(_SLEEPING) == (0,)
        assert await backends(watcher) == before
        statistics = database.statistics()
        assert statistics.get("connections_lost", 0) == 0
        assert statistics.get("returns_bad", 0) == 0
        assert statistics["connections_num"] == 4


_NAP = b"SELECT pg_sleep($1::float)"
_NAPPING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep($1%%'"


async def test_lone_statements_cancelled_at_random_cost_no_connection_and_leave_no_query(dsn: str) -> None:
    chance = random.Random(11)
    delays = [chance.uniform(0.0, 0.03) for _ in range(200)]
    async with (
        Database.open(dsn, application_name="watcher", max_size=1) as watcher,
        Database.open(dsn, application_name="cancelled", min_size=4, max_size=4) as database,
    ):
        await database.run_prepared(_NAP, (b"0",))
        before = await backends(watcher)
        cancelled = 0

        async def call(delay: float, native: bool) -> None:
            nonlocal cancelled
            if native:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await database.run_prepared(_NAP, (b"0.02",))
                        return
                cancelled += 1
                return
            with anyio.move_on_after(delay) as scope:
                await database.run_prepared(_NAP, (b"0.02",))
            cancelled += scope.cancelled_caught

        async with anyio.create_task_group() as group:
            for number, delay in enumerate(delays):
                group.start_soon(call, delay, number % 2 == 0)
        for _ in range(20):
            # One at a time, so that each has a connection at hand and takes the short way.
            with anyio.move_on_after(0.005):
                await database.run_prepared(_NAP, (b"30",))
        assert cancelled > 100
        assert await watcher.fetch_one(_NAPPING) == (0,)
        assert await backends(watcher) == before
        statistics = database.statistics()
        assert statistics.get("connections_lost", 0) == 0
        assert statistics.get("returns_bad", 0) == 0
        assert statistics["connections_num"] == 4


@pytest.mark.parametrize("lone", [True, False])
async def test_a_cancellation_that_overtakes_its_statement_is_sent_again(dsn: str, lone: bool) -> None:
    """The server ignores one that comes while it is idle, as when it had no time to read the statement yet."""
    async with (
        Database.open(dsn, application_name="watcher", max_size=1) as watcher,
        Database.open(dsn, application_name="cancelled", min_size=1, max_size=1) as database,
    ):
        await database.run_prepared(_NAP, (b"0",))
        (pid,) = await backends(watcher)

        async def wake() -> None:
            await anyio.sleep(0.4)
            os.kill(pid, signal.SIGCONT)

        async with anyio.create_task_group() as group:
            os.kill(pid, signal.SIGSTOP)
            group.start_soon(wake)
            began = anyio.current_time()
            with anyio.move_on_after(0.1):
                if lone:
                    await database.run_prepared(_NAP, (b"30",))
                else:
                    await database.fetch("SELECT pg_sleep(30)")
        assert anyio.current_time() - began < 4
        assert await watcher.fetch_one(_NAPPING if lone else _SLEEPING) == (0,)
        assert await backends(watcher) == {pid}


async def test_a_lone_statement_that_takes_too_long_is_stopped_on_the_server(database: Database) -> None:
    await database.run_prepared(_NAP, (b"0",))
    with pytest.raises(MemqlError, match=r"longer than 0\.05 s") as raised:
        await database.run_prepared(_NAP, (b"30",), timeout=0.05)
    assert raised.value.code is Code.TIMEOUT
    assert await database.fetch_one(_NAPPING) == (0,)
    assert (await database.run_prepared(b"SELECT 1", ())).get_value(0, 0) == b"1"


async def test_a_lone_statement_on_a_session_that_ends_is_unavailable_and_the_next_one_works(
    database: Database,
) -> None:
    pid = (await database.run_prepared(b"SELECT pg_backend_pid()", ())).get_value(0, 0)
    with pytest.raises(MemqlError) as raised:
        await database.run_prepared(b"SELECT pg_terminate_backend(pg_backend_pid())", ())
    assert (raised.value.code, raised.value.retryable) == (Code.UNAVAILABLE, True)
    assert (await database.run_prepared(b"SELECT pg_backend_pid()", ())).get_value(0, 0) != pid


async def test_a_session_terminated_while_it_was_aside_is_not_handed_out(dsn: str) -> None:
    async with Database.open(dsn) as database, Database.open(dsn) as other:
        pid = (await database.run_prepared(b"SELECT pg_backend_pid()", ())).get_value(0, 0)
        assert pid is not None
        assert await other.fetch_one("SELECT pg_terminate_backend(%s, 5000)", (int(pid),)) == (True,)
        assert (await database.run_prepared(b"SELECT pg_backend_pid()", ())).get_value(0, 0) not in (None, pid)


async def test_what_a_lone_statement_is_refused_for_has_a_code(database: Database) -> None:
    for _ in range(2):
        with pytest.raises(MemqlError) as raised:
            await database.run_prepared(b"SELECT 1 / $1::int", (b"0",))
        assert raised.value.code is Code.INVALID_ARGUMENT
        assert isinstance(raised.value.__cause__, psycopg.Error)
    assert (await database.run_prepared(b"SELECT 1 / $1::int", (b"1",))).get_value(0, 0) == b"1"


async def test_a_large_statement_and_a_large_answer_pass(database: Database) -> None:
    text = b"x" * (8 << 20)
    for _ in range(2):
        assert (await database.run_prepared(b"SELECT $1::text", (text,))).get_value(0, 0) == text


async def test_calls_that_follow_each_other_keep_to_one_session(dsn: str) -> None:
    async with Database.open(dsn, min_size=4, max_size=4) as database:
        pids = {(await database.run_prepared(b"SELECT pg_backend_pid()", ())).get_value(0, 0) for _ in range(8)}
        pids |= {str(row[0]).encode() for row in [await database.fetch_one("SELECT pg_backend_pid()")] if row}
        assert len(pids) == 1


async def test_who_queues_for_a_connection_gets_it_before_the_next_call(dsn: str) -> None:
    async with Database.open(dsn, max_size=1) as database:
        await database.run_prepared(b"SELECT 1", ())
        order: list[str] = []

        async def call(name: str) -> None:
            await database.run_prepared(_NAP, (b"0.05",))
            order.append(name)

        async with anyio.create_task_group() as group:
            for name in ("first", "second", "third"):
                group.start_soon(call, name)
        assert order == ["first", "second", "third"]


async def test_a_call_that_takes_too_long_is_stopped_on_the_server(database: Database) -> None:
    with pytest.raises(MemqlError, match=r"longer than 0\.05 s") as raised:
        await database.execute("SELECT pg_sleep(30)", timeout=0.05)
    assert raised.value.code is Code.TIMEOUT
    assert await database.fetch_one(_SLEEPING) == (0,)


async def test_a_transaction_is_rolled_back_when_its_work_fails_or_is_cancelled(database: Database) -> None:
    await database.execute("CREATE TABLE t (n int)")

    async def fail(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES (1)")
        raise LookupError

    async def hang(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES (2)")
        await connection.execute("SELECT pg_sleep(30)")

    with pytest.raises(LookupError):
        await database.transaction(fail)
    with anyio.move_on_after(0.1):
        await database.transaction(hang)
    assert await database.fetch_one("SELECT count(*) FROM t") == (0,)


async def test_work_that_forgets_an_open_transaction_does_not_leak_it(dsn: str) -> None:
    async with Database.open(dsn, max_size=1) as database:
        await database.execute("CREATE TABLE t (n int)")

        async def forget(connection: Connection) -> None:
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO t VALUES (1)")

        await database.run(forget)
        assert await database.fetch_one("SELECT count(*) FROM t") == (0,)


@pytest.mark.parametrize(
    ("statement", "code", "retryable"),
    [
        ("SELECT 1/0", Code.INVALID_ARGUMENT, False),
        ("SELECT 'x'::int", Code.INVALID_ARGUMENT, False),
        ("SELECT * FROM nowhere", Code.FAILED_PRECONDITION, False),
        ("DO $$ BEGIN RAISE serialization_failure; END $$", Code.CONFLICT, True),
        ("DO $$ BEGIN RAISE deadlock_detected; END $$", Code.CONFLICT, True),
        ("DO $$ BEGIN RAISE admin_shutdown; END $$", Code.UNAVAILABLE, True),
        ("DO $$ BEGIN RAISE disk_full; END $$", Code.RESOURCE_EXHAUSTED, True),
        ("DO $$ BEGIN RAISE assert_failure; END $$", Code.INTERNAL, False),
        ("BEGIN; SET LOCAL statement_timeout = 10; SELECT pg_sleep(9)", Code.TIMEOUT, False),
    ],
)
async def test_database_failures_have_a_code_and_keep_their_cause(
    database: Database, statement: str, code: Code, retryable: bool
) -> None:
    with pytest.raises(MemqlError) as raised:
        await database.execute(statement)
    assert (raised.value.code, raised.value.retryable) == (code, retryable)
    assert isinstance(raised.value.__cause__, psycopg.Error)
    assert await database.fetch_one("SELECT 1") == (1,)


async def test_a_unique_violation_is_a_conflict_that_names_its_constraint(database: Database) -> None:
    await database.execute("CREATE TABLE t (n int CONSTRAINT only_one UNIQUE)")
    await database.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(MemqlError) as raised:
        await database.execute("INSERT INTO t VALUES (1)")
    assert (raised.value.code, raised.value.retryable) == (Code.CONFLICT, False)
    assert constraint_of(raised.value) == "only_one"


async def test_a_terminated_session_is_unavailable_and_the_next_call_works(database: Database) -> None:
    with pytest.raises(MemqlError) as raised:
        await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert (raised.value.code, raised.value.retryable) == (Code.UNAVAILABLE, True)
    assert await database.fetch_one("SELECT 1") == (1,)


async def test_sessions_terminated_while_idle_are_never_handed_out(dsn: str) -> None:
    async with Database.open(dsn, min_size=3, max_size=3) as database, Database.open(dsn) as other:
        killed = await other.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        assert len(killed) == 3
        assert await database.fetch_one("SELECT 1") == (1,)


async def test_waiting_for_a_connection_is_bounded(dsn: str) -> None:
    held, release = anyio.Event(), anyio.Event()

    async def hold(_connection: Connection) -> None:
        held.set()
        await release.wait()

    async with Database.open(dsn, max_size=1, acquire_timeout=0.1) as database, anyio.create_task_group() as group:
        group.start_soon(database.run, hold)
        await held.wait()
        with pytest.raises(MemqlError, match="became free in time") as raised:
            await database.fetch("SELECT 1")
        assert raised.value.code is Code.UNAVAILABLE
        release.set()


async def test_a_refused_connection_and_a_malformed_string_are_told_apart() -> None:
    with pytest.raises(MemqlError) as refused:
        async with Database.open("postgresql://x@127.0.0.1:1/x", connect_timeout=2):
            pass
    assert refused.value.code is Code.UNAVAILABLE
    with pytest.raises(MemqlError) as malformed:
        async with Database.open("postgresql://x:geheim@host/x?nonsense=1"):
            pass
    assert malformed.value.code is Code.CONFIG_INVALID
    assert "geheim" not in str(malformed.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody"}, 'role "nobody" does not exist'),
    ],
)
async def test_a_connection_that_the_server_refuses_for_good_is_told_at_once(
    dsn: str, wrong: dict[str, str], said: str
) -> None:
    with pytest.raises(MemqlError, match=said) as refused:
        async with Database.open(make_conninfo(dsn, **wrong), patience=60):
            pass
    assert refused.value.code is Code.CONFIG_INVALID


async def test_opening_waits_for_a_database_that_is_away(dsn: str, tmp_path: Path) -> None:
    """One that comes while it is waited for: its socket appears."""
    server = conninfo_to_dict(dsn)
    socket = f".s.PGSQL.{server.get('port', 5432)}"
    away = make_conninfo(dsn, host=str(tmp_path))
    async with anyio.create_task_group() as group:

        async def come() -> None:
            await anyio.sleep(0.5)
            (tmp_path / socket).symlink_to(Path(str(server["host"])) / socket)

        group.start_soon(come)
        async with Database.open(away, patience=30) as database:
            assert await database.fetch_one("SELECT 1") == (1,)


async def test_sessions_speak_utc(database: Database) -> None:
    assert await database.fetch_one("SHOW timezone") == ("UTC",)


async def test_a_direct_session_holds_locks_until_its_block_ends(database: Database) -> None:
    async with database.direct() as session:
        assert await session.fetch_one("SELECT pg_try_advisory_lock(1)") == (True,)
        assert await database.fetch_one("SELECT pg_try_advisory_lock(1)") == (False,)
        inside = session.closed
    assert (inside, session.closed) == (False, True)
    await database.execute("SELECT pg_advisory_lock(1)", timeout=5)


async def test_a_direct_session_hears_notifications_and_survives_a_cancelled_wait(database: Database) -> None:
    async with database.direct() as session:
        await session.execute("LISTEN news")
        with anyio.move_on_after(0.05):
            await session.notifications(30.0)
        assert await session.notifications(0.01) == []
        await database.execute("SELECT pg_notify('news', 'hello')")
        assert [notify.payload for notify in await session.notifications(5.0)] == ["hello"]
        assert await session.fetch_one("SELECT 1") == (1,)
