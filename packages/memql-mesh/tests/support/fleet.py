"""Nodes of a mesh as real processes that tests start, kill, cut off and ask; ``fleet_node.py`` is what runs in them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout
from anyio.abc import Process as ChildProcess
from anyio.streams.text import TextReceiveStream, TextSendStream
from mesh_nodes import TREE, environment

from memql.client import Client, connect
from memql.mesh.discovery.topology import dials

RUNS = f"{TREE}:{TREE.with_name('tree_runs')}"
"""``MEMQL_DSL_PATH`` of nodes that have automations."""

QUICK: Mapping[str, str] = {
    "MEMQL_MESH_HEARTBEAT_SECONDS": "1",
    "MEMQL_MESH_DEGRADED_SECONDS": "3",
    "MEMQL_MESH_OFFLINE_SECONDS": "5",
    "MEMQL_NODE_RECONCILE_INTERVAL_SECONDS": "1",
    "MEMQL_NODE_RECONCILE_GRACE_SECONDS": "4",
}
"""Settings of nodes that find out five times as fast as by default who is gone."""

_PORTS = (15_000, 32_000)
_given: set[int] = set()
_NODE = Path(__file__).with_name("fleet_node.py")


@dataclass
class FleetNode:
    """One node: where it listens, and what it wrote down."""

    id: str
    type: str
    grpc: str
    http: str
    service: str
    home: Path
    env: dict[str, str] = field(default_factory=dict)
    pid: int = 0

    @property
    def log(self) -> Path:
        """What its processes wrote to their outputs."""
        return self.home / f"{self.id}.log"

    def file(self, what: str) -> Path:
        """One of the files that its processes write for the test: ``seen``, ``runs`` or ``view``."""
        return self.home / f"{self.id}.{what}"

    def sightings(self, topic: str) -> dict[str, Counter[str]]:
        """By incarnation, how often it saw each event of a topic."""
        found: dict[str, Counter[str]] = {}
        for life, event_id, what in self._lines("seen"):
            if what == topic:
                found.setdefault(life, Counter())[event_id] += 1
        return found

    def runs(self, automation: str) -> Counter[str]:
        """How often it ran an automation, by what about."""
        return Counter(about for _, what, about in self._lines("runs") if what == automation)

    def view(self) -> dict[str, Any]:
        """How it sees the others; empty before it is ready for the first time."""
        path = self.file("view")
        return dict(msgspec.json.decode(path.read_bytes())) if path.exists() else {}

    def _lines(self, what: str) -> Iterator[list[str]]:
        path = self.file(what)
        for line in path.read_text().splitlines() if path.exists() else ():
            parts = line.split(" ")
            # A process that is killed may leave half a line.
            if len(parts) == 3:
                yield parts

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
    _ordering: anyio.Lock = field(default_factory=anyio.Lock)

    def add(self, node_id: str, **more: str) -> FleetNode:
        """Make a node known, so that others can be told where it will be; its type is the id up to the dash."""
        grpc, http, service = (f"127.0.0.1:{free_port()}" for _ in range(3))
        node = FleetNode(node_id, node_id.partition("-")[0], grpc, http, service, self.home)
        node.env = {
            **environment(self.dsn, node_id, self.home),
            "MEMQL_NODE_TYPE": node.type,
            "MEMQL_GRPC_ADDRESS": node.grpc,
            "SERVER_ADDRESS": node.http,
            "MEMQL_NODE_SERVICE_ADDRESS": node.service,
            "MEMORY_NODES_DATABASE_MIGRATE_ON_START": "false",
            **{f"FLEET_{what.upper()}": str(node.file(what)) for what in ("seen", "runs", "view")},
            **more,
        }
        self.nodes[node_id] = node
        return node

    def detour(self, node_id: str, address: str, way: str) -> None:
        """Have a node dial an address by way of another one."""
        node = self.nodes[node_id]
        ways = json.loads(node.env.get("FLEET_DIAL", "{}"))
        node.env["FLEET_DIAL"] = json.dumps({**ways, address: way})

    async def start(self, node_id: str, **more: str) -> FleetNode:
        """Start a node, as it was added or as it is known from its last life. Returns at once."""
        node = self.nodes.get(node_id) or self.add(node_id, **more)
        node.file("view").unlink(missing_ok=True)
        assert self.parent.stdin is not None
        order = {"log": str(node.log), "env": dict(node.env)}
        async with self._ordering:
            await TextSendStream(self.parent.stdin).send(json.dumps(order) + "\n")
            node.pid = int(await self.line())
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

    async def whole(self, *node_ids: str, seconds: float = 60) -> float:
        """Wait until each of these nodes, or all, sees every other one healthy and has the streams that it shall have;
        gives how many seconds that took."""
        began = anyio.current_time()
        names = node_ids or tuple(self.nodes)
        try:
            with anyio.fail_after(seconds):
                while self.rifts(*names):  # noqa: ASYNC110  other processes
                    await anyio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"after {seconds:g} s: {'; '.join(self.rifts(*names))}") from None
        return anyio.current_time() - began

    def rifts(self, *node_ids: str) -> list[str]:
        """What keeps these nodes from being one whole: who does not see whom, or has no stream to whom."""
        views = {node_id: self.nodes[node_id].view() for node_id in node_ids}
        return [
            f"{one} and {other}: {rift}"
            for one in node_ids
            for other in node_ids
            if one != other and (rift := _rift(one, views[one], other, views[other]))
        ]

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
        """The sum of a metric's samples, or one of them when its labels are given too."""
        status, text = await self.get(node, "/metrics")
        assert status == 200, f"{node.id} tells no metrics"
        lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def signal(self, node_id: str, number: signal.Signals) -> None:
        """Signal a node's process; one that is gone already, or was never started, stays so."""
        pid = self.nodes[node_id].pid
        # To a system call, 0 is everybody: this process and its relatives.
        if pid > 0:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

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


def _rift(own_id: str, own: Mapping[str, Any], other_id: str, other: Mapping[str, Any]) -> str:
    if not own or not other:
        return "not there"
    own_type, other_type = (node_id.partition("-")[0] for node_id in (own_id, other_id))
    peer = own["peers"].get(other_id)
    if peer is None or peer["health"] != "HEALTHY":
        return "unknown" if peer is None else str(peer["health"])
    if peer["observed"] and peer["life"] != other["life"]:
        return "only its former life is known"
    if dials(own_type, own_id, other_type, other_id) and other_id not in own["dialed"]:
        return "no stream"
    return ""


def free_port() -> int:
    """A port of this machine that nobody listens on now, and that no connection takes while its node is down: the
    system chooses those above."""
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


@asynccontextmanager
async def fleet(dsn: str, home: Path) -> AsyncIterator[Fleet]:
    """A fleet, and the end of everything it started."""
    with (home / "fleet.log").open("wb") as errors:
        async with await anyio.open_process([sys.executable, str(_NODE)], stderr=errors) as parent:
            opened = Fleet(dsn, home, parent)
            try:
                with anyio.fail_after(60):
                    assert await opened.line() == "ready"
                yield opened
            finally:
                for node_id in opened.nodes:
                    opened.kill(node_id)
                parent.kill()
