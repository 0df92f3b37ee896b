"""What a node's process holds, and whether it is as well as before, whatever was done to it."""

from __future__ import annotations

import resource
from pathlib import Path

from fleet import Fleet, FleetNode

__all__ = ["check_it_lives", "memory", "sockets"]


def memory(node: FleetNode) -> float:
    """Megabytes that a node's process holds."""
    pages = int(Path(f"/proc/{node.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def sockets(node: FleetNode) -> int:
    """Open files of a node's process, nearly all of them sockets."""
    return sum(1 for _ in Path(f"/proc/{node.pid}/fd").iterdir())


async def check_it_lives(nodes: Fleet, node_id: str, pid: int) -> None:
    """The same process answers probes and clients and takes peers, and nothing went wrong that it did not expect."""
    node = nodes.nodes[node_id]
    assert node.pid == pid
    assert (await nodes.get(node, "/healthz"))[0] == 200
    async with nodes.client(node_id) as client, client.subscribe("v1:cognition:utterance", ["created"]) as events:
        await client.execute('insert("v1:cognition:utterance", payload={text: "hello"})', timeout=10)
        assert (await events.next(10)).payload["payload"]["text"] == "hello"
    nodes.kill("agent-1")
    await nodes.gone("agent-1")
    await nodes.start("agent-1")
    await nodes.whole(node_id, "agent-1", seconds=60)
    log = node.log.read_text()
    assert "Traceback" not in log, log[-3000:]
