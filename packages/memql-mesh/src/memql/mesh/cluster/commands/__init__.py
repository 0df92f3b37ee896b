"""``memql cluster``: a whole cluster on this machine. Modules here import what a command needs when it runs."""

from __future__ import annotations

import typer

from memql.mesh.cluster.commands import control, logs, status, up

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    cluster = typer.Typer(
        help="Run a whole cluster on this machine: one process per node.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for family in (up, status, logs, control):
        family.register(cluster)
    app.add_typer(cluster, name="cluster")
