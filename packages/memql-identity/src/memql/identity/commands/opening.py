"""What the commands work on: the issuer's keys and the database of the settings; nothing listens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from memql.cli.boot import boot_settings
from memql.cli.store import open_store
from memql.config import Settings
from memql.engine.assembly import build_engine
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.graph.migrator import pending
from memql.identity.guards import check_issuer
from memql.identity.issuing import Issuing
from memql.identity.keyring import KeyRing, load_keys
from memql.identity.service import open_issuing
from memql.lang.loader import load_tree, read_sources

__all__ = ["Workplace", "issuer_settings", "open_workplace"]


@dataclass(frozen=True, slots=True)
class Workplace:
    """The parts a command uses."""

    settings: Settings
    ring: KeyRing
    database: Database
    issuing: Issuing


def issuer_settings() -> Settings:
    """The settings of the identity service here, the genesis envelope included.

    :raises MemqlError: ``CONFIG_INVALID`` when they name no issuer, or one that could not start.
    """
    settings = boot_settings()
    if not settings.identity_base_url:
        raise MemqlError(
            Code.CONFIG_INVALID,
            "IDENTITY_BASE_URL is not set: tokens are minted where the identity service is configured",
        )
    check_issuer(settings)
    return settings


@asynccontextmanager
async def open_workplace() -> AsyncIterator[Workplace]:
    """Open keys and database.

    :raises MemqlError: as :func:`issuer_settings`; ``FAILED_PRECONDITION`` when the schema is not up to date; what
        keeps keys or database from opening.
    """
    settings = issuer_settings()
    ring = load_keys(settings)
    async with open_store(settings) as database:
        if await pending(database):
            raise MemqlError(Code.FAILED_PRECONDITION, "the schema is not up to date; run memql migrate first")
        catalog = load_tree(read_sources(settings.dsl_path)).require()
        engine = build_engine(database, catalog, publish=lambda event: None, node="memql-cli")
        yield Workplace(settings, ring, database, open_issuing(settings, ring, engine.writer, database))
