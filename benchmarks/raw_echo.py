"""One stream of grpc.aio without anything around it: the baseline of what goes over streams.

``server ADDRESS`` echoes whatever comes; ``client ADDRESS`` takes ``ping N`` and says ``pinged P50``, in seconds.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

METHOD = "/raw.Echo/Stream"
MESSAGE = b"b" * 300
"""About as large as the envelopes of an empty request and its answer."""


async def _echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def server(address: str) -> None:
    """Serve until killed."""
    running = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(_echo)
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("raw.Echo", {"Stream": handler}),))
    running.add_insecure_port(address)
    await running.start()
    print("ready", flush=True)
    await running.wait_for_termination()


async def client(address: str) -> None:
    """Ping as often as told."""
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(METHOD)()
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            times = []
            for _ in range(int(line.split()[1])):
                began = time.perf_counter()
                await call.write(MESSAGE)
                await call.read()
                times.append(time.perf_counter() - began)
            print(f"pinged {statistics.median(times)}", flush=True)


if __name__ == "__main__":
    asyncio.run({"server": server, "client": client}[sys.argv[1]](sys.argv[2]))
