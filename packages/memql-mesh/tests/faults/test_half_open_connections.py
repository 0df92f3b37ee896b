"""Connections that say nothing, ten thousand at a time, cost a node little and are let go."""

from __future__ import annotations

import resource
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from fleet import Fleet, FleetNode, fleet
from tally import show
from vitals import check_it_lives, memory, sockets

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
    pytest.mark.skipif(
        resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 12_000, reason="needs 12,000 open files (ulimit -Hn)"
    ),
]

EACH = 2500
"""Connections of each of four kinds: silent, and with the first bytes of HTTP/2, to each of two listeners."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
KILOBYTES_EACH = 24
"""What such a connection may take, over two waves of them: gRPC takes 12 to 14 for its transport, of which 8 are the
buffer it reads into, and the allocator keeps the pieces of the first wave in several places."""

OTHERS = 50
"""Connections of the node's own that may come about meanwhile: to the database, and to its peer."""

SILENCE_ENDS = 20.0
"""Seconds until a silent connection is let go, and what a busy machine adds to the ten that are set."""


@pytest.fixture
async def nodes(dsn: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(dsn, tmp_path) as opened:
        await opened.start("bff-1")
        await opened.start("agent-1")
        await opened.ready()
        await opened.whole()
        yield opened


@contextmanager
def many_files() -> Iterator[None]:
    """Let this process hold as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_all(node: FleetNode) -> list[socket.socket]:
    """Connections of all four kinds."""
    opened: list[socket.socket] = []
    for address in (node.service, node.grpc):
        host, _, port = address.rpartition(":")
        for first in (b"", PREFACE):
            for _ in range(EACH):
                one = socket.create_connection((host, int(port)), timeout=10)
                # Reset when closed: a port of ours must not wait for a minute.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.sendall(first)
                opened.append(one)
    return opened


async def test_ten_thousand_connections_that_say_nothing_cost_little_and_are_let_go(nodes: Fleet) -> None:
    node = nodes.nodes["bff-1"]
    pid, files = node.pid, sockets(node)
    waves: list[dict[str, object]] = []
    before = at_first = memory(node)
    with many_files():
        for wave in range(2):
            opened = await anyio.to_thread.run_sync(open_all, node)
            began = anyio.current_time()
            assert (await nodes.get(node, "/healthz"))[0] == 200
            answered = anyio.current_time() - began
            held = memory(node)
            with anyio.fail_after(SILENCE_ENDS):
                while sockets(node) - files > 2 * EACH + OTHERS:  # noqa: ASYNC110  another process
                    await anyio.sleep(0.2)
            ended = anyio.current_time() - began
            await check_it_lives(nodes, "bff-1", pid)
            for one in opened:
                one.close()
            waves.append(
                {
                    "wave": wave + 1,
                    "connections": len(opened),
                    "MB before": at_first,
                    "MB with them": held,
                    "KB each": (held - at_first) * 1024 / len(opened),
                    "probe answered after": answered,
                    "silent ones gone after": ended,
                }
            )
            at_first = memory(node)
    show("half-open connections", waves)
    assert all(row["connections"] == 4 * EACH for row in waves)
    assert memory(node) - before < KILOBYTES_EACH * 4 * EACH / 1024
