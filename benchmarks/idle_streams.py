"""Idle streams of clients on the whole system in one process and on a hub: memory each, against grpc.aio alone."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import grpc

from benchmarks.driven import driven, mesh_nodes
from benchmarks.harness import Row
from benchmarks.process import free_port, node, resident
from benchmarks.raw_echo import METHOD as ECHO
from benchmarks.system import TREE, migrated_server
from memql.wire.protobuf import bytes_field, text_field

ALONE = 1_000
HELD = 5_000
CHANNELS = 10
METHOD = "/znasllc.memql.v1.MemqlService/Stream"
HELLO = text_field(1, "1") + bytes_field(10, text_field(1, "benchmark"))
"""A MemqlClientMessage with a message id and a client_hello."""


async def run() -> list[Row]:
    """Open the streams, exchange one message on each, and look at what the server holds."""
    return [
        _row("1,000 idle streams, memory each", await _alone(), await _raw(ALONE)),
        _row("5,000 held client streams on a bff, memory each", await _on_a_hub(), await _raw(HELD)),
    ]


def _row(what: str, ours: float, baseline: float) -> Row:
    against = "a raw grpc.aio stream"
    return Row(what=what, against=against, ours=ours / 1024, baseline=baseline / 1024, unit="KiB", limit=1.5)


async def _alone() -> float:
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder, node(Path(folder), TREE) as running:
        return await _per_stream(running.grpc, METHOD, running.process.pid, ALONE)


async def _on_a_hub() -> float:
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder:
        async with migrated_server(Path(folder)) as server:
            with mesh_nodes(server.dsn, Path(folder), "bff", "agent", MEMQL_DSL_PATH=str(TREE)) as (hub, agent):
                (address,) = await hub.hear("ready")
                await agent.hear("ready")
                await hub.ask("connected 1", "connected")
                return await _per_stream(address, METHOD, hub.pid, HELD)


async def _raw(streams: int) -> float:
    address = f"127.0.0.1:{free_port()}"
    with driven("benchmarks.raw_echo", "server", address) as raw:
        await raw.hear("ready")
        return await _per_stream(address, ECHO, raw.pid, streams)


async def _per_stream(address: str, method: str, pid: int, streams: int) -> float:
    """Bytes a server process grew by per stream."""
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(CHANNELS)
    ]
    open_streams: list[object] = []
    try:
        await _open(channels[0], method, open_streams)
        before = resident(pid)
        for number in range(streams):
            await _open(channels[number % CHANNELS], method, open_streams)
        await asyncio.sleep(1)  # let the server's allocator settle; nothing is awaited that could tell
        return (resident(pid) - before) / streams
    finally:
        for channel in channels:
            await channel.close()


async def _open(channel: grpc.aio.Channel, method: str, keep: list[object]) -> None:
    call = channel.stream_stream(method)()
    await call.write(HELLO)
    await call.read()
    keep.append(call)
