"""Reads: the latest rows whatever their history, one row, the past."""

from __future__ import annotations

import os

from benchmarks.harness import Row, faster_is_better, measure, paired
from benchmarks.system import IDS, System, fill, system

VERSIONS = {
    "reading": 1,
    "readingOften": 200,
    "readingAlways": int(os.environ.get("BENCH_VERSIONS", "10000")),
}

HEADS = """
SELECT id, concept, type, created_at, created_by, payload::text FROM memory_heads
WHERE concept = %s AND NOT deleted ORDER BY created_at DESC, id LIMIT 10001
"""
POINT = (
    "SELECT id, concept, type, created_at, created_by, payload::text FROM memory_heads WHERE id = %s AND NOT deleted"
)
AS_OF = """
SELECT v.id, v.concept, v.type, v.created_at, v.created_by, v.payload::text
FROM memory_heads AS h
CROSS JOIN LATERAL (
    SELECT * FROM memory_nodes AS n WHERE n.id = h.id AND n.created_at <= %s::timestamptz
    ORDER BY n.created_at DESC LIMIT 1
) AS v
WHERE h.concept = %s AND NOT v.deleted ORDER BY v.created_at DESC, v.id LIMIT 10001
"""


async def run() -> list[Row]:
    """Fill three concepts with 1, 200 and 10,000 versions of a thousand records, and read them."""
    rows: list[Row] = []
    async with system() as under_test:
        flat: dict[int, float] = {}
        for name, versions in VERSIONS.items():
            await fill(under_test, f"v1:bench:{name}", versions)
            rows.append(await _latest(under_test, f"v1:bench:{name}", versions))
            flat[versions] = await _alone(under_test, f"v1:bench:{name}")
        rows.append(
            faster_is_better(
                f"latest rows, {max(flat):,} versions each",
                "the same with 1 version each",
                (flat[max(flat)], flat[1]),
                1.2,
            )
        )
        rows.append(await _point(under_test))
        rows.append(await _as_of(under_test))
    return rows


async def _latest(system: System, concept: str, versions: int) -> Row:
    async def ours() -> None:
        result = await system.engine.execute(f"concept=={concept}", actor=system.actor)
        assert len(result.nodes) == IDS

    async def baseline() -> None:
        async with system.pool.connection() as connection:
            found = await (await connection.execute(HEADS, (concept,))).fetchall()
            assert len(found) == IDS

    seconds = await paired(ours, baseline, calls=20)
    return faster_is_better(f"latest rows of 1,000 ids, {versions:,} versions each", "heads SQL, psycopg", seconds, 1.2)


async def _alone(system: System, concept: str) -> float:
    return await measure(lambda: system.engine.execute(f"concept=={concept}", actor=system.actor), calls=20)


async def _point(system: System) -> Row:
    async def ours() -> None:
        result = await system.engine.call("queryReading", {"id": "d500"}, actor=system.actor)
        assert len(result.nodes) == 1

    async def baseline() -> None:
        async with system.pool.connection() as connection:
            assert await (await connection.execute(POINT, ("v1:bench:reading:d500",))).fetchall()

    return faster_is_better(
        "point query, engine API", "the row, psycopg pool", await paired(ours, baseline, calls=500), 1.3
    )


async def _as_of(system: System) -> Row:
    concept, moment = "v1:bench:readingOften", "2026-01-01T00:01:40Z"

    async def ours() -> None:
        result = await system.engine.execute(f'concept=={concept} @ "{moment}"', actor=system.actor)
        assert len(result.nodes) == IDS

    async def baseline() -> None:
        async with system.pool.connection() as connection:
            found = await (await connection.execute(AS_OF, (moment, concept))).fetchall()
            assert len(found) == IDS

    seconds = await paired(ours, baseline, calls=10)
    return faster_is_better("as-of, 1,000 ids with 200 versions", "lateral SQL, psycopg", seconds, 1.3)
