"""A mesh node in a process of its own, driven by lines on its standard input: what the mesh benchmarks measure with.

connected K             say ``connected`` once streams to K peers carry events
publish TOPIC N BURST   publish N events of about 450 bytes, at most BURST between two turns of the event loop
expect TOPIC N          say ``received N SECONDS`` once N events came, timed from the first
echo                    publish an event back for each ping that comes
ping N                  publish one event and wait for its echo, N times; say ``pinged P50 P99``, in seconds
pinging, enough         the same, from the one order to the other
forward N               have an agent answer an empty request, N times; say ``forwarded P50``
caught_up N             say ``caught SECONDS`` once N events of the log came since the start, timed from the first
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from importlib.util import find_spec

import anyio
import msgspec
from anyio import to_thread

from memql.auth import local_owner
from memql.cli.logs import configure_logging
from memql.config import load_settings
from memql.events import Event
from memql.ids import new_id
from memql.mesh import MeshRole
from memql.mesh.forward.requesting import Task
from memql.mesh.mesh import Mesh
from memql.mesh.routing import Rule
from memql.node import Node, open_node
from memql.server.ports import Principal, Services
from memql.server.replies import Payload
from memql.server.routing import Route
from memql.server.session import Call
from memql.wire.messages import SiChatResult

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


class Tally:
    """How many graph events came since the start, and in how much time."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = 0.0

    def note(self, event: Event) -> None:
        if event.log_seq is not None and ":bench:" in event.topic:
            self.count += 1
            self.last = time.perf_counter()
            if self.count == 1:
                self.first = self.last


def role(node_type: str, tally: Tally) -> MeshRole:
    class Bench(MeshRole):
        port = 0

        async def prepare(self, services: Services) -> None:
            taps.enter_context(services.bus.tap(tally.note, root="graph"))

        def routing_rules(self) -> list[Rule]:
            return [
                Rule("bench.near", frozenset({"bff"})),
                Rule("bench.#"),
                Rule("graph.node.*.v1:bench:reading", frozenset({"planner"})),
            ]

        def payloads(self, services: Services) -> list[Route]:
            return [Route(name="si_chat", handler=empty)] if node_type == "agent" else []

    async def empty(call: Call) -> Payload:
        return SiChatResult(request_id=call.request_id)

    taps = ExitStack()
    Bench.name = node_type
    return Bench()


class Driver:
    def __init__(self, node: Node, tally: Tally) -> None:
        self.node = node
        self.tally = tally
        self.numbers = iter(range(10**9))
        self.prefix = new_id()
        self.rested = False

    @property
    def mesh(self) -> Mesh:
        assert isinstance(self.node.companion, Mesh)
        return self.node.companion

    def event(self, topic: str) -> Event:
        return Event(id=f"{self.prefix}:{next(self.numbers)}", topic=topic, body=PAYLOAD)

    async def connected(self, peers: str) -> str:
        while len(self.mesh.switchboard.lines) < int(peers):  # noqa: ASYNC110
            await anyio.sleep(0.05)
        return "connected"

    async def publish(self, topic: str, count: str, burst: str) -> str:
        size = int(burst)
        for number in range(int(count)):
            self.node.bus.publish(self.event(topic))
            if number % size == size - 1:
                await self._room()
        return "published"

    async def _room(self) -> None:
        """As much as a publisher gets that yields, and lets its outboxes drain as nats' publish does."""
        await asyncio.sleep(0)
        while any(line.outbox.waiting > 512 for line in self.mesh.switchboard.lines.values()):  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def expect(self, topic: str, count: str) -> str:
        wanted = int(count)
        async with self.node.bus.subscribe(topic, capacity=1_000_000, name="bench") as events:
            print("expecting", flush=True)
            await anext(events)
            began = time.perf_counter()
            got = 1
            while got < wanted:
                await anext(events)
                got += 1 + len(events.take(1_000_000))
            seconds = time.perf_counter() - began
        return f"received {got} {seconds}"

    async def echo(self) -> str:
        async with self.node.bus.subscribe("bench.ping", name="bench") as pings:
            print("echoing", flush=True)
            async for _ in pings:
                self.node.bus.publish(self.event("bench.pong"))
        return "ended"

    async def ping(self, count: str) -> str:
        return await self._ping(iter(range(int(count))))

    async def pinging(self) -> str:
        self.rested = False
        return await self._ping(iter(lambda: self.rested, True))

    async def enough(self) -> str:
        self.rested = True
        return "enough"

    async def _ping(self, turns: Iterator[object]) -> str:
        times = []
        async with self.node.bus.subscribe("bench.pong", name="bench") as pongs:
            for _ in turns:
                began = time.perf_counter()
                self.node.bus.publish(self.event("bench.ping"))
                await anext(pongs)
                times.append(time.perf_counter() - began)
        percentiles = statistics.quantiles(times, n=100)
        return f"pinged {percentiles[49]} {percentiles[98]}"

    async def forward(self, count: str) -> str:
        requester = self.mesh.forwarding.requester
        task = Task(name="si_chat", body=b"", message_id="m", principal=Principal(actor=local_owner()), timeout=30)
        while not self.mesh.switchboard.dialed_of("agent"):  # noqa: ASYNC110
            await anyio.sleep(0.05)
        times = []
        for _ in range(int(count)):
            began = time.perf_counter()
            async with aclosing(requester.ask(task, ("agent",))) as answers:
                async for frame, _ in answers:
                    assert frame.name == "si_chat_result"
            times.append(time.perf_counter() - began)
        return f"forwarded {statistics.median(times)}"

    async def caught_up(self, count: str) -> str:
        while self.tally.count < int(count):  # noqa: ASYNC110
            await anyio.sleep(0.01)
        return f"caught {self.tally.last - self.tally.first}"


async def main(node_type: str) -> None:
    settings = load_settings()
    configure_logging(settings)
    tally = Tally()
    async with open_node(settings, roles=[role(node_type, tally)]) as node, anyio.create_task_group() as tasks:
        driver = Driver(node, tally)

        async def obey(words: list[str]) -> None:
            print(await getattr(driver, words[0])(*words[1:]), flush=True)

        print("ready", node.server.grpc_address, flush=True)
        while line := await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            tasks.start_soon(obey, line.split())
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    # As `memql run` does.
    anyio.run(main, sys.argv[1], backend_options={"use_uvloop": find_spec("uvloop") is not None})
