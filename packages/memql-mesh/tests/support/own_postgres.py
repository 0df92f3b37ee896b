"""A PostgreSQL of a test's own, which it may stop, kill and start again.

A process of its own looks after the server: one that has called into gRPC must not fork. Run as
``own_postgres.py HOME``, it starts the server and prints its DSN; on each of the lines ``stop``, ``crash`` and
``start`` of its input it does so and prints ``done``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from memql.graph.database import Database
from memql.graph.embedded_cluster import Cluster
from memql.graph.migrator import migrate

__all__ = ["OwnPostgres", "own_postgres"]

_PATIENCE = 60.0


@dataclass
class OwnPostgres:
    """The server of a home."""

    keeper: Process
    answers: BufferedByteReceiveStream
    dsn: str = ""
    """Of its one database, which is migrated; it stays the same over restarts."""

    async def stop(self) -> None:
        """As an operator does: every session is told and ended."""
        await self._order("stop")

    async def crash(self) -> None:
        """kill -9: nothing is written, nobody is told; it recovers when it starts."""
        await self._order("crash")

    async def start(self) -> None:
        """Again; returns when it answers."""
        await self._order("start")

    async def _order(self, what: str) -> None:
        assert self.keeper.stdin is not None
        await self.keeper.stdin.send(f"{what}\n".encode())
        assert await self.line() == "done"

    async def line(self) -> str:
        """The next line of the keeper."""
        with anyio.fail_after(_PATIENCE):
            return (await self.answers.receive_until(b"\n", 4096)).decode()


@asynccontextmanager
async def own_postgres() -> AsyncIterator[OwnPostgres]:
    """A running server with a migrated database."""
    # Not pytest's directory: other accounts cannot reach it, and as root the server runs under another one.
    home = Path(tempfile.mkdtemp(prefix="memql-own-"))
    async with await anyio.open_process([sys.executable, __file__, str(home)], stderr=None) as keeper:
        assert keeper.stdout is not None
        own = OwnPostgres(keeper, BufferedByteReceiveStream(keeper.stdout))
        own.dsn = await own.line()
        async with Database.open(own.dsn) as database:
            await migrate(database)
        try:
            yield own
        finally:
            with anyio.CancelScope(shield=True):
                await own.stop()
    shutil.rmtree(home)


def _keep(home: str) -> None:
    cluster = Cluster(Path(home))
    server = cluster.enter(_PATIENCE)
    print(server.dsn, flush=True)
    for line in sys.stdin:
        if line == "start\n":
            server = cluster.enter(_PATIENCE)
        else:
            if line == "crash\n":
                os.kill(server.pid, signal.SIGKILL)
            cluster.leave()
        print("done", flush=True)


if __name__ == "__main__":
    _keep(sys.argv[1])
