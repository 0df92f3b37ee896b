"""Hubs replaced one after the other while clients hold streams to them through a balancer: nobody notices."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskStatus
from fleet import QUICK, Fleet, fleet
from network import Balancer, balancer
from tally import show

from memql.client import Client, connect
from memql.errors import MemqlError

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

CLIENTS = 200
EVENTS = 80
"""Written at least, and all the while that hubs are replaced."""

WRITES_EVERY = 0.05
ASKS_EVERY = 2.0
PROBED_EVERY = 0.5
"""Seconds between looks at the health of the hubs: so long may the balancer send clients to one that drains."""
STOPPING = {"MEMQL_SHUTDOWN_DRAIN_DELAY": "2s", "MEMQL_SHUTDOWN_BUDGET": "10s"}

_INSERT = 'insert("v1:cognition:utterance", id=$id, payload={text: "x"})'


@dataclass
class Held:
    """What one client saw over its stream."""

    events: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    lost: int = 0
    failed: list[str] = field(default_factory=list)
    answered: int = 0
    nodes: set[str] = field(default_factory=set)


async def hold(address: str, held: Held, *, task_status: TaskStatus[None]) -> None:
    """Hold a stream with a subscription, and ask something over it now and then."""
    async with connect(address) as client, anyio.create_task_group() as tasks:

        @client.on_reconnect
        def dropped() -> None:
            held.lost += 1

        async with client.subscribe("v1:cognition:utterance", ["created"]) as events:
            tasks.start_soon(ask, client, held)
            task_status.started()
            async for event in events:
                held.events[event.payload["nodeId"]] += 1
                held.gaps += event.gap_before


async def ask(client: Client, held: Held) -> None:
    while True:
        try:
            await client.execute("count v1:cognition:utterance", timeout=10)
            held.answered += 1
            held.nodes.add(client.server.node_id)
        except MemqlError as error:
            held.failed.append(str(error))
        await anyio.sleep(ASKS_EVERY)


async def keep_writing(nodes: Fleet, written: list[str], enough: anyio.Event) -> None:
    """Write until it is enough; every write that was begun is acknowledged."""
    async with nodes.client("cognition-1") as client:
        while not enough.is_set():
            name = f"u{len(written)}"
            await client.execute(_INSERT, {"id": name})
            written.append(f"v1:cognition:utterance:{name}")
            await anyio.sleep(WRITES_EVERY)


async def probe(nodes: Fleet, balanced: Balancer) -> None:
    """Keep the balancer to the hubs that are healthy, as an orchestrator does."""
    while True:
        hubs = [node for node in nodes.nodes.values() if node.type == "bff"]
        balanced.servers = [node.grpc for node in hubs if (await nodes.get(node, "/healthz"))[0] == 200]
        await anyio.sleep(PROBED_EVERY)


@dataclass
class Drain:
    """The end of a hub: its streams before, and what its health said meanwhile."""

    hub: str
    successor: str
    streams: int = 0
    refused_probes: int = 0
    fewest_streams: int = 0
    seconds: float = 0.0


async def streams(nodes: Fleet, hub: str) -> tuple[int, int]:
    """The status of a hub's health, and how many streams it counts."""
    status, said = await nodes.get(nodes.nodes[hub], "/healthz")
    return status, said["activeStreams"] if status else 0


async def look_on(nodes: Fleet, drain: Drain) -> None:
    """See a hub tell probes to go elsewhere, and its streams become fewer."""
    drain.fewest_streams = drain.streams
    while True:
        status, left = await streams(nodes, drain.hub)
        if status == 503:
            drain.refused_probes += 1
            drain.fewest_streams = min(drain.fewest_streams, left)
        await anyio.sleep(0.1)


async def replace_hub(nodes: Fleet, old: str, new: str) -> Drain:
    """Have a hub drain, and start its successor meanwhile."""
    began = anyio.current_time()
    drain = Drain(old, new, streams=(await streams(nodes, old))[1])
    nodes.signal(old, signal.SIGTERM)
    async with anyio.create_task_group() as watching:
        watching.start_soon(look_on, nodes, drain)
        await nodes.start(new, **QUICK, **STOPPING)
        await nodes.ready(new)
        await nodes.gone(old)
        watching.cancel_scope.cancel()
    drain.seconds = anyio.current_time() - began
    return drain


async def test_two_hubs_are_replaced_under_two_hundred_held_streams(dsn: str, tmp_path: Path) -> None:
    every = [Held() for _ in range(CLIENTS)]
    written: list[str] = []
    drains: list[Drain] = []
    async with fleet(dsn, tmp_path) as nodes:
        for name in ("bff-1", "bff-2", "cognition-1"):
            await nodes.start(name, **QUICK, **STOPPING)
        await nodes.ready()
        hubs = [nodes.nodes[name].grpc for name in ("bff-1", "bff-2")]
        async with balancer(*hubs) as balanced, anyio.create_task_group() as running:
            running.start_soon(probe, nodes, balanced)
            for held in every:
                await running.start(hold, balanced.address, held)
            async with anyio.create_task_group() as writing:
                enough = anyio.Event()
                writing.start_soon(keep_writing, nodes, written, enough)
                await anyio.sleep(1)
                drains.append(await replace_hub(nodes, "bff-1", "bff-3"))
                drains.append(await replace_hub(nodes, "bff-2", "bff-4"))
                while len(written) < EVENTS:  # noqa: ASYNC110  another task
                    await anyio.sleep(0.1)
                enough.set()
            with anyio.move_on_after(30):
                while any(set(written) - held.events.keys() for held in every):  # noqa: ASYNC110  other tasks
                    await anyio.sleep(0.1)
            running.cancel_scope.cancel()
    wanted = set(written)
    show("hubs that drained", [vars(drain) for drain in drains])
    show(
        f"{CLIENTS} streams over {len(written)} events",
        [
            {
                "missed": sum(len(wanted - held.events.keys()) for held in every),
                "repeated": sum(count > 1 for held in every for count in held.events.values()),
                "gaps": sum(held.gaps for held in every),
                "streams dropped": sum(held.lost for held in every),
                "requests answered": sum(held.answered for held in every),
                "failed": sum(len(held.failed) for held in every),
            }
        ],
    )
    # A hub that is there sooner takes all of them.
    assert {name for held in every for name in held.nodes} & {"bff-3", "bff-4"}
    assert all(drain.streams and drain.refused_probes for drain in drains)
    # How many the last probe saw that was answered is for the machine to say.
    assert all(drain.fewest_streams < drain.streams for drain in drains)
    for held in every:
        assert held.events == Counter(written)
        assert (held.gaps, held.lost, held.failed) == (0, 0, [])
