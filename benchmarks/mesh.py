"""The event bridge between two nodes and over a hub, against nats-py through a NATS server on the same machine.

Every node and every client is a process of its own. Dedup, routing and the durable delivery behind the bridge are on.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.driven import Driven, driven, mesh_nodes
from benchmarks.harness import Row, middle
from benchmarks.process import free_port
from benchmarks.system import migrated_server

EVENTS = 200_000
BURST = 256
PINGS = 2_000
ROUNDS = 5
# In the flood a hub must not drop what the node behind it takes more slowly than the one before it sends.
ROOM = {"MEMQL_MESH_OUTBOX_CAPACITY": str(EVENTS)}


async def run() -> list[Row]:
    """Flood and ping by turns, then the same over a hub."""
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder:
        async with migrated_server(Path(folder)) as server:
            rows = await _against_nats(server.dsn, Path(folder))
            return [*rows, await _over_a_hub(server.dsn, Path(folder))]


async def _against_nats(dsn: str, home: Path) -> list[Row]:
    with ExitStack() as stack:
        url = stack.enter_context(_nats_server())
        clients = [stack.enter_context(driven("benchmarks.nats_peer", url)) for _ in range(2)]
        nodes = stack.enter_context(mesh_nodes(dsn, home, "bff", "voice"))
        for one in (*clients, *nodes):
            await one.hear("ready")
        for one in nodes:
            await one.ask("connected 1", "connected")
        floods: list[tuple[float, float]] = []
        pings: list[tuple[float, float]] = []
        await nodes[1].ask("echo", "echoing")
        await clients[1].ask("echo", "echoing")
        for _ in range(ROUNDS):
            floods.append((await _flood(nodes[0], nodes[1]), await _flood(clients[0], clients[1])))
            pings.append((await _ping(nodes[0]), await _ping(clients[0])))
    rate, latency = middle(floods), middle(pings)
    return [
        Row(
            what="event bridge, one node to another, 450-byte events",
            against="nats-py through nats-server",
            ours=rate[0],
            baseline=rate[1],
            unit="events/s",
            limit=2.0,
            at_least=True,
        ),
        Row(
            what="event bridge, one way, p50, idle",
            against="nats-py through nats-server",
            ours=latency[0] * 5e5,
            baseline=latency[1] * 5e5,
            unit="µs",
            limit=1.2,
        ),
    ]


async def _over_a_hub(dsn: str, home: Path) -> Row:
    with mesh_nodes(dsn, home, "voice", "bff", "planner", **ROOM) as (first, hub, last):
        for one in (first, hub, last):
            await one.hear("ready")
        await hub.ask("connected 2", "connected")
        rates = [(await _flood(first, last), await _flood(first, hub, "bench.near")) for _ in range(ROUNDS)]
    two, one_hop = middle(rates)
    return Row(
        what="two hops, worker to hub to worker",
        against="one hop",
        ours=two,
        baseline=one_hop,
        unit="events/s",
        limit=0.45,
        at_least=True,
    )


async def _flood(sender: Driven, receiver: Driven, topic: str = "bench.flood") -> float:
    """Events a second, as the receiver sees them."""
    await receiver.ask(f"expect {topic} {EVENTS}", "expecting")
    sender.tell(f"publish {topic} {EVENTS} {BURST}")
    got, seconds, *_ = await receiver.hear("received")
    await sender.hear("published")
    return int(got) / float(seconds)


async def _ping(one: Driven) -> float:
    """Seconds there and back."""
    seconds, _ = await one.ask(f"ping {PINGS}", "pinged")
    return float(seconds)


@contextmanager
def _nats_server() -> Iterator[str]:
    program = shutil.which("nats-server")
    if program is None:
        raise SystemExit(
            "the baseline of this benchmark is nats-server; install it (Debian: apt-get install nats-server)"
        )
    port = free_port()
    process = subprocess.Popen([program, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        deadline = time.monotonic() + 10
        while "Server is ready" not in process.stderr.readline():
            assert time.monotonic() < deadline and process.poll() is None, "nats-server did not start"
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
