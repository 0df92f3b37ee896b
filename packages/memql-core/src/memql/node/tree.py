"""The tree of a node: loaded at the start, loaded again on request, always whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

if TYPE_CHECKING:
    from memql.graph.database import Database
    from memql.lang.catalog import Catalog

__all__ = ["load_catalog", "reload_catalog"]

log = logging.getLogger(__name__)

_CONCEPTS_WITH_ROWS = "SELECT DISTINCT concept FROM memory_heads"


async def load_catalog(overlays: Sequence[Path]) -> Catalog:
    """Read and check the packaged tree with its overlays, in a worker thread.

    :raises MemqlError: ``TREE_REFUSED`` with the findings, ``CONFIG_INVALID`` for what cannot be read.
    """
    return await anyio.to_thread.run_sync(_load, tuple(overlays), abandon_on_cancel=True)


async def reload_catalog(overlays: Sequence[Path], database: Database, current: Catalog) -> Catalog:
    """Read the same directories again, held against the tree in force: a schema must stay readable for its rows.

    :raises MemqlError: as :func:`load_catalog`.
    """
    stored = frozenset(row[0] for row in await database.fetch(_CONCEPTS_WITH_ROWS))
    work = partial(_load, tuple(overlays), current, stored)
    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


def _load(overlays: Sequence[Path], current: Catalog | None = None, stored: frozenset[str] = frozenset()) -> Catalog:
    from memql.lang.loader import load_tree, read_sources

    sources = read_sources(overlays)
    if current is None:
        loaded = load_tree(sources)
    else:
        loaded = load_tree(sources, previous=current, rows_exist=stored.__contains__)
    for finding in loaded.findings:
        if finding.severity == "warning":
            log.warning("%s", finding)
    return loaded.require()
