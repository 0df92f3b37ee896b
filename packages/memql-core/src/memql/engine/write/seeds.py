"""Seeds: rows a tree wants to exist (spec "Seeds").

Create-only: an id that has any version, even a tombstone, is left alone, so that what somebody changed or deleted
stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from memql.auth import system
from memql.engine.context import RequestContext
from memql.engine.write.writer import GraphWriter
from memql.errors import MemqlError
from memql.graph.database import Database
from memql.graph.store import Store
from memql.ids import qualify, short_id
from memql.lang.catalog import Catalog, Seed

__all__ = ["USER_CONCEPT", "USER_CREATED", "Seeder"]

USER_CONCEPT: Final = "v1:identity:user"
USER_CREATED: Final = f"graph.node.created.{USER_CONCEPT}"
"""The topic after which :meth:`Seeder.apply_to_user` is due."""

_OWNER: Final = "ownerUserId"
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class _Row:
    """One row a seed asks for; ``id`` is the full id."""

    seed: Seed
    id: str
    payload: dict[str, Any]


class Seeder:
    """Writes the seeds of a catalog through the pipeline, as ``system:seed``."""

    def __init__(self, writer: GraphWriter, database: Database, catalog: Catalog) -> None:
        self._writer = writer
        self._database = database
        self._catalog = catalog

    async def apply(self) -> list[str]:
        """Write what is missing of the global seeds, and of the per-user ones for every live user.

        :returns: the ids that were written.
        :raises MemqlError: what the pipeline raises, naming the seed.
        """
        written = await self._write(self._global_rows())
        if any(seed.per_user for seed in self._catalog.seeds.values()):
            users = await self._database.fetch(
                "SELECT id FROM memory_heads WHERE concept = %s AND NOT deleted ORDER BY id", (USER_CONCEPT,)
            )
            written += await self._write(row for (user,) in users for row in self._user_rows(user))
        return written

    async def apply_to_user(self, user_id: str) -> list[str]:
        """Write what is missing of the per-user seeds for one user.

        :param user_id: the full id of the user's row.
        :returns: the ids that were written.
        :raises MemqlError: as :meth:`apply`.
        """
        return await self._write(self._user_rows(user_id))

    def _global_rows(self) -> Iterator[_Row]:
        for seed in self._catalog.seeds.values():
            if not seed.per_user:
                yield _Row(seed, qualify(seed.id or seed.name, seed.concept), dict(seed.payload))

    def _user_rows(self, user_id: str) -> Iterator[_Row]:
        for seed in self._catalog.seeds.values():
            if seed.per_user:
                node_id = qualify(f"{seed.name}-{short_id(user_id)}", seed.concept)
                yield _Row(seed, node_id, {**seed.payload, _OWNER: user_id})

    async def _write(self, rows: Iterable[_Row]) -> list[str]:
        written: list[str] = []
        pending = iter(rows)
        while batch := list(islice(pending, _BATCH)):
            known = await self._known([row.id for row in batch])
            written += [row.id for row in batch if row.id not in known and await self._create(row)]
        return written

    async def _known(self, ids: Sequence[str]) -> set[str]:
        """Which ids have a version, in either pair of tables."""
        rows = await self._database.fetch(
            f"SELECT id FROM {Store.MEMORY.heads} WHERE id = ANY(%(ids)s) "
            f"UNION ALL SELECT id FROM {Store.SECRET.heads} WHERE id = ANY(%(ids)s)",
            {"ids": list(ids)},
        )
        return {node_id for (node_id,) in rows}

    async def _create(self, row: _Row) -> bool:
        provenance = {"kind": "seed", "name": row.seed.name}
        ctx = RequestContext(actor=system("system:seed"), provenance=provenance)
        try:
            return await self._writer.create(row.seed.concept, row.payload, ctx, id=row.id)
        except MemqlError as error:
            error.message = f"seed {row.seed.name} ({row.seed.file}:{row.seed.span.line}): {error.message}"
            raise
