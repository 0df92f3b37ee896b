"""The database that commands work on directly: the one of the settings, embedded unless a DSN is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from memql.config import Settings

if TYPE_CHECKING:
    from memql.graph.database import Database

__all__ = ["open_store"]


@asynccontextmanager
async def open_store(settings: Settings, *, max_size: int = 4) -> AsyncIterator[Database]:
    """Open the database; joins the embedded server of the home, or starts it for the length of the block.

    :param max_size: pooled connections at most.
    :raises MemqlError: as :meth:`memql.graph.database.Database.open` and
        :func:`memql.graph.embedded.embedded_server`.
    """
    from memql.graph.database import Database

    async with AsyncExitStack() as stack:
        dsn, direct = settings.database_dsn, settings.direct_dsn
        if not dsn:
            from memql.graph.embedded import embedded_server

            server = await stack.enter_async_context(embedded_server(settings.home))
            dsn = direct = server.dsn
        opened = Database.open(dsn, direct_dsn=direct, max_size=max_size, application_name="memql-cli")
        yield await stack.enter_async_context(opened)
