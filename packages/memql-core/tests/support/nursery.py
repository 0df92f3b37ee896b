"""Processes of the plant that tests kill: a parent that has imported everything forks one in milliseconds.

Run as ``nursery.py DSN``; each line ``spawn NODE`` on its input forks a process and prints its pid.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process as ChildProcess
from anyio.streams.text import TextReceiveStream, TextSendStream
from plant import plant, process

from memql.automations import Options
from memql.engine.context import RequestContext
from memql.graph.database import Database
from memql.lang.catalog import Catalog

LEASE = 0.6
OPTIONS = Options(lease=LEASE, read_every=0.05, take_over_every=0.05, retry_delay=0.05)

SLOWLY = """
@enabled @internal @executor("plant.nap") builtin plantNap { step string! }
@enabled @trigger(event="node.created", concept="v1:plant:order")
automation book { step slowly { logic slowly { event: event } } step tell { publishEvent { topic: "plant.booked" } } }
logic logicSlowly {
  args { event object! }
  body {
    a := plantNap({ step: "a" })
    first := mutationAddEntry({ orderId: args.event.payload.nodeId, amount: 1, note: "first" })
    b := plantNap({ step: "b" })
    before := queryTotal({ name: args.event.payload.item })
    sum := mutationSetTotal({
      name: args.event.payload.item, amount: (before.First().amount ?? 0) + 1, count: (before.First().count ?? 0) + 1
    })
    c := plantNap({ step: "c" })
    for entry := range queryEntries({ orderId: args.event.payload.nodeId }) {
      note := concat("copy of ", entry.note)
      copied := mutationAddEntry({ orderId: entry.orderId, amount: sum.First().count, note: note })
      d := plantNap({ step: "d" })
    }
    return sum.First().count
  }
}
"""

EVERY_SECOND = """
@enabled @trigger(schedule="* * * * * *")
automation everySecond { step t { mutation tick { at: event.payload.scheduledAt } } }
"""


async def _nap(args: Any, ctx: RequestContext) -> str:
    await anyio.sleep(random.uniform(0.0, 0.03))
    return str(args["step"])


async def _live(dsn: str, node: str, catalog: Catalog) -> None:
    async with (
        Database.open(dsn, max_size=4) as database,
        process(database, catalog, node=node, options=OPTIONS, executors={"plant.nap": _nap}),
    ):
        await anyio.sleep_forever()


def _main(dsn: str) -> None:
    catalog = plant(SLOWLY, EVERY_SECOND)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        _, node = line.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            os.dup2(2, 1)
            try:
                anyio.run(_live, dsn, node, catalog)
            finally:
                os._exit(1)
        print(pid, flush=True)


class Nursery:
    """Forks processes of the plant, and knows who is who."""

    def __init__(self, parent: ChildProcess) -> None:
        assert parent.stdin is not None
        assert parent.stdout is not None
        self._orders = TextSendStream(parent.stdin)
        self._answers = TextReceiveStream(parent.stdout)
        self._rest = ""
        self._count = 0
        self.pids: dict[str, int] = {}

    async def spawn(self) -> str:
        """A new process; its node id."""
        self._count += 1
        node = f"w{self._count}"
        await self._orders.send(f"spawn {node}\n")
        self.pids[node] = int(await self.line())
        return node

    def signal(self, owner: str, number: signal.Signals) -> bool:
        """Signal the process that is the owner of a claim; False when it is gone already."""
        pid = self.pids.get(owner.partition("/")[0])
        if pid is None:
            return False
        os.kill(pid, number)
        if number is signal.SIGKILL:
            del self.pids[owner.partition("/")[0]]
        return True

    async def line(self) -> str:
        """The next line of the parent."""
        while "\n" not in self._rest:
            self._rest += await self._answers.receive()
        line, _, self._rest = self._rest.partition("\n")
        return line


@asynccontextmanager
async def nursery(dsn: str, log: Path) -> AsyncIterator[Nursery]:
    """A nursery, and the end of everything it raised. What the processes say goes to ``log``."""
    with log.open("wb") as errors:
        async with await anyio.open_process([sys.executable, __file__, dsn], stderr=errors) as parent:
            opened = Nursery(parent)
            try:
                with anyio.fail_after(60):
                    assert await opened.line() == "ready"
                yield opened
            finally:
                for pid in opened.pids.values():
                    os.kill(pid, signal.SIGKILL)
                parent.kill()


if __name__ == "__main__":
    _main(sys.argv[1])
