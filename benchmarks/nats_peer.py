"""A NATS client in a process of its own, the baseline of the bridge; it takes the orders of benchmarks.mesh_node."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.mesh_node import PAYLOAD

ROOM = 64 * 1024 * 1024


class Peer:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def publish(self, topic: str, count: str, burst: str) -> str:
        for _ in range(int(count)):
            await self.client.publish(topic, PAYLOAD)
        await self.client.flush(60)
        return "published"

    async def expect(self, topic: str, count: str) -> str:
        wanted, got, began = int(count), 0, 0.0
        done = asyncio.Event()

        async def take(message: Msg) -> None:
            nonlocal got, began
            got += 1
            if got == 1:
                began = time.perf_counter()
            if got == wanted:
                done.set()

        subscription = await self.client.subscribe(
            topic, cb=take, pending_msgs_limit=10_000_000, pending_bytes_limit=10_000_000_000
        )
        await self.client.flush()
        print("expecting", flush=True)
        await done.wait()
        seconds = time.perf_counter() - began
        await subscription.unsubscribe()
        return f"received {got} {seconds}"

    async def ping(self, count: str) -> str:
        times: list[float] = []
        pongs: asyncio.Queue[Msg] = asyncio.Queue()
        await self.client.subscribe("bench.pong", cb=pongs.put)
        await self.client.flush()
        for _ in range(int(count)):
            began = time.perf_counter()
            await self.client.publish("bench.ping", PAYLOAD)
            await pongs.get()
            times.append(time.perf_counter() - began)
        return f"pinged {statistics.median(times)} 0"

    async def echo(self) -> str:
        async def back(message: Msg) -> None:
            await self.client.publish("bench.pong", message.data)

        await self.client.subscribe("bench.ping", cb=back)
        await self.client.flush()
        return "echoing"


async def main(url: str) -> None:
    client = await nats.connect(url, pending_size=ROOM)
    peer = Peer(client)
    print("ready", flush=True)
    orders: set[asyncio.Task[None]] = set()

    async def obey(words: list[str]) -> None:
        print(await getattr(peer, words[0])(*words[1:]), flush=True)

    while line := await asyncio.to_thread(sys.stdin.readline):
        orders.add(asyncio.create_task(obey(line.split())))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
