"""``memql cluster kill``, ``drain`` and ``down``: signals to processes of the cluster."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from memql.cli.output import say
from memql.errors import Code, MemqlError
from memql.mesh.cluster.commands.finding import HomeOption, find_place, no_cluster, supervised_cluster

if TYPE_CHECKING:
    from memql.mesh.cluster.place import Place
    from memql.mesh.cluster.state import NodeState

__all__ = ["register"]

NodeArgument = Annotated[str, typer.Argument(help="The node's id, such as agent-1.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("kill")(kill)
    app.command("drain")(drain)
    app.command("down")(down)


def kill(
    node: NodeArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Return when its successor is ready.")] = False,
    timeout: TimeoutOption = 120.0,
    home: HomeOption = None,
) -> None:
    """Kill a node's process (SIGKILL), as a crash would; the supervisor starts it again."""
    place = find_place(home)
    victim = _running(place, node)
    _send(victim, signal.SIGKILL)
    say(f"{node} is killed; the supervisor starts it again")
    if wait:
        _await_successor(place, victim, timeout)


def drain(node: NodeArgument, timeout: TimeoutOption = 120.0, home: HomeOption = None) -> None:
    """Stop a node gracefully (SIGTERM) and wait until its successor is ready.

    It tells its clients, which go on at another node where there is one, finishes what it has begun, and ends; the
    supervisor starts it again.
    """
    place = find_place(home)
    leaving = _running(place, node)
    _send(leaving, signal.SIGTERM)
    say(f"{node} is draining: it takes nothing new, and finishes what it has begun")
    _await_successor(place, leaving, timeout)


def down(timeout: TimeoutOption = 120.0, home: HomeOption = None) -> None:
    """Stop the cluster that runs here, in order, and wait until everything has ended."""
    import anyio

    from memql.mesh.cluster.state import read_state
    from memql.mesh.cluster.stopping import clear_away, stop_supervisor

    place = find_place(home)
    state = read_state(place)
    if state is not None and state.supervised:
        stop_supervisor(state, timeout, say)
    elif anyio.run(clear_away, place, say) is None:
        raise no_cluster(place)
    say("everything is stopped")


def _running(place: Place, node_id: str) -> NodeState:
    node = supervised_cluster(place).find(node_id)
    if node.process is None or not node.process.alive:
        raise MemqlError(Code.FAILED_PRECONDITION, f"{node_id} does not run now ({node.phase}); nothing is signalled")
    return node


def _send(node: NodeState, number: signal.Signals) -> None:
    if node.process is None or not node.process.signal(number):
        raise MemqlError(Code.FAILED_PRECONDITION, f"{node.id} has just ended by itself")


def _await_successor(place: Place, leaving: NodeState, timeout: float) -> None:
    from memql.mesh.cluster.following import follow_succession

    follow_succession(place, leaving, timeout, say)
