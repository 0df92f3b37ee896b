"""From nothing to ready: ``memql up``, against the database server alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Row
from benchmarks.process import node
from benchmarks.system import TREE

ROUNDS = 3
SERVER_ALONE = """
import asyncio, sys
from pathlib import Path
from memql.graph.embedded import embedded_server
async def main():
    async with embedded_server(Path(sys.argv[1])):
        pass
asyncio.run(main())
"""
FIRST_GOAL, AGAIN_GOAL = 3.0, 1.5
"""Seconds in all, on the machine the goals were set for; shown as multiples of the server alone."""


async def run() -> list[Row]:
    """The best of a few first starts and of a few later ones."""
    first: list[float] = []
    again: list[float] = []
    alone_first: list[float] = []
    alone_again: list[float] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder:
            alone_first.append(_alone(Path(folder)))
            alone_again.append(_alone(Path(folder)))
        with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder:
            for into in (first, again):
                with node(Path(folder), TREE) as running:
                    into.append(running.started)
    return [
        _row("memql up to ready, first", "initdb + start of the server", min(first), min(alone_first), FIRST_GOAL),
        _row("memql up to ready, again", "start of the server", min(again), min(alone_again), AGAIN_GOAL),
    ]


def _alone(home: Path) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", SERVER_ALONE, home], check=True)
    return time.perf_counter() - begun


def _row(what: str, against: str, ours: float, alone: float, goal: float) -> Row:
    return Row(
        what=f"{what} (goal {goal:g} s)", against=against, ours=ours, baseline=alone, unit="s", limit=goal / alone
    )
