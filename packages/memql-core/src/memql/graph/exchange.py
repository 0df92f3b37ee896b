"""One statement under way on a connection, moved on by the event loop itself.

psycopg says what to do next as a generator that yields what it waits for. Here the socket's callback advances it and
the caller waits for a future: no task, and two turns of the loop less than a task with a wait of its own. What ends
the waiting does not end the exchange, so that a cancelled caller can stop the statement on the server and wait again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

__all__ = ["Exchange"]

_READ, _WRITE = int(Wait.R), int(Wait.W)


class Exchange:
    """See the module. One task at a time may wait for it.

    :param steps: a generator of psycopg that sends a statement and fetches its result.
    """

    __slots__ = ("_failure", "_loop", "_result", "_socket", "_steps", "_waiter", "_watched", "over")

    def __init__(self, connection: AsyncConnection[Any], steps: PQGen[PGresult]) -> None:
        self.over = False
        """Whether the server's last word is in, or the connection lost."""
        self._loop = asyncio.get_running_loop()
        self._socket = connection.pgconn.socket
        self._steps = steps
        self._watched = 0
        self._waiter: asyncio.Future[None] | None = None
        self._result: PGresult | None = None
        self._failure: Exception | None = None
        self._advance(None)

    async def wait(self, timeout: float) -> None:
        """Return when it is over, or after ``timeout`` seconds."""
        if self.over:
            return
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(timeout, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def result(self) -> PGresult:
        """What the server answered, once it is over.

        :raises psycopg.Error: what it refused, or how the connection was lost.
        """
        if self._failure is not None:
            raise self._failure
        assert self._result is not None
        return self._result

    def abandon(self) -> None:
        """Stop listening; the connection can only be closed then."""
        self._steps.close()
        self._end(None, psycopg.OperationalError("the exchange was abandoned"))

    def _readable(self) -> None:
        self._advance(Ready.R)

    def _writable(self) -> None:
        self._advance(Ready.W)

    def _advance(self, ready: Any) -> None:
        try:
            self._watch(self._steps.send(ready))
        except StopIteration as end:
            self._end(end.value, None)
        except Exception as failure:  # handed to whoever waits
            self._end(None, failure)

    def _end(self, result: PGresult | None, failure: Exception | None) -> None:
        self._watch(0)
        self._result, self._failure, self.over = result, failure, True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _watch(self, wanted: int) -> None:
        changed = wanted ^ self._watched
        if not changed:
            return
        self._watched = wanted
        if changed & _READ:
            if wanted & _READ:
                self._loop.add_reader(self._socket, self._readable)
            else:
                self._loop.remove_reader(self._socket)
        if changed & _WRITE:
            if wanted & _WRITE:
                self._loop.add_writer(self._socket, self._writable)
            else:
                self._loop.remove_writer(self._socket)
