"""How the commands find the cluster of a home, and what they do where none runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memql.cli.output import show_error
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.mesh.cluster.place import Place
    from memql.mesh.cluster.state import ClusterState

__all__ = ["NO_CLUSTER", "HomeOption", "find_place", "no_cluster", "supervised_cluster"]

NO_CLUSTER = 3
"""The exit code where no cluster runs."""

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Directory of the cluster; MEMQL_HOME, else ~/.memql.", show_default=False)
]


def find_place(home: Path | None) -> Place:
    """The place of the cluster of a home.

    :raises MemqlError: ``CONFIG_INVALID`` when the settings name no home.
    """
    from memql.config import load_settings
    from memql.mesh.cluster.place import Place

    return Place((home or load_settings().home).absolute())


def supervised_cluster(place: Place) -> ClusterState:
    """The cluster that runs there, with its supervisor.

    :raises typer.Exit: with :data:`NO_CLUSTER`, having said what to do, when none runs.
    :raises MemqlError: ``FAILED_PRECONDITION`` when only its nodes do.
    """
    from memql.mesh.cluster.state import read_state

    state = read_state(place)
    if state is None or (not state.supervised and not state.running_nodes()):
        raise no_cluster(place)
    if not state.supervised:
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"the supervisor of this cluster ({state.supervisor.pid}) has died, its nodes run on; memql cluster down "
            "stops them, memql cluster up does that and starts anew",
        )
    return state


def no_cluster(place: Place) -> typer.Exit:
    """Say that none runs; what to raise."""
    show_error(
        MemqlError(Code.FAILED_PRECONDITION, f"no cluster runs in {place.home}; memql cluster up --detach starts one")
    )
    return typer.Exit(NO_CLUSTER)
