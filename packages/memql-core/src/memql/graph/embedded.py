"""The embedded PostgreSQL: a real server from a wheel, one per home directory, shared by the processes that use it.

Linux and macOS. The wheel is the extra ``memql-core[embedded]``; without it, or elsewhere, a DSN has to be set.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.to_thread

from memql.errors import Code, MemqlError

__all__ = ["EmbeddedServer", "embedded_server"]


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server: its data directory, the directory of its socket, and the pid of its main process."""

    data: Path
    socket_directory: Path
    pid: int

    @property
    def dsn(self) -> str:
        """A libpq URL for the database ``postgres`` as the superuser ``postgres``."""
        return self.dsn_of("postgres")

    def dsn_of(self, name: str) -> str:
        """A libpq URL for the database ``name``."""
        return f"postgresql://postgres@/{quote(name)}?host={quote(str(self.socket_directory), safe='')}"


@asynccontextmanager
async def embedded_server(home: Path | str, *, start_timeout: float = 60.0) -> AsyncIterator[EmbeddedServer]:
    """The server of ``home``, started when it does not run yet and stopped by the last process that leaves.

    :param start_timeout: seconds for creating the data directory and starting, waiting for others included.
    :raises MemqlError: ``FAILED_PRECONDITION`` when the extra ``memql-core[embedded]`` is not installed, the
        system has none, or the data directory belongs to another major version; ``UNAVAILABLE`` when it does
        not start, with the end of its log.
    """
    if sys.platform == "win32":
        raise MemqlError(Code.FAILED_PRECONDITION, "the embedded PostgreSQL runs on Linux and macOS; set a DSN")
    from memql.graph.embedded_cluster import Cluster  # needs file locks that Windows lacks

    cluster = Cluster(Path(home))
    server = await anyio.to_thread.run_sync(cluster.enter, start_timeout)
    try:
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(cluster.leave)
