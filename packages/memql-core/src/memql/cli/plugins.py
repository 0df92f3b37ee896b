"""Commands that other distributions bring.

A wheel publishes an entry point per command in the group ``memql.commands``: its name is the command's, its value names
a function ``register(app: typer.Typer)`` that adds it. The function's module is imported only when that command is
asked for, or help about all of them; so it must import little, as the modules of this package do.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import typer
from typer.core import TyperGroup

from memql.errors import Code, MemqlError

__all__ = ["ENTRY_POINTS", "PluginGroup"]

ENTRY_POINTS: Final = "memql.commands"

_KNOWN: Final[Mapping[str, str]] = {
    "token": "memql-identity",
    "node-token": "memql-identity",
    "voice-agent-token": "memql-identity",
    "service-account-token": "memql-identity",
    "keys": "memql-identity",
    "cluster": "memql-mesh",
}
"""Commands of our own distributions, and which one to install for each."""


class PluginGroup(TyperGroup):
    """The commands of this distribution, and those that others bring."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, our own first."""
        own = super().list_commands(ctx)
        return [*own, *(name for name in _installed() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, None when nobody brings it."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        if point := _installed().get(cmd_name):
            return _load(point)
        return _absent(cmd_name) if cmd_name in _KNOWN else None


@cache
def _installed() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name)}


def _load(point: EntryPoint) -> Any:
    app = typer.Typer(rich_markup_mode=None)
    try:
        point.load()(app)
    except Exception as error:
        raise MemqlError(
            Code.CONFIG_INVALID, f"the command {point.name!r} ({point.value}) cannot be loaded: {error}"
        ) from error
    command = typer.main.get_group(app).commands.get(point.name)
    if command is None:
        raise MemqlError(Code.CONFIG_INVALID, f"{point.value} does not add the command {point.name!r}")
    return command


def _absent(name: str) -> Any:
    """Stands in for a command that is not installed, whatever its arguments, and says how to get it."""
    app = typer.Typer(rich_markup_mode=None)

    def refuse() -> None:
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"memql {name} comes with {_KNOWN[name]}, which is not installed here; pip install {_KNOWN[name]}",
        )

    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(name, context_settings=settings)(refuse)
    return typer.main.get_group(app).commands[name]
