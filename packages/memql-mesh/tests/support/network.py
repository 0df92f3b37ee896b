"""The network between processes, as a test wants it: cables that can be cut, and a balancer before several servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketAttribute, SocketStream

__all__ = ["Balancer", "Cable", "balancer", "cable"]

_GONE = (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError)

Pass = Callable[[bytes], Awaitable[None]]
"""Called with every piece before it goes on."""


@dataclass
class Cable:
    """Carries TCP connections from an address of its own to another one.

    While it is cut, nothing goes through and nothing ends: bytes stay where they are, and whoever connects hears
    nothing, as when a switch between two machines loses power.
    """

    target: str
    address: str = ""
    carried: int = 0
    """Bytes that went through, both ways."""
    _whole: anyio.Event = field(default_factory=anyio.Event)

    def cut(self) -> None:
        """Carry nothing from now on."""
        self._whole = anyio.Event()

    def heal(self) -> None:
        """Carry again, what waits included."""
        self._whole.set()

    async def serve(self, near: SocketStream) -> None:
        """One connection."""
        async with near:
            await self._whole.wait()
            await _join(near, self.target, self._pass)

    async def _pass(self, data: bytes) -> None:
        await self._whole.wait()
        self.carried += len(data)


@asynccontextmanager
async def cable(target: str) -> AsyncIterator[Cable]:
    """A whole cable to an address."""
    opened = Cable(target)
    opened.heal()
    async with _listening(opened.serve) as opened.address:
        yield opened


@dataclass
class Balancer:
    """Spreads TCP connections over servers, each in its turn; a connection stays where it began."""

    servers: list[str]
    """Those that get connections now."""
    address: str = ""
    taken: Counter[str] = field(default_factory=Counter)
    """How many connections each server got."""

    async def serve(self, near: SocketStream) -> None:
        """One connection; closed at once while there is no server."""
        async with near:
            if self.servers:
                server = self.servers[self.taken.total() % len(self.servers)]
                self.taken[server] += 1
                await _join(near, server, _as_it_is)


@asynccontextmanager
async def balancer(*servers: str) -> AsyncIterator[Balancer]:
    """A balancer over these servers."""
    opened = Balancer(list(servers))
    async with _listening(opened.serve) as opened.address:
        yield opened


# --- sockets ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _listening(serve: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024) as listener,
        anyio.create_task_group() as tasks,
    ):
        port = listener.extra(SocketAttribute.local_port)
        tasks.start_soon(listener.serve, serve)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            tasks.cancel_scope.cancel()


async def _join(near: SocketStream, target: str, on_the_way: Pass) -> None:
    """Carry both ways until either side is done for."""
    host, _, port = target.rpartition(":")
    with suppress(*_GONE):
        async with await anyio.connect_tcp(host, int(port)) as far, anyio.create_task_group() as tasks:
            tasks.start_soon(_carry, near, far, on_the_way)
            await _carry(far, near, on_the_way)
            tasks.cancel_scope.cancel()


async def _carry(source: SocketStream, sink: SocketStream, on_the_way: Pass) -> None:
    try:
        async for piece in source:
            await on_the_way(piece)
            await sink.send(piece)
        await on_the_way(b"")
        await sink.send_eof()
    except _GONE:
        await on_the_way(b"")
        await sink.aclose()


async def _as_it_is(piece: bytes) -> None:
    return
