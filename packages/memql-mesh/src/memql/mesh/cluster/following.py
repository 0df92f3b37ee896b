"""Watching what becomes of a node that was told to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import anyio

from memql.errors import Code, MemqlError
from memql.mesh.cluster.connecting import wait_connected
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.probing import open_prober
from memql.mesh.cluster.state import NodeState, read_state

__all__ = ["follow_succession"]

_LOOK_SECONDS: Final = 0.1


def follow_succession(place: Place, leaving: NodeState, timeout: float, tell: Callable[[str], None]) -> None:
    """Return when the successor of a process is ready and the nodes that are ready are connected; tell of each step.

    :param leaving: the node as it was when it was told to end.
    :raises MemqlError: ``TIMEOUT`` with how far it has come; ``FAILED_PRECONDITION`` when the cluster is stopped
        meanwhile, or its supervisor dies.
    """
    began = time.monotonic()
    steps = _Steps(leaving, began, tell)
    while time.monotonic() < began + timeout:
        node = _now(place, leaving.id)
        if steps.take(node):
            break
        time.sleep(_LOOK_SECONDS)
    else:
        raise MemqlError(
            Code.TIMEOUT, f"the successor of {leaving.id} is not ready after {timeout:g} s ({steps.phase})"
        )
    anyio.run(_follow_connecting, place, began + timeout)
    tell(f"all nodes that are ready are connected after {time.monotonic() - began:.1f} s")


async def _follow_connecting(place: Place, until: float) -> None:
    state = read_state(place)
    if state is None:
        return
    ready = [node for node in state.nodes if node.phase == "ready"]
    with anyio.move_on_after(max(0.0, until - time.monotonic())) as limit:
        async with open_prober(place, tls=state.tls) as prober:
            await wait_connected(prober, ready)
    if limit.cancelled_caught:
        raise MemqlError(Code.TIMEOUT, "the successor is ready, but not every node reaches those that it forwards to")


class _Steps:
    """What has been told of one succession."""

    def __init__(self, leaving: NodeState, began: float, tell: Callable[[str], None]) -> None:
        self.phase: str = leaving.phase
        self._leaving = leaving
        self._began = began
        self._tell = tell
        self._gone = self._followed = False

    def take(self, node: NodeState) -> bool:
        """Whether the succession is complete."""
        self.phase = node.phase
        if node.process == self._leaving.process:
            return False
        if not self._gone:
            self._gone = True
            self._tell(f"{node.id} has ended after {self._seconds()}")
        if node.process is not None and not self._followed:
            self._followed = True
            self._tell(f"{node.id} starts again as process {node.process.pid}")
        if node.phase != "ready":
            return False
        self._tell(f"{node.id} is ready again after {self._seconds()}")
        return True

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._began:.1f} s"


def _now(place: Place, node_id: str) -> NodeState:
    state = read_state(place)
    if state is None or state.phase == "stopping":
        raise MemqlError(Code.FAILED_PRECONDITION, f"the cluster is being stopped; {node_id} does not start again")
    if not state.supervised:
        raise MemqlError(Code.FAILED_PRECONDITION, f"the supervisor has died; {node_id} is not started again")
    return state.find(node_id)
