"""The lock of everything that changes the schema: migrations and declared indexes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from memql.errors import Code, MemqlError
from memql.graph.database import Database, DirectConnection

__all__ = ["SCHEMA_LOCK", "schema_lock"]

SCHEMA_LOCK = 7756010113207010562
"""The key of the advisory lock."""

_PATIENCE = 600.0
_INTERVAL = 0.2


@asynccontextmanager
async def schema_lock(database: Database) -> AsyncIterator[DirectConnection]:
    """A direct connection that holds the lock until the end of the block.

    The lock is tried at intervals: a session that waits inside ``pg_advisory_lock`` holds a snapshot, for
    which an index built concurrently by the holder would wait in turn.

    :raises MemqlError: ``UNAVAILABLE`` when another process holds it for ten minutes.
    """
    async with database.direct() as session:
        deadline = anyio.current_time() + _PATIENCE
        while await session.fetch_one("SELECT pg_try_advisory_lock(%s)", (SCHEMA_LOCK,)) != (True,):
            if anyio.current_time() > deadline:
                message = "another process has been changing the schema for ten minutes; try again"
                raise MemqlError(Code.UNAVAILABLE, message)
            await anyio.sleep(_INTERVAL)
        yield session
