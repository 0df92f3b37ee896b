"""``memql cluster logs``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from memql.errors import Code, MemqlError
from memql.mesh.cluster.commands.finding import HomeOption, find_place, no_cluster

if TYPE_CHECKING:
    from memql.mesh.cluster.loglines import LogLine
    from memql.mesh.cluster.place import Place

__all__ = ["register"]

_LOOK_SECONDS = 0.2


class Level(str, Enum):
    """The lowest level that is shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


def logs(
    nodes: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of nodes, or supervisor; all of them unless given.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written, until interrupted.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines to begin with.")] = 100,
    level: Annotated[Level, typer.Option("--level", "-l", help="Leave out what is less severe.")] = Level.DEBUG,
    home: HomeOption = None,
) -> None:
    """Show what the nodes log, merged by time, one colour a node.

    Works while the cluster runs and afterwards. NO_COLOR, or another output than a terminal, leaves colours out.
    """
    from memql.mesh.cluster.logfiles import LogFile, last_lines
    from memql.mesh.cluster.loglines import LEVELS

    place = find_place(home)
    wanted = _chosen(place, nodes or [])
    severity = LEVELS[level.value]
    show = _shower(max(map(len, wanted)))
    # What is left out by its level does not count.
    files = [LogFile(place, node, lines if level is Level.DEBUG else sys.maxsize) for node in wanted]
    for line in last_lines(files, lines, severity):
        show(line)
    while follow:
        sys.stdout.flush()
        time.sleep(_LOOK_SECONDS)
        for line in last_lines(files, sys.maxsize, severity):
            show(line)


def _chosen(place: Place, nodes: list[str]) -> list[str]:
    """The logs to show: those asked for, else those of the nodes of this cluster, or of the last one."""
    from memql.mesh.cluster.place import SUPERVISOR
    from memql.mesh.cluster.state import read_state

    kept = sorted(path.stem for path in place.logs.glob("*.log"))
    if not kept:
        raise no_cluster(place)
    for node in nodes:
        if node not in kept:
            raise MemqlError(Code.NOT_FOUND, f"there is no log of {node!r}; there are those of {', '.join(kept)}")
    if nodes:
        return list(dict.fromkeys(nodes))
    state = read_state(place)
    return kept if state is None else [SUPERVISOR, *(node.id for node in state.nodes)]


def _shower(width: int) -> Callable[[LogLine], None]:
    """What writes a line: in colour on a terminal, plain elsewhere."""
    from rich.console import Console
    from rich.text import Text

    from memql.mesh.cluster.colours import colour_of

    styles = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
    console = Console(highlight=False)

    def show(line: LogLine) -> None:
        text = Text().append(f"{line.node:{width}} ", style=colour_of(line.node))
        text.append(f"{line.clock} ", style="dim")
        if line.level:
            text.append(f"{line.level:8}", style=styles.get(line.level, ""))
        text.append(line.message, style=styles.get(line.level, ""))
        if line.logger:
            text.append(f"  {line.logger}", style="dim")
        for below in line.trace.splitlines():
            text.append(f"\n{'':{width}} {below}", style="dim")
        console.print(text, soft_wrap=True)

    return show
