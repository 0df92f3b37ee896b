"""How ``memql cluster up`` shows itself: a live table on a terminal, lines about changes anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from memql.cli.output import say
from memql.mesh.cluster.colours import colour_of
from memql.mesh.cluster.journal import Level
from memql.mesh.cluster.table import rich_table, rows_of

if TYPE_CHECKING:
    from rich.live import Live

    from memql.mesh.cluster.supervisor import Supervisor

__all__ = ["Presenter", "open_presenter"]

_REFRESH_SECONDS: Final = 1.0
_STYLES: Final = {"info": "", "warning": "yellow", "error": "red"}


class Presenter(Protocol):
    """Shows a cluster to the person who started it."""

    def show(self, text: str, level: Level, node: str) -> None:
        """A line; fits :class:`memql.mesh.cluster.journal.Journal`."""
        ...

    async def follow(self, supervisor: Supervisor) -> None:
        """Show how the cluster is, until cancelled."""
        ...


class _Lines:
    """For a pipe, a file, a log of the system."""

    def show(self, text: str, level: Level, node: str) -> None:
        line = f"{node} {text}" if node else text
        say(line if level == "info" else f"{level}: {line}")

    async def follow(self, supervisor: Supervisor) -> None:
        await anyio.sleep_forever()


class _Screen:
    """For a terminal: the lines pass above a table that stays."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, text: str, level: Level, node: str) -> None:
        from rich.text import Text

        line = Text()
        if node:
            line.append(f"{node} ", style=colour_of(node))
        self._live.console.print(line.append(text, style=_STYLES[level]), soft_wrap=True)

    async def follow(self, supervisor: Supervisor) -> None:
        while True:
            rows = rows_of(supervisor.state.nodes, await supervisor.look())
            self._live.update(rich_table(rows, self._live.console.width), refresh=True)
            await anyio.sleep(_REFRESH_SECONDS)


@contextmanager
def open_presenter() -> Iterator[Presenter]:
    """What fits the standard error stream, for the length of the block."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True, highlight=False), auto_refresh=False, transient=True) as live:
        yield _Screen(live)
