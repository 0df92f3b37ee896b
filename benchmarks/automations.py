"""Guarded automation runs a second in two processes, against two workers of procrastinate on the same server.

What is to be done is written beforehand on both sides, and the tables are vacuumed and analyzed: orders that each
trigger one automation with one empty logic, and as many empty jobs. The clock runs from the first start to the last
end, as the database has recorded them.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
from procrastinate.types import JSONDict

from benchmarks.automation_worker import jobs, live
from benchmarks.harness import Row
from benchmarks.system import TREE, migrated_server
from memql.graph.embedded import EmbeddedServer
from memql.lang.loader import load_tree, read_sources

PROCESSES = 2
RUNS = 6_000
ROUNDS = 5
TRIALS = (1, 5, 20, 40, 100)
"""Concurrencies of a procrastinate worker, of which the fastest is measured."""
TRIAL_RUNS = 2_000
PATIENCE = 120.0

_ORDERS = """
INSERT INTO memory_nodes (id, created_at, concept, type, created_by, schema, payload, provenance)
SELECT 'v1:bench:order:o' || n, clock_timestamp(), 'v1:bench:order', 'object', 'system:benchmark',
       '{"$id":"v1.bench.order"}', jsonb_build_object('number', n), '{"kind":"system","name":"benchmark"}'
FROM generate_series(1, %s) AS n
"""
_RUNS = """
SELECT count(completed_at), extract(epoch FROM max(completed_at) - min(started_at))::float
FROM automation_execution_claims
"""
_JOBS = """
SELECT count(*) FILTER (WHERE type = 'succeeded'),
       extract(epoch FROM max(at) FILTER (WHERE type = 'succeeded') - min(at) FILTER (WHERE type = 'started'))::float
FROM procrastinate_events
"""


async def run() -> list[Row]:
    """Tune the baseline, then measure both by turns."""
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as home:
        async with migrated_server(Path(home)) as server:
            rates = {trial: await _theirs(server, trial, TRIAL_RUNS) for trial in TRIALS}
            concurrency = max(rates, key=lambda trial: rates[trial])
            ours: list[float] = []
            theirs: list[float] = []
            sides = [(ours, partial(_ours, server, RUNS)), (theirs, partial(_theirs, server, concurrency, RUNS))]
            for turn in range(ROUNDS):
                for into, measured in sides if turn % 2 else sides[::-1]:
                    into.append(await measured())
    return [
        Row(
            what="empty automation, guarded, two processes",
            against=f"procrastinate, empty job, two workers, concurrency {concurrency}",
            ours=statistics.median(ours),
            baseline=statistics.median(theirs),
            unit="runs/s",
            limit=5.0,
            at_least=True,
        )
    ]


async def _ours(server: EmbeddedServer, runs: int) -> float:
    """Runs a second."""
    with _fresh(server, "postgres") as dsn:
        await live(dsn, "bench-0", load_tree(read_sources([TREE])).require(), for_ever=False)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_ORDERS, (runs,))
            connection.execute("VACUUM (ANALYZE)")
            with _workers(["ours", dsn]):
                return await _rate(connection, _RUNS, runs)


async def _theirs(server: EmbeddedServer, concurrency: int, number: int) -> float:
    """Jobs a second."""
    with _fresh(server, "template0") as dsn:
        app = jobs(dsn)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            arguments: list[JSONDict] = [{"number": n} for n in range(number)]
            await app.tasks["empty"].batch_defer_async(*arguments)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            with _workers(["theirs", dsn, str(concurrency)]):
                return await _rate(connection, _JOBS, number)


async def _rate(connection: psycopg.Connection[tuple[object, ...]], statement: str, wanted: int) -> float:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        done, seconds = row
        if done == wanted:
            assert isinstance(seconds, float)
            return wanted / seconds
    raise TimeoutError(f"{done} of {wanted} were done within {PATIENCE:g} s")


@contextmanager
def _fresh(server: EmbeddedServer, template: str) -> Iterator[str]:
    """A database of its own for one round."""
    name = "bench_round"
    with psycopg.connect(server.dsn_of("template1"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        yield server.dsn_of(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def _workers(arguments: list[str]) -> Iterator[None]:
    """Several workers that begin together; ended afterwards."""
    command = [sys.executable, "-m", "benchmarks.automation_worker", *arguments]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
