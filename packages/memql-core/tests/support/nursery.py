"""Processes of the plant that tests kill: a parent that has imported everything forks one in milliseconds.

Run as ``nursery.py DSN``; each line on its input, the JSON of a :class:`Spec`, forks a process and prints its pid.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.abc import Process as ChildProcess
from anyio.streams.text import TextReceiveStream, TextSendStream
from plant import plant, process

from memql.automations import Options
from memql.engine.context import RequestContext
from memql.engine.ports import BuiltinExecutor
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


class Spec(msgspec.Struct, kw_only=True):
    """A process to raise: its tree, the executors it brings, its options, and where it leaves its counts at the end."""

    node: str
    tree: tuple[str, ...]
    executors: tuple[str, ...]
    options: dict[str, Any]
    report: str


def _bring(spec: Spec) -> dict[str, BuiltinExecutor]:
    """Executors: ``plant.nap`` takes a moment, any other gives the node's name."""

    async def name(args: Any, ctx: RequestContext) -> str:
        return spec.node

    return {executor: _nap if executor == "plant.nap" else name for executor in spec.executors}


async def _live(dsn: str, spec: Spec, catalog: Catalog) -> None:
    options = replace(OPTIONS, **spec.options)
    with anyio.open_signal_receiver(signal.SIGTERM) as ended:
        async with (
            Database.open(dsn, max_size=4) as database,
            process(database, catalog, node=spec.node, options=options, executors=_bring(spec)) as one,
        ):
            _report(Path(f"{spec.report}.ready"), {})
            async for _ in ended:
                break
    _report(Path(spec.report), one.automations.counts.to_dict())


def _report(file: Path, counts: dict[str, int]) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.encode(counts))
    partial.rename(file)


def _main(dsn: str) -> None:
    catalogs: dict[tuple[str, ...], Catalog] = {(SLOWLY, EVERY_SECOND): plant(SLOWLY, EVERY_SECOND)}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        spec = msgspec.json.decode(line, type=Spec)
        if spec.tree not in catalogs:
            catalogs[spec.tree] = plant(*spec.tree)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            os.dup2(2, 1)
            try:
                anyio.run(_live, dsn, spec, catalogs[spec.tree])
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        print(pid, flush=True)


class Nursery:
    """Forks processes of the plant, and knows who is who."""

    def __init__(self, parent: ChildProcess, folder: Path) -> None:
        assert parent.stdin is not None
        assert parent.stdout is not None
        self._orders = TextSendStream(parent.stdin)
        self._answers = TextReceiveStream(parent.stdout)
        self._folder = folder
        self._rest = ""
        self._count = 0
        self.pids: dict[str, int] = {}

    async def spawn(
        self,
        *tree: str,
        executors: tuple[str, ...] = ("plant.nap",),
        **options: Any,
    ) -> str:
        """A new process; its node id.

        :param tree: texts of the tree; the slow booking and the schedule of every second when there are none.
        :param options: what differs from :data:`OPTIONS`.
        """
        self._count += 1
        node = f"w{self._count}"
        spec = Spec(
            node=node,
            tree=tree or (SLOWLY, EVERY_SECOND),
            executors=executors,
            options=options,
            report=str(self._folder / f"{node}.json"),
        )
        await self._orders.send(msgspec.json.encode(spec).decode() + "\n")
        self.pids[node] = int(await self.line())
        return node

    async def all_ready(self) -> None:
        """Wait until every process that lives has started its automations."""
        with anyio.fail_after(60):
            while not all((self._folder / f"{node}.json.ready").exists() for node in self.pids):  # noqa: ASYNC110
                await anyio.sleep(0.01)

    async def stop(self, node: str) -> dict[str, int]:
        """End a process cleanly; its counts."""
        self.signal(node, signal.SIGTERM)
        report = self._folder / f"{node}.json"
        with anyio.fail_after(30):
            while not report.exists():  # noqa: ASYNC110
                await anyio.sleep(0.01)
        del self.pids[node]
        return msgspec.json.decode(report.read_bytes(), type=dict[str, int])

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
            opened = Nursery(parent, log.parent)
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
