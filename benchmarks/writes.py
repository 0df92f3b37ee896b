"""Writes: one version of one record, through the engine and by hand."""

from __future__ import annotations

import itertools

import msgspec

from benchmarks.harness import Row, faster_is_better, paired
from benchmarks.system import system

# What a careful author would write by hand: log and head in one statement, the instant later than the last one.
BY_HAND = """
WITH head AS (
    INSERT INTO memory_heads AS h
        (id, concept, type, created_by, schema, payload, metadata, provenance, deleted, created_at, seq)
    VALUES (%(id)s, %(concept)s, 'object', %(by)s, %(schema)s, %(payload)s, '{}', %(provenance)s, false,
            clock_timestamp(), nextval('memory_seq'))
    ON CONFLICT (id) DO UPDATE SET payload = EXCLUDED.payload, created_by = EXCLUDED.created_by,
        schema = EXCLUDED.schema, provenance = EXCLUDED.provenance, deleted = false,
        created_at = greatest(EXCLUDED.created_at, h.created_at + interval '1 microsecond'),
        previous_seq = h.seq, seq = EXCLUDED.seq
    RETURNING *
)
INSERT INTO memory_nodes
    (id, concept, type, created_by, schema, payload, metadata, provenance, deleted, created_at, seq)
SELECT id, concept, type, created_by, schema, payload, metadata, provenance, deleted, created_at, seq FROM head
RETURNING created_at, seq
"""
SCHEMA = '{"$id": "v1.bench.reading", "version": "1.0.0", "hash": ""}'
PROVENANCE = '{"kind": "mutation", "name": "mutationRecord"}'


async def run() -> list[Row]:
    """New records and new versions, each validated, stored and published."""
    numbers = itertools.count()
    async with system() as under_test:

        async def ours(id_: str) -> None:
            await under_test.engine.call(
                "mutationRecord", {"id": id_, "device": "d1", "value": 20.5}, actor=under_test.actor
            )

        async def baseline(id_: str) -> None:
            payload = msgspec.json.encode({"device": "d1", "value": 20.5, "unit": "C"}).decode()
            async with under_test.pool.connection() as connection:
                written = await connection.execute(
                    BY_HAND,
                    {
                        "id": f"v1:bench:reading:{id_}",
                        "concept": "v1:bench:reading",
                        "by": under_test.actor.created_by,
                        "schema": SCHEMA,
                        "payload": payload,
                        "provenance": PROVENANCE,
                    },
                )
                assert await written.fetchone()

        new = await paired(
            lambda: ours(f"n{next(numbers)}"), lambda: baseline(f"n{next(numbers)}"), calls=60, rounds=45
        )
        again = await paired(lambda: ours("same"), lambda: baseline("other"), calls=60, rounds=45)
    return [
        faster_is_better("write a new record, engine API", "the same SQL, psycopg pool", new, 1.3),
        faster_is_better("write a new version, engine API", "the same SQL, psycopg pool", again, 1.3),
    ]
