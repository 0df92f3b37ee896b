"""Ordered SQL migrations, run by one runner at a time and each marked applied when it has committed.

The files are ``migrations/NNNN_name.sql``. A migration is immutable once released: its checksum is recorded,
and a database that was migrated with other text is refused rather than guessed at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from typing import cast

import psycopg

from memql.errors import Code, MemqlError
from memql.graph.database import Connection, Database
from memql.graph.failures import UNREACHABLE, translate
from memql.graph.schema_lock import schema_lock

__all__ = ["Migration", "applied_head", "migrate", "packaged", "packaged_head", "pending"]

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version     integer PRIMARY KEY,
    name        text NOT NULL,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_MIGRATION_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``version`` is its number, ``checksum`` the lower-hex SHA-256 of its text."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Lower-hex SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def packaged() -> tuple[Migration, ...]:
    """The migrations this installation carries, in order."""
    found = []
    for entry in resources.files("memql.graph").joinpath("migrations").iterdir():
        stem, dot, suffix = entry.name.rpartition(".")
        number, _, name = stem.partition("_")
        if dot and suffix == "sql" and number.isdigit():
            found.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    return tuple(found)


def packaged_head() -> int:
    """The number of the newest packaged migration."""
    return max((migration.version for migration in packaged()), default=0)


async def applied_head(database: Database) -> int:
    """The number of the newest applied migration; 0 for an empty database."""
    return max(await _applied(database), default=0)


async def pending(database: Database, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """What :func:`migrate` would apply.

    :raises MemqlError: ``FAILED_PRECONDITION`` when an applied migration differs from the packaged one.
    """
    return _unapplied(migrations if migrations is not None else packaged(), await _applied(database))


async def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is pending, in order, and return it; safe to run again and from several processes at once.

    Each file runs in a transaction of its own together with its mark. The runner holds an advisory lock on a
    direct connection, so that a second one waits and then finds nothing to do. A database already at the head
    is not locked.

    :raises MemqlError: ``FAILED_PRECONDITION`` naming the migration that failed or whose text has changed.
    """
    wanted = migrations if migrations is not None else packaged()
    if not await pending(database, wanted):
        return []
    async with schema_lock(database) as session:
        await session.execute(_LEDGER)
        missing = _unapplied(wanted, _as_ledger(await session.fetch(_SELECT_APPLIED)))
        for migration in missing:
            await session.run(partial(_apply, migration), timeout=_MIGRATION_TIMEOUT)
    return missing


_SELECT_APPLIED = "SELECT version, checksum FROM schema_migrations"


async def _applied(database: Database) -> dict[int, str]:
    present = await database.fetch_one("SELECT to_regclass('schema_migrations') IS NOT NULL")
    if not (present and present[0]):
        return {}
    return _as_ledger(await database.fetch(_SELECT_APPLIED))


def _as_ledger(rows: Sequence[tuple[int, str] | tuple[object, ...]]) -> dict[int, str]:
    return {cast("int", row[0]): cast("str", row[1]) for row in rows}


def _unapplied(migrations: Sequence[Migration], applied: dict[int, str]) -> list[Migration]:
    missing = []
    for migration in migrations:
        checksum = applied.get(migration.version)
        if checksum is None:
            missing.append(migration)
        elif checksum != migration.checksum:
            raise MemqlError(
                Code.FAILED_PRECONDITION,
                f"migration {migration.version:04d}_{migration.name} was applied with other text than this "
                "installation carries; install the matching version, and never edit a released migration",
                details={"version": migration.version, "applied": checksum, "packaged": migration.checksum},
            )
    return missing


async def _apply(migration: Migration, connection: Connection) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql.encode())
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.checksum),
            )
    except psycopg.Error as error:
        if translate(error).code in UNREACHABLE:
            raise
        where = f" at character {error.diag.statement_position}" if error.diag.statement_position else ""
        raise MemqlError(
            Code.FAILED_PRECONDITION,
            f"migration {migration.version:04d}_{migration.name} failed{where}: {error.diag.message_primary}; "
            "it was rolled back, earlier ones stay applied",
            details={"version": migration.version, "sqlstate": error.sqlstate},
        ) from error
