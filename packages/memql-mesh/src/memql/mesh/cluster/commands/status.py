"""``memql cluster status``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memql.cli.output import say, show_json, show_json_line, show_table
from memql.mesh.cluster.commands.finding import NO_CLUSTER, HomeOption, find_place, no_cluster

if TYPE_CHECKING:
    from memql.mesh.cluster.place import Place
    from memql.mesh.cluster.state import ClusterState
    from memql.mesh.cluster.table import Row

__all__ = ["register"]

_REFRESH_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again, until interrupted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON; with --watch, one line at a time.")] = False,
    home: HomeOption = None,
) -> None:
    """Show the nodes of the cluster that runs here.

    Exit code 0 when every node is ready, 1 when something is not, 3 when no cluster runs.
    """
    import anyio

    place = find_place(home)
    raise typer.Exit(anyio.run(_watch if watch else _once, place, as_json))


async def _once(place: Place, as_json: bool) -> int:
    state = _state(place)
    if state is None:
        if not as_json:
            raise no_cluster(place)
        show_json({"running": False, "nodes": []})
        return NO_CLUSTER
    rows = await _look(place, state)
    if as_json:
        show_json(_members(state, rows))
    else:
        _show(rows)
        say(_summary(state, rows))
    return _code(state, rows)


async def _watch(place: Place, as_json: bool) -> int:
    if sys.stdout.isatty() and not as_json:
        return await _watch_on_screen(place)
    import anyio

    while (state := _state(place)) is not None:
        rows = await _look(place, state)
        if as_json:
            show_json_line(_members(state, rows))
        else:
            _show(rows)
            sys.stdout.write("\n")
            sys.stdout.flush()
        await anyio.sleep(_REFRESH_SECONDS)
    raise no_cluster(place)


async def _watch_on_screen(place: Place) -> int:
    import anyio
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from memql.mesh.cluster.table import rich_table

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while (state := _state(place)) is not None:
            rows = await _look(place, state)
            summary = Text(_summary(state, rows), style="" if _code(state, rows) == 0 else "yellow")
            live.update(Group(rich_table(rows, console.width), Text(), summary), refresh=True)
            await anyio.sleep(_REFRESH_SECONDS)
    raise no_cluster(place)


def _state(place: Place) -> ClusterState | None:
    """The cluster of which anything runs, if there is one."""
    from memql.mesh.cluster.state import read_state

    state = read_state(place)
    return state if state is not None and (state.supervised or state.running_nodes()) else None


async def _look(place: Place, state: ClusterState) -> list[Row]:
    from memql.mesh.cluster.probing import open_prober
    from memql.mesh.cluster.table import rows_of

    async with open_prober(place, tls=state.tls) as prober:
        return rows_of(state.nodes, await prober.look_at_all(state.nodes))


def _code(state: ClusterState, rows: Sequence[Row]) -> int:
    return 0 if state.supervised and all(row.is_ready for row in rows) else 1


def _show(rows: Sequence[Row]) -> None:
    from memql.mesh.cluster.table import COLUMNS, rich_table

    if not sys.stdout.isatty():
        show_table(COLUMNS, [row.cells() for row in rows])
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(rich_table(rows, console.width))


def _summary(state: ClusterState, rows: Sequence[Row]) -> str:
    from memql.mesh.cluster.table import span

    ready = sum(row.is_ready for row in rows)
    counted = f"{ready} of {len(rows)} nodes are ready"
    if not state.supervised:
        return f"{counted}; the supervisor {state.supervisor.pid} has died: memql cluster up starts anew"
    age = span(datetime.now(UTC).timestamp() - state.since)
    tls = ", TLS" if state.tls else ""
    return f"{counted}; supervisor {state.supervisor.pid}, {state.phase}, for {age}{tls}"


def _members(state: ClusterState, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "running": True,
        "phase": state.phase,
        "supervisor": state.supervisor.pid if state.supervised else None,
        "since": datetime.fromtimestamp(state.since, UTC).isoformat(timespec="seconds"),
        "tls": state.tls,
        "nodes": [row.to_json() for row in rows],
    }
