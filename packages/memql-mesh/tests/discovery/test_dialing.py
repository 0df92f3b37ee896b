"""Which dialers a node keeps, and when they are told to hurry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest

from memql.mesh.discovery.dialing import Dialing
from memql.mesh.discovery.topology import NodeRow
from memql.mesh.options import Options
from memql.mesh.peers import Card

pytestmark = pytest.mark.anyio

AGENT = NodeRow(id="agent-1", type="agent", address="10.0.0.1:1", health="healthy", age=0, incarnation="1")
QUICK = Options(reconcile_quiet=0.01, backoff_first=0.01)


class Waiting:
    """A dialer that dials nobody."""

    state = "waiting"
    failures = 0
    peer_id = ""

    def __init__(self) -> None:
        self.hurried = 0
        self.scope = anyio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            await anyio.sleep_forever()

    def hurry(self) -> None:
        self.hurried += 1


class Cluster:
    """Rows as the database would give them, and the dialing of a bff among them."""

    def __init__(self, *rows: NodeRow) -> None:
        self.rows: Sequence[NodeRow] = rows
        self.reads = 0
        self.made: dict[str, Waiting] = {}
        own = Card(id="bff-1", type="bff", address="10.0.0.9:1")
        self.dialing = Dialing(own, (), "", self._read, self._make, QUICK)

    async def _read(self) -> Sequence[NodeRow]:
        self.reads += 1
        return self.rows

    def _make(self, address: str, server_name: str) -> Any:
        self.made[address] = Waiting()
        return self.made[address]

    async def look(self) -> None:
        """Have it look at the rows twice."""
        before = self.reads
        with anyio.fail_after(10):
            while self.reads < before + 2:
                self.dialing.look_again()
                await anyio.sleep(0.005)


async def test_a_node_that_has_started_again_is_dialed_now_once_it_can_answer() -> None:
    cluster = Cluster(AGENT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.dialing.run)
        await cluster.look()
        dialer = cluster.made[AGENT.address]
        known = dialer.hurried
        await cluster.look()
        assert dialer.hurried == known
        cluster.rows = [replace(AGENT, incarnation="2", health="connecting")]
        await cluster.look()
        assert dialer.hurried == known
        cluster.rows = [replace(AGENT, incarnation="2")]
        await cluster.look()
        assert dialer.hurried == known + 1
        tasks.cancel_scope.cancel()


async def test_a_node_that_is_gone_is_dialed_no_more() -> None:
    cluster = Cluster(AGENT)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.dialing.run)
        await cluster.look()
        assert list(cluster.dialing.dialers) == [AGENT.address]
        cluster.rows = [replace(AGENT, health="stopped")]
        await cluster.look()
        assert not cluster.dialing.dialers
        assert cluster.made[AGENT.address].scope.cancel_called
        tasks.cancel_scope.cancel()
