"""The first steps of a node, overlapped: the database starts while the tree is checked and the server is imported."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import os
import secrets
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from memql.config import Settings
from memql.errors import MemqlError
from memql.node.tree import load_catalog

if TYPE_CHECKING:
    from memql.graph.database import Database
    from memql.lang.catalog import Catalog

__all__ = ["cursor_key", "open_store"]

_LATER = ("memql.engine.assembly", "memql.engine.write", "memql.automations", "memql.server.server")


async def open_store(stack: AsyncExitStack, settings: Settings) -> tuple[Database, Catalog]:
    """Open the database on ``stack`` and check the tree, at the same time; the schema is brought up to date.

    :raises MemqlError: what keeps the database from opening, or the tree from loading.
    """
    loaded: list[Catalog] = []
    refused: list[MemqlError] = []

    async def load() -> None:
        # Kept for later: a refused tree must not interrupt the database half-way through opening.
        try:
            loaded.append(await load_catalog(settings.dsl_path))
        except MemqlError as error:
            refused.append(error)

    async def prepare() -> None:
        await anyio.to_thread.run_sync(_import_later, abandon_on_cancel=True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(load, name="node: tree")
        tasks.start_soon(prepare, name="node: imports")
        database = await _open_database(stack, settings)
    if refused:
        raise refused[0]
    (catalog,) = loaded
    if settings.migrates_on_start:
        from memql.graph.indexes import ensure_indexes

        await database.ride_out("indexing", partial(ensure_indexes, database, catalog.concepts.values()))
    return database, catalog


async def _open_database(stack: AsyncExitStack, settings: Settings) -> Database:
    dsn = settings.database_dsn
    if not dsn:
        from memql.graph.embedded import embedded_server

        dsn = (await stack.enter_async_context(embedded_server(settings.home))).dsn
    from memql.graph.database import Database
    from memql.graph.migrator import migrate

    direct = settings.direct_dsn or dsn
    size = settings.database_max_connections
    opened = Database.open(dsn, direct_dsn=direct, max_size=size, patience=settings.database_patience)
    database = await stack.enter_async_context(opened)
    if settings.migrates_on_start:
        await database.ride_out("migrating", partial(migrate, database))
    return database


def _import_later() -> None:
    for name in _LATER:
        importlib.import_module(name)


def cursor_key(settings: Settings) -> bytes:
    """What cursors are signed with: derived from the master key, which all nodes share; else kept in the home of the
    embedded database; else random, and then cursors end with the process."""
    if settings.master_key:
        return hmac.digest(bytes.fromhex(settings.master_key), b"memql cursor", hashlib.sha256)
    if settings.database_dsn:
        return secrets.token_bytes(32)
    return _kept_key(settings.home / "cursor.key")


def _kept_key(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        kept = path.read_bytes()
        return kept if len(kept) == 32 else secrets.token_bytes(32)
    key = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    return key
