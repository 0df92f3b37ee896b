"""Processes that are driven by lines: an order on their standard input, an answer on their standard output."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["Driven", "driven", "mesh_nodes"]

PATIENCE = 120.0
_ROOT = Path(__file__).resolve().parent.parent


class Driven:
    """One such process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, order: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()

    async def hear(self, word: str) -> list[str]:
        """The words after the first of the next line, which must begin with ``word``."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), PATIENCE)
        words = line.split()
        assert words[:1] == [word], f"expected {word!r}, heard {line!r}"
        return words[1:]

    def end(self) -> None:
        """End it as an orchestrator would."""
        self._process.terminate()
        self._process.wait(30)

    async def ask(self, order: str, word: str) -> list[str]:
        """Give an order and hear its answer."""
        self.tell(order)
        return await self.hear(word)


@contextmanager
def driven(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Driven]:
    """Start ``python -m module``; ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        cwd=_ROOT,
    )
    try:
        yield Driven(process)
    finally:
        process.kill()
        process.wait()


@contextmanager
def mesh_nodes(dsn: str, home: Path, *types: str, **more: str) -> Iterator[list[Driven]]:
    """Nodes of a mesh without identity, named by type and place; an empty type leaves a place out.

    :param more: further variables of all of them.
    """
    with ExitStack() as stack:
        nodes = []
        for number, kind in enumerate(types):
            if not kind:
                continue
            env = {
                "MEMQL_ENVIRONMENT": "development",
                "MEMQL_HOME": str(home),
                "MEMQL_DATABASE_DSN": dsn,
                "MEMQL_GRPC_ADDRESS": "127.0.0.1:0",
                "SERVER_ADDRESS": "127.0.0.1:0",
                "MEMQL_NODE_SERVICE_ADDRESS": "127.0.0.1:0",
                "MEMQL_NODE_ID": f"{kind}-{number}",
                "MEMORY_NODES_DATABASE_MAX_OPEN_CONNS": "4",
                "MEMQL_LOG_LEVEL": "error",
                **more,
            }
            nodes.append(stack.enter_context(driven("benchmarks.mesh_node", kind, env=env)))
        yield nodes
