"""Fifty rows through MemqlService.Stream, client and server in processes of their own, over both its transports.

Both sides end with values that a program can use: a field of every row's payload is read on each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from psycopg_pool import AsyncConnectionPool

from benchmarks.harness import Row, faster_is_better, paired
from benchmarks.process import node
from benchmarks.system import TREE
from memql.client import Client, connect
from memql.graph.embedded import embedded_server

ROWS = 50
SAME_ROWS = """
SELECT id, concept, type, created_at, created_by, payload FROM memory_heads
WHERE concept = 'v1:bench:reading' AND NOT deleted ORDER BY created_at DESC, id LIMIT 51
"""


async def run() -> list[Row]:
    """Query fifty rows over each transport, and read the same rows from the database."""
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder, node(Path(folder), TREE) as running:
        async with (
            embedded_server(running.home) as server,
            AsyncConnectionPool(server.dsn, min_size=1, kwargs={"autocommit": True}) as pool,
            connect(running.grpc) as grpc,
            connect(running.websocket) as websocket,
        ):
            for number in range(ROWS + 1):
                await grpc.query("mutationRecord", id=f"d{number}", device="d1", value=20.5)

            async def baseline() -> None:
                async with pool.connection() as connection:
                    devices = [row[5]["device"] for row in await (await connection.execute(SAME_ROWS)).fetchall()]
                assert len(devices) == ROWS + 1

            return [
                faster_is_better(
                    f"50-row query through MemqlService.Stream, {transport}",
                    "psycopg pool, same rows",
                    await paired(_asking(client), baseline, calls=40, rounds=61),
                    2.0,
                )
                for transport, client in (("gRPC", grpc), ("WebSocket", websocket))
            ]


def _asking(client: Client) -> Callable[[], Awaitable[None]]:
    async def ask() -> None:
        devices = [row["payload"]["device"] for row in await client.query("queryFifty")]
        assert len(devices) == ROWS

    return ask
