"""A thousand idle streams on one process: memory each, against a raw grpc.aio stream."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc

from benchmarks.harness import Row
from benchmarks.process import free_port, node, resident
from benchmarks.system import TREE
from memql.wire.protobuf import bytes_field, text_field

STREAMS = 1000
CHANNELS = 10
HELLO = text_field(1, "1") + bytes_field(10, text_field(1, "benchmark"))
"""A MemqlClientMessage with a message id and a client_hello."""

RAW_SERVER = """
import asyncio, sys, grpc
async def stream(requests, context):
    async for request in requests:
        yield request
async def main():
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("raw.Echo", {"Stream": handler}),))
    server.add_insecure_port(sys.argv[1])
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()
asyncio.run(main())
"""


async def run() -> list[Row]:
    """Open the streams, exchange one message on each, and look at what the server holds."""
    with tempfile.TemporaryDirectory(prefix="memql-bench-") as folder, node(Path(folder), TREE) as running:
        ours = await _per_stream(running.grpc, "/znasllc.memql.v1.MemqlService/Stream", HELLO, running.process.pid)
    address = f"127.0.0.1:{free_port()}"
    raw = subprocess.Popen([sys.executable, "-c", RAW_SERVER, address], stdout=subprocess.PIPE)
    try:
        assert raw.stdout is not None
        raw.stdout.readline()
        baseline = await _per_stream(address, "/raw.Echo/Stream", HELLO, raw.pid)
    finally:
        raw.terminate()
        raw.wait(10)
    return [
        Row(
            what="1,000 idle streams, memory each",
            against="a raw grpc.aio stream",
            ours=ours / 1024,
            baseline=baseline / 1024,
            unit="KiB",
            limit=1.5,
        )
    ]


async def _per_stream(address: str, method: str, first: bytes, pid: int) -> float:
    """Bytes a server process grew by per stream."""
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(CHANNELS)
    ]
    open_streams: list[object] = []
    try:
        await _open(channels[0], method, first, open_streams)
        before = resident(pid)
        for number in range(STREAMS):
            await _open(channels[number % CHANNELS], method, first, open_streams)
        await asyncio.sleep(1)  # let the server's allocator settle; nothing is awaited that could tell
        return (resident(pid) - before) / STREAMS
    finally:
        for channel in channels:
            await channel.close()


async def _open(channel: grpc.aio.Channel, method: str, first: bytes, keep: list[object]) -> None:
    call = channel.stream_stream(method)()
    await call.write(first)
    await call.read()
    keep.append(call)
