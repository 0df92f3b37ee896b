"""``memql import`` of 200,000 validated rows, against a COPY of the same rows into the same two tables."""

from __future__ import annotations

import csv
import os
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.harness import Row
from benchmarks.process import MEMQL
from benchmarks.system import TREE, migrated_server

ROWS = 200_000
COLUMNS = "id, concept, type, created_by, schema, payload, metadata, provenance, deleted, created_at, seq"
TABLES = ("memory_nodes", "memory_heads")


async def run() -> list[Row]:
    """Import through the command, then copy what it stored into emptied tables."""
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder:
        home, file = Path(folder) / "home", Path(folder) / "readings.csv"
        _write(file)
        async with migrated_server(home) as server:
            command = [str(MEMQL), "import", "v1:bench:reading", str(file), "--id", "id", "--tree", str(TREE)]
            begun = time.perf_counter()
            subprocess.run(command, check=True, env={**os.environ, "MEMQL_HOME": str(home)}, stdout=subprocess.DEVNULL)
            ours = ROWS / (time.perf_counter() - begun)
            baseline = ROWS / _copy(server.dsn)
    return [
        Row(
            what="memql import, 200,000 rows, validated",
            against="COPY of the same rows into the two tables",
            ours=ours,
            baseline=baseline,
            unit="rows/s",
            limit=0.5,
            at_least=True,
        )
    ]


def _write(file: Path) -> None:
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "device", "value", "unit", "note"])
        for number in range(ROWS):
            writer.writerow([f"r{number}", f"d{number % 1000}", number / 7, "C", f"reading number {number}"])


def _copy(dsn: str) -> float:
    """Seconds to COPY the stored rows into both tables, emptied, on one connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = [_dump(connection, table) for table in TABLES]
        connection.execute("TRUNCATE memory_nodes, memory_heads")
        begun = time.perf_counter()
        for table, data in zip(TABLES, rows, strict=True):
            with connection.cursor().copy(f"COPY {table} ({COLUMNS}) FROM STDIN") as copy:
                copy.write(data)
        return time.perf_counter() - begun


def _dump(connection: psycopg.Connection[tuple[object, ...]], table: str) -> bytes:
    with connection.cursor().copy(f"COPY (SELECT {COLUMNS} FROM {table}) TO STDOUT") as copy:
        return b"".join(bytes(block) for block in copy)
