"""The cron leader: of all processes, the one whose session holds the lock (spec "Cron leader").

The lock belongs to a session on a dedicated connection, never through a transaction pooler: when the process
dies, the server ends the session and frees the lock. Followers try it, they do not wait in it: a session that
waits in ``pg_advisory_lock`` holds a snapshot and stops vacuum. A process that is stopped, not dead, keeps
its session and its lock; its beat ends, and a follower ends the session for it. What it still tries
afterwards fails on the session and, if it had found another, on the epoch.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import anyio
import structlog

from memql.automations.metrics import CRON_LEADER
from memql.errors import Code, MemqlError
from memql.graph.database import Database, DirectConnection, Params

__all__ = ["CRON_LOCK", "Leadership", "leadership"]

_log = structlog.get_logger("memql.automations")

CRON_LOCK: Final = 7756010113207010561
"""The advisory lock's key; the same for every release."""

_CALL_TIMEOUT: Final = 5.0
_UNLOCK_TIMEOUT: Final = 2.0
_BEAT_EVERY: Final = 2.0
_BEAT_LOST: Final = 8.0

# A 64-bit key appears in pg_locks as two halves.
_HOLDERS = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    f"AND classid = {CRON_LOCK >> 32} AND objid = {CRON_LOCK & 0xFFFFFFFF}"
)

_SUCCEED = """
INSERT INTO cron_leadership AS held (epoch, leader) VALUES (1, %s)
ON CONFLICT (only_row) DO UPDATE
SET epoch = held.epoch + 1, leader = EXCLUDED.leader, since = clock_timestamp(), beat = clock_timestamp()
RETURNING epoch
"""

_CLOCK = f"SELECT clock_timestamp(), epoch = %s AND pg_backend_pid() IN ({_HOLDERS}) FROM cron_leadership"

_BEAT = "UPDATE cron_leadership SET beat = clock_timestamp() WHERE epoch = %s RETURNING epoch"

_DEPOSE = f"""
SELECT pg_terminate_backend(holder.pid) FROM ({_HOLDERS}) AS holder, cron_leadership AS held
WHERE held.beat < clock_timestamp() - %s
"""


class Leadership:
    """One reign: the session that holds the lock, and an epoch that no earlier leader had."""

    def __init__(self, session: DirectConnection, epoch: int) -> None:
        self._session = session
        self.epoch = epoch
        self._next_beat = 0.0

    async def clock(self) -> datetime:
        """The database's time, once it is sure that the session still holds the lock and nobody has led since.

        :raises MemqlError: ``FAILED_PRECONDITION`` when it does not, ``UNAVAILABLE`` or ``TIMEOUT`` when the
            session does not answer: this process is no leader any more.
        """
        ((now, leads),) = await self.call(_CLOCK, (self.epoch,))
        if not leads:
            raise MemqlError(Code.FAILED_PRECONDITION, "the session of the cron leader lost its lock or its epoch")
        if anyio.current_time() >= self._next_beat:
            await self.call(_BEAT, (self.epoch,))
            self._next_beat = anyio.current_time() + _BEAT_EVERY
        assert isinstance(now, datetime)
        return now

    async def call(self, statement: str, params: Params = None) -> list[tuple[Any, ...]]:
        """Run one statement on the session that holds the lock."""
        return await _call(self._session, statement, params)


@asynccontextmanager
async def leadership(database: Database, owner: str, poll: float) -> AsyncIterator[Leadership]:
    """Wait until this process is the leader; give the lock back at the end.

    :param poll: seconds between trials of the lock.
    :raises MemqlError: ``UNAVAILABLE`` when the database cannot be reached: then there is no leader here.
    """
    async with database.direct() as session:
        while not (await _call(session, "SELECT pg_try_advisory_lock(%s)", (CRON_LOCK,)))[0][0]:
            await _depose(session)
            await anyio.sleep(poll)
        try:
            ((epoch,),) = await _call(session, _SUCCEED, (owner,))
            _log.info("cron_leader_acquired", owner=owner, epoch=epoch)
            CRON_LEADER.set(1)
            yield Leadership(session, epoch)
        finally:
            CRON_LEADER.set(0)
            await _give_back(session, owner)


async def _depose(session: DirectConnection) -> None:
    """End the session of a leader that has stopped beating."""
    for (ended,) in await _call(session, _DEPOSE, (timedelta(seconds=_BEAT_LOST),)):
        _log.warning("cron_leader_deposed", ended=ended, silent_for_seconds=_BEAT_LOST)


async def _call(session: DirectConnection, statement: str, params: Params = None) -> list[tuple[Any, ...]]:
    try:
        with anyio.fail_after(_CALL_TIMEOUT):
            return await session.fetch(statement, params)
    except TimeoutError as error:
        message = f"the session of the cron leader did not answer within {_CALL_TIMEOUT:g} s"
        raise MemqlError(Code.TIMEOUT, message, retryable=True) from error


async def _give_back(session: DirectConnection, owner: str) -> None:
    """Unlock at once rather than when the server notices that the connection is gone."""
    if session.closed:
        return
    with anyio.move_on_after(_UNLOCK_TIMEOUT, shield=True):
        try:
            await session.fetch("SELECT pg_advisory_unlock(%s)", (CRON_LOCK,))
            _log.info("cron_leader_released", owner=owner)
        except MemqlError as error:
            _log.info("cron_leader_session_lost", owner=owner, error=error.message)
