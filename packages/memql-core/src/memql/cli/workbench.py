"""The store opened for a command that writes to it directly, with the tree in force and no node around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import TYPE_CHECKING

from memql.cli.store import open_store
from memql.config import Settings
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.engine.write import GraphWriter
    from memql.graph.database import Database
    from memql.lang.catalog import Catalog

__all__ = ["Workbench", "open_workbench"]


@dataclass(frozen=True, slots=True)
class Workbench:
    """What such a command works with. Events are not published: nodes read them from the log."""

    settings: Settings
    catalog: Catalog
    database: Database
    writer: GraphWriter


@asynccontextmanager
async def open_workbench(settings: Settings, trees: Sequence[Path] = ()) -> AsyncIterator[Workbench]:
    """Open the database, load the tree, and bring the schema up to date unless the settings forbid it.

    :param trees: overlays; those of the node that runs in this home, else of the settings, unless given.
    :raises MemqlError: ``TREE_REFUSED``; ``FAILED_PRECONDITION`` when migrations are pending that may not be
        applied here; and as :func:`memql.cli.store.open_store`.
    """
    from memql.engine.read import GraphReader
    from memql.engine.write import GraphWriter
    from memql.lang.loader import load_tree, read_sources
    from memql.secrets import MasterKey

    catalog = load_tree(read_sources(trees or _overlays(settings))).require()
    async with open_store(settings) as database:
        await _bring_up_to_date(settings, database, catalog)
        key = MasterKey.from_hex(settings.master_key) if settings.master_key else None
        # What row rules ask; no cursor of it leaves this process.
        reader = GraphReader(database, lambda: catalog, signing_key=token_bytes(32))
        writer = GraphWriter(database, lambda: catalog, lambda _: None, reader=lambda: reader, master_key=key)
        yield Workbench(settings, catalog, database, writer)


def _overlays(settings: Settings) -> Sequence[Path]:
    from memql.cli.running import find_running

    running = find_running(settings.home)
    if running is not None and not settings.dsl_path:
        return [Path(tree) for tree in running.trees]
    return settings.dsl_path


async def _bring_up_to_date(settings: Settings, database: Database, catalog: Catalog) -> None:
    from memql.graph.indexes import ensure_indexes
    from memql.graph.migrator import migrate, pending

    waiting = await pending(database)
    if waiting and not settings.migrates_on_start:
        names = ", ".join(f"{one.version:04d}_{one.name}" for one in waiting)
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"the schema is behind ({names} pending) and this node does not migrate; run memql migrate first",
        )
    await migrate(database)
    if settings.migrates_on_start:
        await ensure_indexes(database, catalog.concepts.values())
