"""Ending a cluster from outside: by its supervisor, or, when that has died, without it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

import anyio

from memql.errors import Code, MemqlError
from memql.mesh.cluster.place import Place
from memql.mesh.cluster.processes import ProcessId
from memql.mesh.cluster.state import ClusterState, read_state

__all__ = ["clear_away", "stop_supervisor"]

_STOP_SECONDS: Final = 20.0
_KILL_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1


def stop_supervisor(state: ClusterState, timeout: float, tell: Callable[[str], None]) -> None:
    """Have the supervisor stop everything, and wait for its end.

    :raises MemqlError: ``TIMEOUT`` when it has not ended in time; it goes on stopping.
    """
    tell(f"stopping {len(state.nodes)} nodes")
    state.supervisor.signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while state.supervisor.alive:
        if time.monotonic() > deadline:
            raise MemqlError(
                Code.TIMEOUT, f"the supervisor {state.supervisor.pid} has not ended after {timeout:g} s; it goes on"
            )
        time.sleep(_LOOK_SECONDS)


async def clear_away(place: Place, tell: Callable[[str], None]) -> ClusterState | None:
    """End what a supervisor that has died left running, and forget it. Only processes that are still the ones that it
    started are signalled.

    :returns: what it had written down; None when there is nothing to clear away.
    :raises MemqlError: as :func:`memql.mesh.cluster.state.read_state`.
    """
    state = read_state(place)
    if state is None or state.supervised:
        return None
    left = state.running_nodes()
    if left:
        names = ", ".join(node.id for node in left)
        tell(f"the supervisor {state.supervisor.pid} has died; stopping what it left: {names}")
        await _end([node.process for node in left if node.process is not None])
    if state.embedded:
        await _let_the_database_end(place)
    place.state.unlink(missing_ok=True)
    return state


async def _end(processes: list[ProcessId]) -> None:
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        processes = [process for process in processes if process.signal(number)]
        with anyio.move_on_after(seconds):
            while any(process.alive for process in processes):  # noqa: ASYNC110  other processes
                await anyio.sleep(_LOOK_SECONDS)


async def _let_the_database_end(place: Place) -> None:
    """Its last user stops it; the one that was died without doing so."""
    from memql.graph.embedded import embedded_server

    async with embedded_server(place.home):
        pass
