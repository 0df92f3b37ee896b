"""The indexes a tree asks for: ``@index`` and ``@unique`` fields, and those that relationships are followed through,
become indexes on the heads (spec "Annotations", "Relationships").

Each covers the live rows of one concept. Names are derived from the definition, so that a changed definition
is a new index and an unchanged one costs nothing; what no concept asks for any more is dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

import psycopg

from memql.errors import Code, MemqlError
from memql.graph.database import Connection, Database, DirectConnection
from memql.graph.failures import constraint_of
from memql.graph.schema_lock import schema_lock
from memql.graph.sources import text_literal
from memql.graph.store import Store
from memql.lang import ast
from memql.lang.catalog import Concept, Field

__all__ = [
    "DeclaredIndex",
    "IndexChanges",
    "declared_indexes",
    "ensure_indexes",
    "indexed_expression",
    "unique_expression",
    "violated_field",
]

_PREFIX = "memql_field_"
_FEW_ROWS = 20_000
"""Up to so many rows an index is built at once, which blocks writers for a moment; above, concurrently."""
_BUILD_TIMEOUT = 3600.0
_NUMBERS = frozenset({"int", "float"})
_PRESENT = (
    "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indrelid IN (to_regclass('memory_heads'), to_regclass('secret_memory_heads')) "
    "AND starts_with(c.relname, %s)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredIndex:
    """One wanted index: ``path`` are the payload segments of the field it covers."""

    concept: str
    path: tuple[str, ...]
    unique: bool
    store: Store
    method: str
    keys: str
    expression: str

    @property
    def name(self) -> str:
        """A name of at most 63 bytes that changes with the definition."""
        digest = hashlib.sha256(self._definition.encode()).hexdigest()[:10]
        readable = re.sub(r"[^a-z0-9]+", "_", ":".join((self.concept, *self.path)).lower())[:40].strip("_")
        return f"{_PREFIX}{readable}_{digest}"

    def ddl(self, *, concurrently: bool = False) -> str:
        """The statement that creates it."""
        how = "CONCURRENTLY " if concurrently else ""
        kind = "UNIQUE INDEX" if self.unique else "INDEX"
        return f"CREATE {kind} {how}IF NOT EXISTS {self.name} {self._definition}"

    @property
    def condition(self) -> str:
        """The rows it covers."""
        return f"concept = {text_literal(self.concept)} AND NOT deleted"

    @property
    def _definition(self) -> str:
        return f"ON {self.store.heads} USING {self.method} ({self.keys}) WHERE {self.condition}"


@dataclass(frozen=True, slots=True)
class IndexChanges:
    """What :func:`ensure_indexes` did, by index name."""

    created: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def indexed_expression(declared: Field, path: Sequence[str], alias: str = "") -> str:
    """The SQL expression that the index on an ``@index`` field covers; a filter in these words can use it.

    Strings and enums are text under code-point order, numbers numeric, datetimes instants, lists a jsonb
    array in an index for containment (``@>``), anything else jsonb.
    """
    if _is_text(declared):
        return f'(({_text(path, alias)}) COLLATE "C")'
    if isinstance(declared.type, ast.ScalarType) and declared.type.name in _NUMBERS:
        return f"memql_number({_json(path, alias)})"
    if declared.is_datetime:
        return f"memql_instant({_text(path, alias)})"
    return f"({_json(path, alias)})"


def unique_expression(declared: Field, path: Sequence[str], alias: str = "") -> str:
    """The SQL expression that is unique among the live rows of a concept with a ``@unique`` field."""
    if _is_text(declared):
        return f'(({_text(path, alias)}) COLLATE "C")'
    return f"({_json(path, alias)})"


def declared_indexes(concepts: Iterable[Concept]) -> list[DeclaredIndex]:
    """What the concepts ask for, in the order of their fields: unique and indexed ones, and the fields that outgoing
    relationships are followed through. A unique field needs no second index."""
    found: dict[str, DeclaredIndex] = {}
    for concept in concepts:
        links = {(link.field,) for link in concept.relationships if link.direction != "incoming"}
        for path, declared in _fields(concept.fields):
            if declared.unique or declared.index or path in links:
                wanted = _declared(concept, declared, path)
                found.setdefault(wanted.name, wanted)
    return list(found.values())


def violated_field(error: MemqlError, concepts: Mapping[str, Concept]) -> tuple[str, tuple[str, ...]] | None:
    """The concept and field path whose uniqueness a write violated; None for any other error."""
    name = constraint_of(error)
    if not name.startswith(_PREFIX):
        return None
    for wanted in declared_indexes(concepts.values()):
        if wanted.unique and wanted.name == name:
            return wanted.concept, wanted.path
    return None


async def ensure_indexes(database: Database, concepts: Iterable[Concept]) -> IndexChanges:
    """Create what the concepts ask for, and drop what none asks for any more; nothing happens when all is in
    place.

    Runs under the lock of schema changes. On tables with many rows indexes are built without blocking
    writers.

    :raises MemqlError: ``FAILED_PRECONDITION`` when stored rows violate a new ``@unique``, naming some of
        them.
    """
    wanted = {index.name: index for index in declared_indexes(concepts)}
    present = dict(await database.fetch(_PRESENT, (_PREFIX,)))
    if present.keys() == wanted.keys() and all(present.values()):
        return IndexChanges()
    async with schema_lock(database) as session:
        present = dict(await session.fetch(_PRESENT, (_PREFIX,)))
        changes = IndexChanges()
        for name, valid in present.items():
            if name not in wanted or not valid:
                await session.execute(f"DROP INDEX IF EXISTS {name}")
                changes.dropped.append(name)
        missing = [index for name, index in wanted.items() if not present.get(name)]
        await _create(session, missing)
        changes.created.extend(index.name for index in missing)
        return changes


async def _create(session: DirectConnection, missing: Sequence[DeclaredIndex]) -> None:
    small = {store: not await _has_many_rows(session, store) for store in {index.store for index in missing}}
    at_once = [index for index in missing if small[index.store]]

    async def build(connection: Connection) -> None:
        async with connection.transaction():
            for index in at_once:
                await _build(index, connection)

    await session.run(build, timeout=_BUILD_TIMEOUT)
    for index in missing:
        if not small[index.store]:
            await session.run(partial(_build_online, index), timeout=_BUILD_TIMEOUT)


async def _build_online(index: DeclaredIndex, connection: Connection) -> None:
    try:
        await _build(index, connection, concurrently=True)
    except MemqlError:
        await connection.execute(f"DROP INDEX IF EXISTS {index.name}".encode())
        raise


async def _build(index: DeclaredIndex, connection: Connection, *, concurrently: bool = False) -> None:
    try:
        # A savepoint, so that the rows in the way can still be looked up after the failure.
        async with nullcontext() if concurrently else connection.transaction():
            await connection.execute(index.ddl(concurrently=concurrently).encode())
    except psycopg.errors.UniqueViolation as error:
        raise await _violation(index, connection) from error


async def _violation(index: DeclaredIndex, connection: Connection) -> MemqlError:
    cursor = await connection.execute(
        f"SELECT {index.expression}::text, (array_agg(id ORDER BY id))[:5] FROM {index.store.heads} "
        f"WHERE {index.condition} AND {index.expression} IS NOT NULL "
        "GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 5".encode()
    )
    groups = [{"value": value, "ids": ids} for value, ids in await cursor.fetchall()]
    shown = "; ".join(f"{group['value']!r} in {', '.join(group['ids'])}" for group in groups)
    return MemqlError(
        Code.FAILED_PRECONDITION,
        f"payload.{'.'.join(index.path)} of {index.concept} is declared @unique, but rows share a value: {shown}; "
        "change or delete those rows, or remove @unique",
        details={"concept": index.concept, "field": ".".join(index.path), "duplicates": groups},
    )


async def _has_many_rows(session: DirectConnection, store: Store) -> bool:
    row = await session.fetch_one(
        f"SELECT count(*) FROM (SELECT FROM {store.heads} LIMIT %s) AS bounded", (_FEW_ROWS + 1,)
    )
    return row is not None and row[0] > _FEW_ROWS


def _declared(concept: Concept, declared: Field, path: tuple[str, ...]) -> DeclaredIndex:
    store = Store.SECRET if concept.secret_store else Store.MEMORY
    expression = unique_expression(declared, path) if declared.unique else indexed_expression(declared, path)
    method, keys = "btree", expression if declared.unique else f"{expression}, created_at DESC, id"
    if isinstance(declared.type, ast.ListType) and not declared.unique:
        method, keys = "gin", f"{expression} jsonb_path_ops"
    return DeclaredIndex(
        concept=concept.key,
        path=path,
        unique=declared.unique,
        store=store,
        method=method,
        keys=keys,
        expression=expression,
    )


def _fields(fields: Sequence[Field], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
    for declared in fields:
        path = (*above, declared.name)
        yield path, declared
        yield from _fields(declared.fields or (), path)
        for branch in declared.variants.values():
            yield from _fields(branch, path)


def _is_text(declared: Field) -> bool:
    if isinstance(declared.type, ast.EnumType):
        return True
    return isinstance(declared.type, ast.ScalarType) and declared.type.name == "string"


def _text(path: Sequence[str], alias: str) -> str:
    column = f"{alias}.payload" if alias else "payload"
    if len(path) == 1:
        return f"{column} ->> {text_literal(path[0])}"
    return f"{column} #>> {text_literal('{' + ','.join(path) + '}')}"


def _json(path: Sequence[str], alias: str) -> str:
    column = f"{alias}.payload" if alias else "payload"
    if len(path) == 1:
        return f"{column} -> {text_literal(path[0])}"
    return f"{column} #> {text_literal('{' + ','.join(path) + '}')}"
