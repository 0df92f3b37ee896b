"""The database: a connection pool and the one wrapper through which every call goes.

psycopg survives being cancelled once: it cancels the query on the server and waits for the answer. Cancel
scopes deliver a cancellation again at every await, which would interrupt that wait and cost the connection.
Therefore each call runs in a native task of its own, which is cancelled once and then awaited under a shield.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeAlias, TypeVar, cast

import anyio
import msgspec
import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from memql.errors import Code, MemqlError
from memql.graph.exchange import Exchange
from memql.graph.failures import translate
from memql.graph.lending import Lending, Loan
from memql.graph.patience import ride_out
from memql.graph.prepared import execute_prepared, prepared_steps

__all__ = ["Connection", "Database", "DirectConnection", "Params", "Statement", "Work"]

T = TypeVar("T")
Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]
Work: TypeAlias = Callable[[Connection], Awaitable[T]]
Params: TypeAlias = Sequence[Any] | Mapping[str, Any] | None
Statement: TypeAlias = str | bytes | sql.SQL | sql.Composed

_FAILURES = (psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests)
_CANCEL_GRACE = 15.0
"""Seconds a cancelled call may take to stop its query; psycopg itself gives up after two waits of five."""
_CANCEL_AGAIN = 0.5
"""Seconds between cancellations of one query: the first may reach the server before the query, and is ignored then."""
_RECONNECT_INTERVAL = 0.5
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_IDLE = TransactionStatus.IDLE


class Database:
    """A pool of connections to one PostgreSQL database, in autocommit mode with prepared statements and UTC.

    Open it with :meth:`open`. Every method raises :class:`MemqlError`; psycopg errors are its cause.
    """

    def __init__(
        self, pool: AsyncConnectionPool[Connection], direct_dsn: str, call_timeout: float, patience: float = 0.0
    ) -> None:
        self.patience = patience
        """Seconds that :meth:`ride_out` waits for a database that is away."""
        self._pool = pool
        self._lending = Lending()
        self._direct_dsn = direct_dsn
        self._call_timeout = call_timeout

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        *,
        direct_dsn: str | None = None,
        min_size: int = 1,
        max_size: int = 10,
        application_name: str = "memql",
        connect_timeout: float = 10.0,
        acquire_timeout: float = 5.0,
        call_timeout: float = 60.0,
        patience: float = 0.0,
    ) -> AsyncIterator[Database]:
        """Connect and yield the database; close the pool at the end.

        :param dsn: a libpq connection string or URL; may lead through a connection pooler.
        :param direct_dsn: one that does not, for session locks and LISTEN; ``dsn`` when not given.
        :param acquire_timeout: seconds to wait for a free connection.
        :param call_timeout: seconds any call may take unless it says otherwise.
        :param patience: seconds to wait for a database that is away, now and in :meth:`ride_out`.
        :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached within ``connect_timeout`` and
            ``patience``, ``CONFIG_INVALID`` when the connection string is malformed or the server refuses what it says.
        """
        conninfo = _conninfo(dsn, application_name, connect_timeout)
        direct = _conninfo(direct_dsn or dsn, application_name, connect_timeout)

        async def connect() -> AsyncConnectionPool[Connection]:
            pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
                conninfo,
                open=False,
                min_size=min_size,
                max_size=max_size,
                kwargs={"autocommit": True, "prepare_threshold": 1},
                configure=_configure,
                timeout=acquire_timeout,
                reconnect_timeout=_RECONNECT_INTERVAL,
                reconnect_failed=_keep_trying,
                name=application_name,
            )
            await _fill(pool, conninfo, connect_timeout)
            return pool

        pool = await ride_out("the start", connect, patience)
        database = cls(pool, direct, call_timeout, patience)
        try:
            yield database
        finally:
            with anyio.CancelScope(shield=True):
                await database._return(database._lending.drain())
                await pool.close()

    async def ride_out(self, what: str, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step of a start that may be done again; wait for the database while it is away.

        :param what: the step, as the log names it.
        :raises MemqlError: as :func:`memql.graph.patience.ride_out`.
        """
        return await ride_out(what, step, self.patience)

    async def run(self, work: Work[T], *, timeout: float | None = None) -> T:
        """Run ``work`` with a pooled connection in autocommit mode and return its result.

        A cancelled or timed-out call stops its query on the server and gives the connection back in working
        order.

        :param timeout: seconds, instead of the database's ``call_timeout``.
        :raises MemqlError: as :func:`memql.graph.failures.translate` words it; ``TIMEOUT`` when time runs
            out.
        """
        call = _Call()
        return await _guarded(call, self._pooled(call, work), self._call_timeout if timeout is None else timeout)

    async def run_prepared(
        self, statement: bytes, params: Sequence[bytes | None], *, timeout: float | None = None
    ) -> PGresult:
        """Run one prepared statement, as :meth:`run` with :func:`~memql.graph.prepared.execute_prepared` does.

        A statement alone needs no task to be cancelled in: when a connection is at hand, this costs little more than
        the statement.
        """
        loan = self._lending.take_quiet()
        if loan is None:
            return await self.run(lambda connection: execute_prepared(connection, statement, params), timeout=timeout)
        limit = self._call_timeout if timeout is None else timeout
        exchange = Exchange(loan.connection, prepared_steps(loan.connection, statement, params))
        expired = True
        try:
            await exchange.wait(limit)
            expired = not exchange.over
        finally:
            if not exchange.over:
                await _guarded(_Call(cancellable=False), self._call_off(exchange, loan), _CANCEL_GRACE)
            elif overdue := self._after_use(loan):
                await _guarded(_Call(cancellable=False), self._return(overdue), _CANCEL_GRACE)
        try:
            return exchange.result()
        except _FAILURES as error:
            raise (_too_long(limit) if expired else translate(error)) from error

    async def transaction(self, work: Work[T], *, timeout: float | None = None) -> T:
        """Run ``work`` inside one transaction: committed when it returns, rolled back when it raises."""

        async def body(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(body, timeout=timeout)

    async def fetch(
        self, statement: Statement, params: Params = None, *, timeout: float | None = None
    ) -> list[tuple[Any, ...]]:
        """All rows of one statement."""
        return await self.run(lambda connection: _fetch(connection, statement, params), timeout=timeout)

    async def fetch_one(
        self, statement: Statement, params: Params = None, *, timeout: float | None = None
    ) -> tuple[Any, ...] | None:
        """The first row of one statement, or None."""
        return await self.run(lambda connection: _fetch_one(connection, statement, params), timeout=timeout)

    async def execute(self, statement: Statement, params: Params = None, *, timeout: float | None = None) -> int:
        """Run one statement; the number of rows it touched."""
        return await self.run(lambda connection: _execute(connection, statement, params), timeout=timeout)

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[DirectConnection]:
        """A dedicated connection outside the pool and past any pooler, for session locks and LISTEN.

        Keepalives find a dead peer in seconds. The session, with its locks, ends with the block.
        """
        opened: list[Connection] = []

        async def connect() -> Connection:
            opened.append(await _connect(self._direct_dsn))
            return opened[0]

        try:
            connection = await _guarded(_Call(), connect(), self._call_timeout)
            yield DirectConnection(connection, self._call_timeout)
        finally:
            # Also when the caller was cancelled just as the connection came about.
            with anyio.CancelScope(shield=True):
                for connection in opened:
                    await connection.close()

    def statistics(self) -> dict[str, int]:
        """Counters of the pool, by psycopg's names (``pool_size``, ``requests_waiting``, ``connections_lost``...)."""
        return self._pool.get_stats()

    async def _pooled(self, call: _Call, work: Work[T]) -> T:
        loan = await self._acquire()
        call.connection = loan.connection
        try:
            return await work(loan.connection)
        finally:
            call.cancellable = False
            if loan.connection.pgconn.transaction_status != _IDLE:
                await _settle(loan.connection)
            await self._return(self._after_use(loan))

    async def _acquire(self) -> Loan:
        """A pooled connection whose server is there, as far as its socket tells.

        An idle connection has nothing to read unless the server said goodbye (or, rarely, sent a notice): only then
        it is asked. The pool's own check would ask every time, and pause for seconds after the second dead one.
        """
        while True:
            loan = self._lending.take() or await self._borrow()
            alive = False
            try:
                alive = not loan.has_unread() or await _answers(loan.connection)
                if alive:
                    return loan
                await loan.connection.close()
            finally:
                if not alive:
                    await self._return([loan])

    async def _borrow(self) -> Loan:
        self._lending.wanted += 1
        try:
            return self._lending.begin(await self._pool.getconn())
        finally:
            self._lending.wanted -= 1

    def _after_use(self, loan: Loan) -> list[Loan]:
        """Keep a connection for the next call; those that are to go back to the pool, a broken one among them."""
        return self._lending.keep(loan) if loan.connection.pgconn.transaction_status == _IDLE else [loan]

    async def _return(self, loans: Sequence[Loan]) -> None:
        for loan in loans:
            await self._pool.putconn(loan.connection)

    async def _call_off(self, exchange: Exchange, loan: Loan) -> None:
        """Stop a statement on the server and give its connection back; one that does not stop is closed."""
        with anyio.move_on_after(_CANCEL_GRACE * 2 / 3):
            while not exchange.over and await _cancel(loan.connection):
                await exchange.wait(_CANCEL_AGAIN)
        if not exchange.over:
            exchange.abandon()
            await loan.connection.close()
        await self._return([loan])


class DirectConnection:
    """One dedicated session; calls go through the same wrapper as pooled ones, one at a time."""

    def __init__(self, connection: Connection, call_timeout: float) -> None:
        self._connection = connection
        self._call_timeout = call_timeout

    @property
    def closed(self) -> bool:
        """Whether the session has ended, as far as this side knows."""
        return self._connection.closed

    async def run(self, work: Work[T], *, timeout: float | None = None) -> T:
        """Run ``work`` with the connection; see :meth:`Database.run`."""

        async def body(call: _Call) -> T:
            call.connection = self._connection
            try:
                return await work(self._connection)
            finally:
                call.cancellable = False
                if self._connection.pgconn.transaction_status != _IDLE:
                    await _settle(self._connection)

        call = _Call()
        return await _guarded(call, body(call), self._call_timeout if timeout is None else timeout)

    async def fetch(self, statement: Statement, params: Params = None) -> list[tuple[Any, ...]]:
        """All rows of one statement."""
        return await self.run(lambda connection: _fetch(connection, statement, params))

    async def fetch_one(self, statement: Statement, params: Params = None) -> tuple[Any, ...] | None:
        """The first row of one statement, or None."""
        return await self.run(lambda connection: _fetch_one(connection, statement, params))

    async def execute(self, statement: Statement, params: Params = None) -> int:
        """Run one statement; the number of rows it touched."""
        return await self.run(lambda connection: _execute(connection, statement, params))

    async def notifications(self, timeout: float) -> list[psycopg.Notify]:
        """What arrived on the channels listened to: returns on the first batch, or empty after ``timeout`` seconds."""

        async def work(connection: Connection) -> list[psycopg.Notify]:
            return [notify async for notify in connection.notifies(timeout=timeout, stop_after=1)]

        return await self.run(work, timeout=timeout + self._call_timeout)


class _Call:
    """The state a running call shares with whoever may cancel it."""

    __slots__ = ("cancellable", "connection")

    def __init__(self, *, cancellable: bool = True) -> None:
        self.cancellable = cancellable
        self.connection: Connection | None = None


async def _guarded(call: _Call, body: Coroutine[Any, Any, T], timeout: float) -> T:
    # The one bare task of the code base; the module docstring says why.
    task = asyncio.create_task(body)
    try:
        await _end_of(task, timeout)
    except asyncio.CancelledError:
        await _stop(call, task)
        raise
    if not task.done():
        await _stop(call, task)
        if task.cancelled() or not task.done() or task.exception() is not None:
            raise _too_long(timeout)
    try:
        return task.result()
    except _FAILURES as error:
        raise translate(error) from error


async def _end_of(task: asyncio.Task[Any], timeout: float) -> None:
    """Return when a task ends or ``timeout`` seconds pass: ``asyncio.wait`` for one task, at half its cost."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def end(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_later(timeout, end)
    task.add_done_callback(end)
    try:
        await over
    finally:
        timer.cancel()
        task.remove_done_callback(end)


async def _stop(call: _Call, task: asyncio.Task[Any]) -> None:
    """Cancel once, and wait until the query has stopped on the server and the connection is back."""
    if call.cancellable:
        task.cancel()
    with anyio.CancelScope(shield=True), anyio.move_on_after(_CANCEL_GRACE):
        await _end_of(task, _CANCEL_AGAIN)
        while not task.done():
            if call.cancellable and call.connection is not None:
                await _cancel(call.connection)
            await _end_of(task, _CANCEL_AGAIN)
    if task.done() and not task.cancelled():
        task.exception()  # retrieved: the caller learns of the cancellation, not of what it interrupted


async def _cancel(connection: Connection) -> bool:
    """Cancel what runs on a connection; False when the server cannot be told."""
    try:
        await connection.cancel_safe(timeout=_CANCEL_GRACE / 3)
    except psycopg.Error:
        return False
    return True


def _too_long(timeout: float) -> MemqlError:
    return MemqlError(Code.TIMEOUT, f"the database call took longer than {timeout:g} s and was stopped")


async def _settle(connection: Connection) -> None:
    """Leave no transaction open; a connection that cannot be rolled back is closed, and the pool replaces it."""
    try:
        await connection.rollback()
    except psycopg.Error:
        await connection.close()


async def _fetch(connection: Connection, statement: Statement, params: Params) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(cast("LiteralString", statement), params)
    return await cursor.fetchall()


async def _fetch_one(connection: Connection, statement: Statement, params: Params) -> tuple[Any, ...] | None:
    cursor = await connection.execute(cast("LiteralString", statement), params)
    return await cursor.fetchone()


async def _execute(connection: Connection, statement: Statement, params: Params) -> int:
    cursor = await connection.execute(cast("LiteralString", statement), params)
    return cursor.rowcount


def _conninfo(dsn: str, application_name: str, connect_timeout: float) -> str:
    try:
        return make_conninfo(
            dsn,
            application_name=application_name,
            connect_timeout=max(2, round(connect_timeout)),
            **_KEEPALIVE,
        )
    except psycopg.ProgrammingError as error:
        # The text of a malformed connection string may hold a password: it is not repeated.
        message = "the database connection string is malformed; expected postgresql://user@host:port/name"
        raise MemqlError(Code.CONFIG_INVALID, message) from error


async def _connect(conninfo: str) -> Connection:
    connection = await AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=1)
    try:
        await _configure(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _fill(pool: AsyncConnectionPool[Connection], conninfo: str, timeout: float) -> None:
    """Open a pool that is ready for use; one that does not become so is closed."""
    try:
        await _guarded(_Call(), _probe(conninfo), timeout + 1.0)
        await _guarded(_Call(), pool.open(wait=True, timeout=timeout), timeout + 1.0)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await pool.close()
        raise


async def _probe(conninfo: str) -> None:
    """Connect once, so that a wrong address or password is told at once and in the server's words."""
    connection = await AsyncConnection.connect(conninfo, autocommit=True)
    await connection.close()


async def _configure(connection: Connection) -> None:
    connection.prepared_max = 1000
    set_json_loads(_decode_json, connection)
    await connection.execute("SET TIME ZONE 'UTC'")


def _decode_json(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)  # numbers beyond a double, which jsonb can hold


async def _answers(connection: Connection) -> bool:
    try:
        await connection.execute("")
    except psycopg.Error:
        return False
    return True


async def _keep_trying(pool: AsyncConnectionPool[Connection]) -> None:
    """After a failed reconnect, try again at a steady pace while somebody waits; the pool's own pace doubles."""
    if pool.get_stats().get("requests_waiting", 0):
        await pool.check()
