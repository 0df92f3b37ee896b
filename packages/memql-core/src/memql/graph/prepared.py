"""Statements prepared once per connection and run at the cost of the protocol: the hot path of reads and writes.

A cursor converts parameters, chooses formats and keeps a result for later; a plan has its SQL with ``$n`` and its
parameters as text already, and wants the bytes that come back. Leaving the cursor out saves a fifth of a point query.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, generators
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

__all__ = ["MAX_STATEMENTS", "execute_prepared", "prepared_steps"]

MAX_STATEMENTS: Final = 256
"""Statements kept per connection; the least recently used one makes room."""

_IDLE = TransactionStatus.IDLE
_FINE = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


class _Statements:
    """The statements of one connection, by text."""

    __slots__ = ("_counter", "names")

    def __init__(self) -> None:
        self.names: OrderedDict[bytes, bytes] = OrderedDict()
        self._counter = 0

    def fresh_name(self) -> bytes:
        self._counter += 1
        return b"memql_%d" % self._counter


_known: WeakKeyDictionary[AsyncConnection[Any], _Statements] = WeakKeyDictionary()


async def execute_prepared(
    connection: AsyncConnection[Any], statement: bytes, params: Sequence[bytes | None]
) -> PGresult:
    """Run one statement with text parameters; outside a transaction it is prepared on this connection the first time.

    The caller owns the connection: nothing else may use it meanwhile. A cancelled call cancels the query on the server,
    as every call of psycopg does.

    :param statement: SQL with ``$1``, ``$2``...; casts say what the parameters are.
    :raises psycopg.Error: what the server refuses.
    """
    return await connection.wait(prepared_steps(connection, statement, params))


def prepared_steps(
    connection: AsyncConnection[Any], statement: bytes, params: Sequence[bytes | None]
) -> PQGen[PGresult]:
    """The same as a generator of psycopg, for those who wait in another way."""
    pgconn = connection.pgconn
    if pgconn.transaction_status != _IDLE:
        # A statement that is gone could not be prepared again here: its error would have failed the transaction.
        pgconn.send_query_params(statement, params)
        return (yield from _result(connection))
    statements = _known.get(connection)
    if statements is None:
        statements = _known[connection] = _Statements()
    try:
        return (yield from _run(connection, statements, statement, params))
    except psycopg.errors.InvalidSqlStatementName:
        # psycopg discards all statements of a session after a rollback, and so may a pooler between transactions.
        statements.names.clear()
        return (yield from _run(connection, statements, statement, params))


def _run(
    connection: AsyncConnection[Any], statements: _Statements, statement: bytes, params: Sequence[bytes | None]
) -> PQGen[PGresult]:
    names = statements.names
    name = names.get(statement)
    pgconn = connection.pgconn
    if name is None:
        if len(names) >= MAX_STATEMENTS:
            _, oldest = names.popitem(last=False)
            pgconn.send_query(b"DEALLOCATE " + oldest)
            yield from _result(connection)
        name = statements.fresh_name()
        pgconn.send_prepare(name, statement)
        yield from _result(connection)
        names[statement] = name
    else:
        names.move_to_end(statement)
    pgconn.send_query_prepared(name, params)
    return (yield from _result(connection))


def _result(connection: AsyncConnection[Any]) -> PQGen[PGresult]:
    results = yield from generators.execute(connection.pgconn)
    result: PGresult = results[-1]
    if result.status not in _FINE:
        raise psycopg.errors.error_from_result(result, encoding="utf-8")
    return result
