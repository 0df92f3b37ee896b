"""A mesh node in a process of its own, driven by lines on its standard input: what the mesh benchmarks measure with.

publish N BURST    publish N events of about 450 bytes, at most BURST between two turns of the event loop
expect N           say ``received N SECONDS`` once N events of others came, timed from the first
ping N             publish one event, wait for its echo from the other node, N times; say ``pinged P50``
echo               publish an event back for each that comes
connected K        say ``connected`` once streams to K peers carry events
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import anyio
import msgspec
from anyio import to_thread

from memql.cli.logs import configure_logging
from memql.config import load_settings
from memql.events import Event
from memql.ids import new_id
from memql.mesh import MeshRole
from memql.mesh.mesh import Mesh
from memql.mesh.routing import Rule
from memql.node import Node, open_node

PAYLOAD = msgspec.json.encode(
    {
        "id": "v1:bench:thing:0123456789",
        "concept": "v1:bench:thing",
        "actor": "v1:identity:user:somebody",
        "createdAt": "2026-01-01T00:00:00.000000Z",
        "payload": {"text": "b" * 266, "number": 1, "share": 2.5},
    }
)
"""450 bytes, encoded by whoever publishes, as the baseline's message is."""


def role(node_type: str) -> MeshRole:
    class Bench(MeshRole):
        port = 0

        def routing_rules(self) -> list[Rule]:
            return [Rule("bench.#")]

    Bench.name = node_type
    return Bench()


class Driver:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.numbers = iter(range(10**9))
        self.prefix = new_id()

    @property
    def mesh(self) -> Mesh:
        assert isinstance(self.node.companion, Mesh)
        return self.node.companion

    def event(self, topic: str) -> Event:
        return Event(id=f"{self.prefix}:{next(self.numbers)}", topic=topic, body=PAYLOAD)

    async def publish(self, count: str, burst: str) -> str:
        size = int(burst)
        began, cpu = time.perf_counter(), time.process_time()
        for number in range(int(count)):
            self.node.bus.publish(self.event("bench.flood"))
            if number % size == size - 1:
                await self._room()
        return f"published {time.perf_counter() - began} {time.process_time() - cpu}"

    async def _room(self) -> None:
        """As much as a publisher gets that yields, and lets its outboxes drain as nats' publish does."""
        await asyncio.sleep(0)
        while any(line.outbox.waiting > 512 for line in self.mesh.switchboard.lines.values()):
            await asyncio.sleep(0)

    async def expect(self, count: str) -> str:
        wanted = int(count)
        async with self.node.bus.subscribe("bench.flood", capacity=1_000_000, name="bench") as events:
            print("expecting", flush=True)
            await anext(events)
            began, cpu = time.perf_counter(), time.process_time()
            got = 1
            while got < wanted:
                await anext(events)
                got += 1 + len(events.take(1_000_000))
            seconds = time.perf_counter() - began
        return f"received {got} {seconds} {time.process_time() - cpu}"

    async def ping(self, count: str) -> str:
        times = []
        async with self.node.bus.subscribe("bench.pong", name="bench") as pongs:
            for _ in range(int(count)):
                began = time.perf_counter()
                self.node.bus.publish(self.event("bench.ping"))
                await anext(pongs)
                times.append(time.perf_counter() - began)
        return f"pinged {statistics.median(times)}"

    async def echo(self) -> str:
        async with self.node.bus.subscribe("bench.ping", name="bench") as pings:
            print("echoing", flush=True)
            async for _ in pings:
                self.node.bus.publish(self.event("bench.pong"))
        return "echoed"

    async def connected(self, peers: str) -> str:
        while len(self.mesh.switchboard.lines) < int(peers):
            await anyio.sleep(0.05)
        return "connected"


async def main(node_type: str) -> None:
    settings = load_settings()
    configure_logging(settings)
    async with open_node(settings, roles=[role(node_type)]) as node, anyio.create_task_group() as tasks:
        driver = Driver(node)

        async def obey(words: list[str]) -> None:
            print(await getattr(driver, words[0])(*words[1:]), flush=True)

        print("ready", node.identity.address, flush=True)
        while line := await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            tasks.start_soon(obey, line.split())
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
