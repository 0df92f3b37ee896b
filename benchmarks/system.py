"""The system under measurement: an embedded server in a folder of its own, the benchmark tree, an engine."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from memql.auth import Actor, local_owner
from memql.engine.assembly import build_engine
from memql.engine.engine import Engine
from memql.events import Bus
from memql.graph.database import Database
from memql.graph.embedded import EmbeddedServer, embedded_server
from memql.graph.indexes import ensure_indexes
from memql.graph.migrator import migrate
from memql.lang.loader import load_tree, read_sources

__all__ = ["TREE", "System", "migrated_server", "system"]

TREE = Path(__file__).parent / "tree"
IDS = 1000

_FILL_LOG = """
INSERT INTO memory_nodes
    (id, concept, type, created_by, schema, payload, metadata, provenance, deleted, created_at, seq)
SELECT %(concept)s || ':d' || n, %(concept)s, 'object', 'system:benchmark', '{"$id":"v1.bench.reading"}',
       jsonb_build_object('device', 'd' || n, 'value', v + n / 1000.0, 'unit', 'C'), '{}',
       '{"kind":"system","name":"benchmark"}', false,
       timestamptz '2026-01-01' + v * interval '1 second' + n * interval '1 microsecond', nextval('memory_seq')
FROM generate_series(1, %(versions)s) AS v, generate_series(1, %(ids)s) AS n
"""
_FILL_HEADS = """
INSERT INTO memory_heads
    (id, concept, type, created_by, schema, payload, metadata, provenance, deleted, created_at, seq)
SELECT DISTINCT ON (id) id, concept, type, created_by, schema, payload, metadata, provenance, deleted, created_at, seq
FROM memory_nodes WHERE concept = %(concept)s AND created_at >= %(last)s::timestamptz ORDER BY id, created_at DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One engine, and a plain psycopg pool on the same database as the baseline."""

    dsn: str
    database: Database
    engine: Engine
    pool: AsyncConnectionPool[AsyncConnection[tuple[object, ...]]]
    actor: Actor


@asynccontextmanager
async def migrated_server(home: Path) -> AsyncIterator[EmbeddedServer]:
    """An embedded server with the tables of this release."""
    async with embedded_server(home) as server:
        async with Database.open(server.dsn) as database:
            await migrate(database)
        yield server


@asynccontextmanager
async def system() -> AsyncIterator[System]:
    """Start everything; stop and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as home:
        async with (
            migrated_server(Path(home)) as server,
            Database.open(server.dsn) as database,
            AsyncConnectionPool(server.dsn, min_size=1, max_size=10, kwargs={"autocommit": True}) as pool,
        ):
            catalog = load_tree(read_sources([TREE])).require()
            await ensure_indexes(database, catalog.concepts.values())
            engine = build_engine(database, catalog, publish=Bus().publish)
            yield System(dsn=server.dsn, database=database, engine=engine, pool=pool, actor=local_owner())


async def fill(system: System, concept: str, versions: int) -> None:
    """Write ``versions`` of each of a thousand records straight into the tables, past the engine."""
    last = "2026-01-01T00:00:00Z"
    async with system.pool.connection() as connection:
        await connection.execute(_FILL_LOG, {"concept": concept, "versions": versions, "ids": IDS})
        await connection.execute(_FILL_HEADS, {"concept": concept, "last": last})
        await connection.execute("VACUUM (ANALYZE) memory_nodes")
        await connection.execute("VACUUM (ANALYZE) memory_heads")
