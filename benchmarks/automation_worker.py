"""One worker of a benchmark in a process of its own: ``python -m benchmarks.automation_worker KIND DSN [CONCURRENCY]``.

It prints a line when everything is imported, and begins when a line comes back.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import cast

import anyio
import procrastinate
import structlog

from benchmarks.system import TREE
from memql.automations import Automations
from memql.engine.assembly import build_engine
from memql.engine.logic import Runner
from memql.events import Bus
from memql.graph.database import Database
from memql.lang.catalog import Catalog
from memql.lang.loader import load_tree, read_sources

__all__ = ["jobs", "live"]


def jobs(dsn: str) -> procrastinate.App:
    """A procrastinate application with one empty job."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, max_size=20))

    @app.task(name="empty")
    async def empty(number: int) -> dict[str, int]:
        return {"number": number}

    return app


async def _theirs(dsn: str, concurrency: int) -> None:
    app = jobs(dsn)
    async with app.open_async():
        await app.run_worker_async(concurrency=concurrency)


async def live(dsn: str, node: str, catalog: Catalog, *, for_ever: bool = True) -> None:
    """A process with automations, put together as a node does."""
    bus = Bus()
    async with Database.open(dsn) as database:
        engine = build_engine(database, catalog, publish=bus.publish, node=node)
        async with Automations.open(
            database=database,
            bus=bus,
            runner=cast("Runner", engine.logic),
            writer=engine.writer,
            catalog=catalog,
            executors=lambda: engine.builtins.executors,
            node=node,
        ):
            if for_ever:
                await anyio.sleep_forever()


def _main() -> None:
    kind, dsn, *rest = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    catalog = load_tree(read_sources([TREE])).require()
    print("ready", flush=True)
    sys.stdin.readline()
    if kind == "ours":
        anyio.run(live, dsn, f"bench-{os.getpid()}", catalog)
    else:
        anyio.run(_theirs, dsn, int(rest[0]))


if __name__ == "__main__":
    _main()
