"""Commands that start and stop a process: up, run, migrate, prestop."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memql.cli.output import say

if TYPE_CHECKING:
    from memql.config import Settings

__all__ = ["register"]

_LAPTOP: Mapping[str, str] = {
    "MEMQL_ENVIRONMENT": "development",
    "MEMQL_GRPC_ADDRESS": "127.0.0.1:50051",
    "SERVER_ADDRESS": "127.0.0.1:8085",
    # Nobody routes to a laptop: there is no endpoint to leave before streams are ended.
    "MEMQL_SHUTDOWN_DRAIN_DELAY": "0s",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("run")(run)
    app.command("migrate")(migrate)
    app.command("prestop", hidden=True)(prestop)


def up(
    tree: Annotated[
        list[Path] | None,
        typer.Option("--tree", "-t", help="Directory laid over the packaged tree. May be repeated.", exists=True),
    ] = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="Directory of the database; MEMQL_HOME, else ~/.memql.")
    ] = None,
    grpc: Annotated[str | None, typer.Option("--grpc", help="Where gRPC listens.")] = None,
    http: Annotated[str | None, typer.Option("--http", help="Where HTTP and WebSocket listen.")] = None,
) -> None:
    """Run everything in one process, with its own database. Ctrl-C stops it."""
    from memql.cli.boot import boot_settings

    environ = {**_LAPTOP, **os.environ, "MEMQL_ENVIRONMENT": "development"}
    if tree:
        environ["MEMQL_DSL_PATH"] = ":".join(str(one.absolute()) for one in tree)
    for name, value in (("MEMQL_HOME", home), ("MEMQL_GRPC_ADDRESS", grpc), ("SERVER_ADDRESS", http)):
        if value is not None:
            environ[name] = str(value)
    _serve(boot_settings(environ), laptop=True)


def run() -> None:
    """Run a node as the environment says; memql env shows how."""
    from memql.cli.boot import boot_settings

    _serve(boot_settings(), laptop=False)


def _serve(settings: Settings, *, laptop: bool) -> None:
    import anyio

    from memql.cli import STARTED
    from memql.cli.serving import serve

    # Its loop turns at half the cost of asyncio's own; not everywhere there is one.
    faster = find_spec("uvloop") is not None
    anyio.run(serve, settings, laptop, STARTED, backend_options={"use_uvloop": faster})


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is pending; apply nothing.")] = False,
) -> None:
    """Bring the database up to date: schema and declared indexes."""
    import anyio

    applied = anyio.run(_migrate, dry_run)
    for name in applied:
        sys.stdout.write(name + "\n")
    what = "pending" if dry_run else "applied"
    say(f"{len(applied)} {what}" if applied else "the schema is up to date")


async def _migrate(dry_run: bool) -> Sequence[str]:
    from memql.cli.boot import boot_settings
    from memql.cli.store import open_store
    from memql.graph.indexes import ensure_indexes
    from memql.graph.migrator import migrate, pending
    from memql.lang.loader import load_tree, read_sources

    settings = boot_settings()
    async with open_store(settings) as database:
        if dry_run:
            return [f"{one.version:04d}_{one.name}" for one in await pending(database)]
        catalog = load_tree(read_sources(settings.dsl_path)).require()
        applied = await migrate(database)
        await ensure_indexes(database, catalog.concepts.values())
        return [f"{one.version:04d}_{one.name}" for one in applied]


def prestop(
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="How long to wait.")] = 5.0,
) -> None:
    """Wait, so that a pod has left its endpoints before it is told to stop. For images that have no shell."""
    import time

    time.sleep(seconds)
