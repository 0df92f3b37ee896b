"""Nodes of a mesh as real processes that tests kill: a parent that has imported everything forks one in milliseconds.

Run as ``fleet.py``; each line ``{"log": PATH, "env": {...}}`` on its input forks a node and prints its pid. A node
plays the role of its ``MEMQL_NODE_TYPE`` and writes down every event that its bus published: ``FLEET_SEEN`` names the
file, one line ``incarnation event-id topic`` each.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import anyio
import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from anyio.abc import Process as ChildProcess
from anyio.streams.text import TextReceiveStream, TextSendStream
from mesh_nodes import environment

from memql.client import Client, connect
from memql.config import load_settings
from memql.events import Event
from memql.mesh.mesh import Mesh
from memql.node import Node, run_node


async def _live() -> None:
    from memql.cli.logs import configure_logging

    settings = load_settings()
    configure_logging(settings)
    with Path(os.environ["FLEET_SEEN"]).open("a", buffering=1) as seen, ExitStack() as stack:  # noqa: ASYNC230
        await run_node(settings, ready=partial(_observe, seen, stack))


async def _observe(seen: TextIO, stack: ExitStack, node: Node) -> None:
    """Write down what the bus of the node publishes."""
    mesh = node.companion
    life = mesh.incarnation if isinstance(mesh, Mesh) else "none"

    def note(event: Event) -> None:
        if not event.demanded:
            seen.write(f"{life} {event.id} {event.topic}\n")

    stack.enter_context(node.bus.tap(note))


def _main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    import memql.mesh.mesh
    import memql.server.server  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
        print(pid, flush=True)


def _become(order: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(order["env"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(0)
    code = 1
    try:
        anyio.run(_live)
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


@dataclass
class FleetNode:
    """One node: where it listens, and what it wrote down."""

    id: str
    type: str
    grpc: str
    http: str
    service: str
    log: Path
    seen: Path
    env: Mapping[str, str]
    pid: int = 0

    def sightings(self, topic: str) -> dict[str, Counter[str]]:
        """By incarnation, how often it saw each event of a topic."""
        found: dict[str, Counter[str]] = {}
        if not self.seen.exists():
            return found
        for line in self.seen.read_text().splitlines():
            parts = line.split(" ")
            # A process that is killed may leave half a line.
            if len(parts) == 3 and parts[2] == topic:
                found.setdefault(parts[0], Counter())[parts[1]] += 1
        return found

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 0)
            return self.pid > 0
        return False


@dataclass
class Fleet:
    """Starts, kills and asks nodes over one database."""

    dsn: str
    home: Path
    parent: ChildProcess
    nodes: dict[str, FleetNode] = field(default_factory=dict)
    rest: str = ""

    async def start(self, node_id: str, **more: str) -> FleetNode:
        """Start a node; its type is the id up to the dash. Returns at once."""
        node = self.nodes.get(node_id) or self._new(node_id, more)
        assert self.parent.stdin is not None
        order = {"log": str(node.log), "env": dict(node.env)}
        await TextSendStream(self.parent.stdin).send(json.dumps(order) + "\n")
        node.pid = int(await self.line())
        return node

    def _new(self, node_id: str, more: Mapping[str, str]) -> FleetNode:
        kind = node_id.partition("-")[0]
        ports = [f"127.0.0.1:{_free_port()}" for _ in range(3)]
        node = FleetNode(
            id=node_id,
            type=kind,
            grpc=ports[0],
            http=ports[1],
            service=ports[2],
            log=self.home / f"{node_id}.log",
            seen=self.home / f"{node_id}.seen",
            env={},
        )
        node.env = {
            **environment(self.dsn, node_id, self.home),
            "MEMQL_NODE_TYPE": kind,
            "MEMQL_GRPC_ADDRESS": node.grpc,
            "SERVER_ADDRESS": node.http,
            "MEMQL_NODE_SERVICE_ADDRESS": node.service,
            "MEMORY_NODES_DATABASE_MIGRATE_ON_START": "false",
            "FLEET_SEEN": str(node.seen),
            **more,
        }
        self.nodes[node_id] = node
        return node

    async def ready(self, *node_ids: str, seconds: float = 60) -> None:
        """Wait until these nodes, or all, say that they are ready."""
        async with anyio.create_task_group() as group:
            for node_id in node_ids or tuple(self.nodes):
                group.start_soon(self._ready, self.nodes[node_id], seconds)

    async def _ready(self, node: FleetNode, seconds: float) -> None:
        try:
            with anyio.fail_after(seconds):
                while (await self.get(node, "/readyz"))[0] != 200:  # noqa: ASYNC110  another process
                    await anyio.sleep(0.05)
        except TimeoutError:
            status = await self.get(node, "/readyz")
            raise AssertionError(f"{node.id} is not ready: {status}\n{node.log.read_text()[-3000:]}") from None

    async def get(self, node: FleetNode, path: str) -> tuple[int, Any]:
        """An HTTP answer of a node; status 0 while it does not answer."""
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=5)) as http,
                http.get(f"http://{node.http}{path}") as response,
            ):
                body = await response.read()
                return response.status, msgspec.json.decode(body) if path != "/metrics" else body.decode()
        except (ClientError, TimeoutError, OSError):
            return 0, None

    async def metric(self, node: FleetNode, name: str) -> float:
        """The sum of a metric's samples."""
        _, text = await self.get(node, "/metrics")
        lines = [line for line in (text or "").splitlines() if line.startswith((name + " ", name + "{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def signal(self, node_id: str, number: signal.Signals) -> None:
        """Signal a node's process; one that is gone already stays so."""
        with suppress(ProcessLookupError):
            os.kill(self.nodes[node_id].pid, number)

    def kill(self, node_id: str) -> None:
        """kill -9."""
        self.signal(node_id, signal.SIGKILL)

    async def gone(self, node_id: str, seconds: float = 30) -> None:
        """Wait until a node's process has ended."""
        with anyio.fail_after(seconds):
            while self.nodes[node_id].alive:  # noqa: ASYNC110  another process
                await anyio.sleep(0.02)

    @asynccontextmanager
    async def client(self, node_id: str) -> AsyncIterator[Client]:
        """A client of a node."""
        async with connect(self.nodes[node_id].grpc) as client:
            yield client

    async def line(self) -> str:
        """The next line of the parent."""
        assert self.parent.stdout is not None
        while "\n" not in self.rest:
            self.rest += await TextReceiveStream(self.parent.stdout).receive()
        line, _, self.rest = self.rest.partition("\n")
        return line


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def fleet(dsn: str, home: Path) -> AsyncIterator[Fleet]:
    """A fleet, and the end of everything it started."""
    with (home / "fleet.log").open("wb") as errors:
        async with await anyio.open_process([sys.executable, __file__], stderr=errors) as parent:
            opened = Fleet(dsn, home, parent)
            try:
                with anyio.fail_after(60):
                    assert await opened.line() == "ready"
                yield opened
            finally:
                for node_id in opened.nodes:
                    opened.kill(node_id)
                parent.kill()


if __name__ == "__main__":
    _main()
