"""A small system with automations: its tree, and how a process of it is put together. Child processes import it too."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import psycopg

from memql.auth import system
from memql.automations import Automations, Options
from memql.engine.assembly import build_engine
from memql.engine.engine import Engine
from memql.engine.logic import Runner
from memql.engine.ports import BuiltinExecutor
from memql.events import Bus, Event
from memql.graph.database import Database
from memql.lang.catalog import Catalog
from memql.lang.loader import load_tree, read_sources
from memql.lang.sources import Sources

_OPEN_CLAIMS = "SELECT 1 FROM automation_execution_claims WHERE completed_at IS NULL"

SYSTEM = system("system:test")

CONCEPTS = """
@rowAuthz(clusterOwner) concept order { item string! amount int! }
@rowAuthz(clusterOwner) concept entry { orderId string! amount int! note string }
@rowAuthz(clusterOwner) concept total { name string! amount int! count int! }
@rowAuthz(clusterOwner) concept tick { at string! by string }
"""

WORK = """
@enabled @internal query total queryTotal { args { name string! } filter id == args.name }
@enabled @internal query entry queryEntries { args { orderId string! } filter payload.orderId == args.orderId }
@enabled @internal mutation entry mutationAddEntry {
  args { orderId string! amount int! note string }
  insert { id: newId() args.orderId args.amount args.note }
}
@enabled @internal mutation total mutationSetTotal {
  args { name string! amount int! count int! }
  insert { id: args.name args.name args.amount args.count }
}
@enabled @internal mutation tick mutationTick { args { at string! by string } insert { id: newId() args.at args.by } }

logic logicBook {
  args { event object! }
  body {
    first := mutationAddEntry({ orderId: args.event.payload.nodeId, amount: args.event.payload.amount, note: "first" })
    total := queryTotal({ name: args.event.payload.item })
    sum := mutationSetTotal({
      name: args.event.payload.item,
      amount: (total.First().amount ?? 0) + args.event.payload.amount,
      count: (total.First().count ?? 0) + 1
    })
    last := mutationAddEntry({ orderId: args.event.payload.nodeId, amount: sum.First().amount, note: "last" })
    return { entry: last.First().id }
  }
}
"""

BOOKING = """
@enabled @trigger(event="node.created", concept="v1:plant:order")
automation bookOrder { step book { logic book { event: event } } }
"""


def plant(*texts: str, base: bool = True) -> Catalog:
    """The catalog of the plant with these texts added to its tree."""
    parts = [CONCEPTS, WORK] if base else []
    files = {f"plant/part{number}.memql": text for number, text in enumerate([*parts, *texts])}
    return load_tree(read_sources().over(Sources(files))).require()


class RecordingBus(Bus):
    """A bus that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[Event] = []

    def publish(self, event: Event) -> None:
        """Remember, and publish."""
        self.published.append(event)
        super().publish(event)


@dataclass
class Process:
    """One process of the plant."""

    engine: Engine
    database: Database
    bus: RecordingBus
    automations: Automations

    @property
    def events(self) -> list[Event]:
        """What was published so far."""
        return self.bus.published

    async def do(self, text: str) -> list[dict[str, Any]]:
        """Run raw text as the system; the nodes."""
        return (await self.engine.execute(text, actor=SYSTEM)).decoded_nodes()

    async def order(self, name: str, amount: int = 1) -> None:
        """Place an order of an item of that name."""
        await self.do(f'insert("v1:plant:order", id="{name}", payload={{item:"{name}", amount:{amount}}})')

    async def count(self, concept: str) -> int:
        """How many rows a concept has."""
        return len(await self.do(f"concept==v1:plant:{concept}"))


async def place_order(database: Database, catalog: Catalog, name: str) -> None:
    """Place an order as a program without automations does, an import for example."""
    engine = build_engine(database, catalog, publish=lambda event: None)
    text = f'insert("v1:plant:order", id="{name}", payload={{item:"{name}", amount:1}})'
    await engine.execute(text, actor=SYSTEM)


@asynccontextmanager
async def process(
    database: Database,
    catalog: Catalog,
    *,
    node: str = "node",
    options: Options | None = None,
    executors: Mapping[str, BuiltinExecutor] | None = None,
) -> AsyncIterator[Process]:
    """A running process over a migrated database."""
    bus = RecordingBus()
    engine = build_engine(database, catalog, publish=bus.publish, node=node)
    for name, executor in (executors or {}).items():
        engine.builtins.register(name, executor)
    async with Automations.open(
        database=database,
        bus=bus,
        runner=cast("Runner", engine.logic),
        writer=engine.writer,
        catalog=catalog,
        executors=lambda: engine.builtins.executors,
        node=node,
        options=options,
    ) as automations:
        yield Process(engine, database, bus, automations)


@asynccontextmanager
async def open_transaction(dsn: str) -> AsyncIterator[None]:
    """A transaction of another program: no position settles before it ends."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute("SELECT pg_current_xact_id()")
        yield


async def caught_up(one: Process) -> None:
    """Wait until the process has read and decided all that has happened until now."""
    now = time.monotonic()
    await until(lambda: all(replay.decided_as_of > now for replay in one.automations._replays))


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so that no event tells of."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def settled(one: Process, runs: int) -> None:
    """Wait until that many runs have ended and their claims are closed."""
    counts = one.automations.counts
    await until(lambda: counts.runs_completed + counts.runs_failed >= runs)
    with anyio.fail_after(60):
        while await one.database.fetch_one(_OPEN_CLAIMS):  # noqa: ASYNC110
            await anyio.sleep(0.01)
