"""A request that a hub has an agent answer, with an empty handler, there and back; against a bare grpc.aio stream."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.driven import driven, mesh_nodes
from benchmarks.harness import Row, middle
from benchmarks.process import free_port
from benchmarks.system import migrated_server

REQUESTS = 2_000
ROUNDS = 7


async def run() -> list[Row]:
    """Ask by turns."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder, ExitStack() as stack:
        async with migrated_server(Path(folder)) as server:
            hub, agent = stack.enter_context(mesh_nodes(server.dsn, Path(folder), "bff", "agent"))
            echo = stack.enter_context(driven("benchmarks.raw_echo", "server", address))
            await echo.hear("ready")
            raw = stack.enter_context(driven("benchmarks.raw_echo", "client", address))
            for one in (hub, agent, raw):
                await one.hear("ready")
            await hub.ask("connected 1", "connected")
            await hub.ask(f"forward {REQUESTS}", "forwarded")
            found: list[tuple[float, float]] = []
            for _ in range(ROUNDS):
                (ours,) = await hub.ask(f"forward {REQUESTS}", "forwarded")
                (baseline,) = await raw.ask(f"ping {REQUESTS}", "pinged")
                found.append((float(ours), float(baseline)))
            ours_seconds, baseline_seconds = middle(found)
    return [
        Row(
            what="SI forward, there and back, p50, empty handler",
            against="grpc.aio stream, ping-pong",
            ours=ours_seconds * 1e6,
            baseline=baseline_seconds * 1e6,
            unit="µs",
            limit=2.0,
        )
    ]
