"""Variables and secrets as expressions read them (spec "Secrets and variables")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, LiteralString

from memql.errors import Code, MemqlError
from memql.graph.database import Connection, Database
from memql.secrets.box import open_value
from memql.secrets.keys import MasterKey

__all__ = [
    "GLOBAL_SECRET",
    "GLOBAL_VARIABLE",
    "PARTITION_SECRET",
    "PARTITION_VARIABLE",
    "TABLE_CONCEPTS",
    "StoredTables",
    "load_tables",
]

GLOBAL_SECRET: Final = "v1:platform:globalSecret"  # noqa: S105 - a concept id
PARTITION_SECRET: Final = "v1:platform:partitionSecret"  # noqa: S105
GLOBAL_VARIABLE: Final = "v1:platform:globalVariable"
PARTITION_VARIABLE: Final = "v1:platform:partitionVariable"
TABLE_CONCEPTS: Final = (GLOBAL_SECRET, PARTITION_SECRET, GLOBAL_VARIABLE, PARTITION_VARIABLE)

_ACTIVE: LiteralString = "NOT deleted AND payload -> 'active' IS DISTINCT FROM 'false'::jsonb"
_ROWS: LiteralString = (
    "SELECT concept, payload ->> 'name', payload ->> 'value' FROM memory_heads "
    "WHERE concept = ANY(%s) AND " + _ACTIVE + " UNION ALL "
    "SELECT concept, payload ->> 'name', payload ->> 'encryptedValue' FROM secret_memory_heads "
    "WHERE concept = ANY(%s) AND " + _ACTIVE
)


@dataclass(frozen=True, slots=True)
class StoredTables:
    """The active rows at one moment: values by (concept, name). Secrets stay sealed until one is asked for."""

    values: Mapping[tuple[str, str], str]
    key: MasterKey | None = field(default=None, repr=False)

    def variable(self, name: str, *, system_only: bool) -> str | None:
        """The value of a variable, partition before global, or global only; None when there is none."""
        found = None if system_only else self.values.get((PARTITION_VARIABLE, name))
        return self.values.get((GLOBAL_VARIABLE, name)) if found is None else found

    def secret(self, name: str, *, system_only: bool) -> str | None:
        """The plaintext of a secret, in the same order.

        :raises MemqlError: ``FAILED_PRECONDITION`` without a master key, or when it was sealed under another.
        """
        scopes = (GLOBAL_SECRET,) if system_only else (PARTITION_SECRET, GLOBAL_SECRET)
        found = next((concept for concept in scopes if (concept, name) in self.values), None)
        return None if found is None else self.value(found, name)

    def value(self, concept: str, name: str) -> str:
        """A value that is there, opened if it is sealed.

        :raises MemqlError: as :meth:`secret`.
        """
        stored = self.values[concept, name]
        if concept not in (GLOBAL_SECRET, PARTITION_SECRET):
            return stored
        if self.key is None:
            raise MemqlError(
                Code.FAILED_PRECONDITION, f"the secret {name} cannot be opened: MEMQL_MASTER_KEY is not set"
            )
        return open_value(self.key, stored)


async def load_tables(target: Database | Connection, key: MasterKey | None = None) -> StoredTables:
    """Read all active variables and sealed secrets."""
    params = ([GLOBAL_VARIABLE, PARTITION_VARIABLE], [GLOBAL_SECRET, PARTITION_SECRET])
    if isinstance(target, Database):
        rows = await target.fetch(_ROWS, params)
    else:
        rows = await (await target.execute(_ROWS, params)).fetchall()
    return StoredTables({(concept, name): value for concept, name, value in rows}, key)
