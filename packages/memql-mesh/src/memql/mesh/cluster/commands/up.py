"""``memql cluster up``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memql.mesh.cluster.commands.finding import HomeOption

if TYPE_CHECKING:
    from memql.mesh.cluster.blueprint import Wishes

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    tree: Annotated[
        list[Path] | None,
        typer.Option("--tree", "-t", help="Directory laid over the packaged tree. May be repeated.", exists=True),
    ] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(
            "--replicas", "-r", metavar="ROLE=N", help="Nodes of a role, or N of every role; 1 each unless given."
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ROLE", help="Run these roles, and identity. Repeatable; all unless given."),
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="TLS everywhere, with certificates of a local authority.")] = False,
    port_offset: Annotated[int, typer.Option("--port-offset", help="Added to every port.")] = 0,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take whatever ports are free.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; return when every node is ready.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds that all nodes have to become ready.")
    ] = 180.0,
    home: HomeOption = None,
) -> None:
    """Run a cluster: a database and a process for each node. Ctrl-C stops it in order.

    The bff listens at 50051 (gRPC) and 8085 (HTTP). The commands of this machine find the cluster and act as its owner.

    Examples: memql cluster up; memql cluster up --detach --replicas bff=2,cognition=2 --tree examples/airline/tree
    """
    from memql.mesh.cluster.blueprint import Wishes

    wishes = Wishes(
        home=home,
        trees=tuple(path.absolute() for path in tree or ()),
        replicas=tuple(replicas or ()),
        only=tuple(only or ()),
        tls=tls,
        port_offset=port_offset,
        free_ports=free_ports,
    )
    raise typer.Exit(_detached(wishes, timeout) if detach else _attached(wishes, timeout))


def _attached(wishes: Wishes, timeout: float) -> int:
    import anyio

    from memql.mesh.cluster.running import run_cluster

    return anyio.run(run_cluster, wishes, timeout)


def _detached(wishes: Wishes, timeout: float) -> int:
    from memql.mesh.cluster.detaching import detach_cluster

    return detach_cluster(wishes, timeout)
