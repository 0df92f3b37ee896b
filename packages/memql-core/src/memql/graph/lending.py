"""Connections between two calls that follow each other, handed on without the ceremony of the pool.

The pool stays their owner. A connection that was just used is kept aside for the next call, the latest first, so that
a quiet system talks to one server session that has everything at hand; taking and keeping never wait. The pool gets
them back when somebody queues there, and every few seconds anyway, because it is the pool that retires connections.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

__all__ = ["Lending", "Loan"]

_TENURE = 10.0
"""Seconds after which connections go back to the pool."""


class Loan:
    """One connection of the pool, and since when it is out."""

    __slots__ = ("_poll", "connection", "since")

    def __init__(self, connection: AsyncConnection[Any], since: float) -> None:
        self.connection = connection
        self.since = since
        self._poll = select.poll()
        self._poll.register(connection.pgconn.socket, select.POLLIN)

    def has_unread(self) -> bool:
        """Whether something arrived while the connection was idle; no round trip."""
        return bool(self._poll.poll(0))


class Lending:
    """See the module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.wanted = 0
        """How many callers queue for a connection of the pool."""
        self._clock = clock
        self._aside: list[Loan] = []

    def begin(self, connection: AsyncConnection[Any]) -> Loan:
        """A connection came out of the pool."""
        return Loan(connection, self._clock())

    def take(self) -> Loan | None:
        """The connection used last, if one is aside."""
        return self._aside.pop() if self._aside else None

    def take_quiet(self) -> Loan | None:
        """The same, unless something arrived on it: that has to be looked at first."""
        return None if not self._aside or self._aside[-1].has_unread() else self._aside.pop()

    def keep(self, loan: Loan) -> list[Loan]:
        """Put a connection aside after its use; those that the pool is to have back now."""
        if self.wanted:
            return [loan]
        self._aside.append(loan)
        return self.drain() if self._clock() - loan.since > _TENURE else []

    def drain(self) -> list[Loan]:
        """All that are aside, for the pool to have back."""
        loans, self._aside = self._aside, []
        return loans
