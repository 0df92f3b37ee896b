"""A node that comes back to 100,000 events that it missed, and what its live events feel of that."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.driven import mesh_nodes
from benchmarks.harness import Row, middle
from benchmarks.system import TREE, migrated_server

MISSED = 100_000
BATCH = 256
ROUNDS = 3
PINGS = 3_000

_MISSED = """
INSERT INTO memory_nodes (id, created_at, concept, type, created_by, schema, payload, provenance)
SELECT 'v1:bench:reading:r' || n, clock_timestamp(), 'v1:bench:reading', 'object', 'system:benchmark',
       '{"$id":"v1.bench.reading"}', jsonb_build_object('device', 'd' || n, 'value', n, 'unit', 'C'),
       '{"kind":"system","name":"benchmark"}'
FROM generate_series(1, %s) AS n
"""
_ROWS = """
SELECT seq, id, concept, type, created_by, created_at, payload, provenance, deleted, updated
FROM memory_nodes WHERE concept = 'v1:bench:reading' AND seq > %s ORDER BY seq LIMIT %s
"""


async def run() -> list[Row]:
    """Let a node miss events and come back, several times."""
    rates: list[tuple[float, float]] = []
    delays: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder:
            async with migrated_server(Path(folder)) as server:
                rate, delay = await _round(server.dsn, Path(folder))
                rates.append(rate)
                delays.append(delay)
    rate, delay = middle(rates), middle(delays)
    return [
        Row(
            what="catch-up after 100,000 missed events",
            against="the same rows, psycopg, 256 at a time",
            ours=rate[0],
            baseline=rate[1],
            unit="events/s",
            limit=0.5,
            at_least=True,
        ),
        Row(
            what="live events there and back meanwhile, p99",
            against="the same without catch-up",
            ours=delay[0] * 1e3,
            baseline=delay[1] * 1e3,
            unit="ms",
            limit=2.0,
        ),
    ]


async def _round(dsn: str, home: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """Rates and delays, ours and the baseline's."""
    tree = {"MEMQL_DSL_PATH": str(TREE)}
    with mesh_nodes(dsn, home, "bff", "planner", **tree) as (hub, away):
        for one in (hub, away):
            await one.hear("ready")
        await asyncio.sleep(2)  # the cursors are written once a second
        away.end()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_MISSED, (MISSED,))
            connection.execute("VACUUM (ANALYZE)")
            baseline = _read(connection)
        with mesh_nodes(dsn, home, "", "planner", **tree) as (back,):
            await back.hear("ready")
            await back.ask("echo", "echoing")
            await hub.ask("connected 1", "connected")
            hub.tell("pinging")
            (seconds,) = await back.ask(f"caught_up {MISSED}", "caught")
            hub.tell("enough")
            await hub.hear("enough")
            busy = await hub.hear("pinged")
            await asyncio.sleep(1)  # let the processes come to rest
            idle = await hub.ask(f"ping {PINGS}", "pinged")
    return (MISSED / float(seconds), baseline), (float(busy[1]), float(idle[1]))


def _read(connection: psycopg.Connection[tuple[object, ...]]) -> float:
    """Rows a second."""
    began, after, count = time.perf_counter(), 0, 0
    while rows := connection.execute(_ROWS, (after, BATCH)).fetchall():
        count += len(rows)
        assert isinstance(rows[-1][0], int)
        after = rows[-1][0]
    assert count == MISSED
    return count / (time.perf_counter() - began)
