"""Whether a database is ready for this installation (spec "Other endpoints", the checks of ``/readyz``)."""

from __future__ import annotations

from memql.graph.database import Database
from memql.graph.migrator import packaged_head

__all__ = ["CRITICAL_TABLES", "check_readiness"]

CRITICAL_TABLES = (
    "memory_nodes",
    "memory_heads",
    "event_outbox",
    "mesh_cursors",
    "automation_execution_claims",
)
"""Tables without which a node cannot work."""

_PRESENT = "SELECT name, to_regclass(name) IS NOT NULL FROM unnest(%s::text[]) AS name"
_HEAD = "SELECT coalesce(max(version), 0) FROM schema_migrations"


async def check_readiness(database: Database, *, timeout: float = 5.0) -> list[tuple[str, bool]]:
    """Each critical table by name and whether it exists, then ``schema_version`` and whether the database has
    exactly the migrations of this installation.

    :raises MemqlError: when the database cannot be asked; a caller reports that as a failed check.
    """
    names = [*CRITICAL_TABLES, "schema_migrations"]
    present = dict(await database.fetch(_PRESENT, (names,), timeout=timeout))
    current = False
    if present["schema_migrations"]:
        row = await database.fetch_one(_HEAD, timeout=timeout)
        current = row is not None and row[0] == packaged_head()
    return [*((name, present[name]) for name in CRITICAL_TABLES), ("schema_version", current)]
