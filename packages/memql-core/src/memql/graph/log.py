"""Writing versions: one statement per version keeps the log and the heads in step (spec "Row", "Write
pipeline").

``created_at`` of a version always exceeds that of the id's previous one, by a microsecond if need be. The
upsert of the head takes the row's lock, so versions of one id are totally ordered and ``seq`` ascends with
``created_at``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import msgspec

from memql.graph.database import Connection, Database
from memql.graph.prepared import execute_prepared
from memql.graph.store import Store

__all__ = [
    "LOGGED_COLUMNS",
    "Head",
    "NewVersion",
    "Store",
    "Written",
    "append",
    "append_expected",
    "head",
    "heads",
    "last_live",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version to write. ``id`` is the full id; JSON members are encoded when written; a payload may be JSON
    text already.

    ``created_at`` is the wished-for instant, the database's clock when None; the stored one may be later.
    """

    id: str
    concept: str
    created_by: str
    schema: Mapping[str, Any]
    payload: Mapping[str, Any] | msgspec.Raw
    provenance: Mapping[str, Any]
    type: str = "object"
    metadata: Mapping[str, Any] | None = None
    deleted: bool = False
    updated: bool = False
    """Whether an update wrote it: the log keeps that, because its events are created and updated."""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a version: its instant, its log number, and the number of the version it replaced."""

    created_at: datetime
    seq: int
    previous_seq: int | None

    @property
    def created(self) -> bool:
        """Whether this is the first version of its id."""
        return self.previous_seq is None


@dataclass(frozen=True, slots=True)
class Head:
    """A stored version: of the latest one all members, of an earlier one the same without ``previous_seq``."""

    id: str
    created_at: datetime
    concept: str
    type: str
    created_by: str
    schema: dict[str, Any]
    payload: dict[str, Any]
    metadata: dict[str, Any]
    provenance: dict[str, Any]
    deleted: bool
    seq: int


LOGGED_COLUMNS: LiteralString = "id, concept, type, created_by, schema, payload, metadata, provenance, deleted"
_VALUES = (
    "%(id)s::text, %(concept)s::text, %(type)s::text, %(created_by)s::text, %(schema)s::jsonb, %(payload)s::jsonb, "
    "%(metadata)s::jsonb, %(provenance)s::jsonb, %(deleted)s::boolean"
)
_LATER = "greatest(coalesce(%(created_at)s::timestamptz, clock_timestamp()), h.created_at + interval '1 microsecond')"
_OVERWRITE = (
    "concept = %(concept)s, type = %(type)s, created_by = %(created_by)s, schema = %(schema)s, "
    "payload = %(payload)s, metadata = %(metadata)s, provenance = %(provenance)s, deleted = %(deleted)s, "
    "previous_seq = h.seq, seq = nextval('memory_seq')"
)
# The transaction has its id before a number is drawn (hence the calls of pg_current_xact_id that are always true),
# else a reader could pass a number that commits later.
# When a head exists, the number is drawn under its lock (in the DO UPDATE) so that numbers follow versions.
_FIRST_SEQ = (
    "CASE WHEN pg_current_xact_id() IS NULL OR EXISTS (SELECT FROM {heads} WHERE id = %(id)s) "
    "THEN 0 ELSE nextval('memory_seq') END"
)
_TO_LOG = (
    ", logged AS (INSERT INTO {log} (" + LOGGED_COLUMNS + ", updated, created_at, seq) "
    "SELECT " + _VALUES + ", %(updated)s::boolean, created_at, seq "
    "FROM head) SELECT (extract(epoch FROM created_at) * 1000000)::bigint, seq, previous_seq FROM head"
)
_APPEND = (
    "WITH head AS (INSERT INTO {heads} AS h (" + LOGGED_COLUMNS + ", created_at, seq) "
    "VALUES (" + _VALUES + ", coalesce(%(created_at)s::timestamptz, clock_timestamp()), " + _FIRST_SEQ + ") "
    "ON CONFLICT (id) DO UPDATE SET " + _OVERWRITE + ", created_at = " + _LATER + " "
    "RETURNING created_at, seq, previous_seq)" + _TO_LOG
)
_INSERT_NEW = (
    "WITH head AS (INSERT INTO {heads} AS h (" + LOGGED_COLUMNS + ", created_at, seq) "
    "VALUES (" + _VALUES + ", coalesce(%(created_at)s::timestamptz, clock_timestamp()), " + _FIRST_SEQ + ") "
    "ON CONFLICT (id) DO NOTHING RETURNING created_at, seq, previous_seq)" + _TO_LOG
)
_REPLACE_EXPECTED = (
    "WITH head AS (UPDATE {heads} AS h SET " + _OVERWRITE + ", created_at = " + _LATER + " "
    "WHERE h.id = %(id)s AND h.seq = %(expected)s AND pg_current_xact_id() IS NOT NULL "
    "RETURNING created_at, seq, previous_seq)" + _TO_LOG
)
_PARAMETERS: tuple[str, ...] = (
    "id", "concept", "type", "created_by", "schema", "payload", "metadata", "provenance", "deleted", "updated",
    "created_at", "expected",
)  # fmt: skip
_STORED = "id, created_at, concept, type, created_by, schema, payload, metadata, provenance, deleted, seq"


def _statements(template: LiteralString) -> dict[Store, LiteralString]:
    return {store: template.replace("{heads}", store.heads).replace("{log}", store.log) for store in Store}


def _prepared(template: LiteralString) -> dict[Store, bytes]:
    """The statement with ``$n`` in the order of :data:`_PARAMETERS`."""
    text: str = template
    for number, name in enumerate(_PARAMETERS, 1):
        text = text.replace(f"%({name})s", f"${number}")
    return {store: text.replace("{heads}", store.heads).replace("{log}", store.log).encode() for store in Store}


_SQL_APPEND = _prepared(_APPEND)
_SQL_INSERT_NEW = _prepared(_INSERT_NEW)
_SQL_REPLACE_EXPECTED = _prepared(_REPLACE_EXPECTED)
_SQL_HEAD = _statements(f"SELECT {_STORED} FROM {{heads}} WHERE id = %s")
_SQL_HEAD_LOCKED = _statements(f"SELECT {_STORED} FROM {{heads}} WHERE id = %s FOR UPDATE")
_SQL_HEADS = _statements(f"SELECT {_STORED} FROM {{heads}} WHERE id = ANY(%s)")
_SQL_LAST_LIVE = _statements(
    f"SELECT {_STORED} FROM {{log}} WHERE id = %s AND NOT deleted ORDER BY created_at DESC LIMIT 1"
)


async def append(target: Database | Connection, version: NewVersion, *, store: Store = Store.MEMORY) -> Written:
    """Write a version whatever the latest one is; concurrent ones of the same id all survive, in some order.

    One statement: on a :class:`Database` it commits by itself, on a connection it joins the open transaction.

    :raises MemqlError: ``CONFLICT`` with ``details.constraint`` when a unique index refuses the row. On a connection
        that is psycopg's ``UniqueViolation``, which the enclosing :meth:`Database.run` translates.
    """
    written = await _write(target, _SQL_APPEND[store], _bound(version))
    assert written is not None
    return written


async def append_expected(
    target: Database | Connection,
    version: NewVersion,
    expected_seq: int | None,
    *,
    store: Store = Store.MEMORY,
) -> Written | None:
    """Write a version only if the latest one still has ``expected_seq`` (None: only if the id has no
    version).

    :returns: None when the head has moved; nothing is written then.
    """
    if expected_seq is None:
        return await _write(target, _SQL_INSERT_NEW[store], _bound(version))
    values = [*_bound(version), str(expected_seq).encode()]
    return await _write(target, _SQL_REPLACE_EXPECTED[store], values)


async def head(
    target: Database | Connection, node_id: str, *, for_update: bool = False, store: Store = Store.MEMORY
) -> Head | None:
    """The latest version of a full id, a tombstone included; None when the id has no version.

    :param for_update: also lock it until the end of the transaction; needs a connection inside one.
    """
    row = await _one(target, (_SQL_HEAD_LOCKED if for_update else _SQL_HEAD)[store], (node_id,))
    return None if row is None else Head(*row)


async def heads(target: Database | Connection, ids: Iterable[str], *, store: Store = Store.MEMORY) -> dict[str, Head]:
    """The latest versions of full ids, by id; ids without a version are absent."""
    params = (list(ids),)
    if isinstance(target, Database):
        rows: Sequence[tuple[Any, ...]] = await target.fetch(_SQL_HEADS[store], params)
    else:
        rows = await (await target.execute(_SQL_HEADS[store], params)).fetchall()
    return {row[0]: Head(*row) for row in rows}


async def last_live(target: Database | Connection, node_id: str, *, store: Store = Store.MEMORY) -> Head | None:
    """The newest version of a full id that is no tombstone, even if a tombstone follows it; None without one."""
    row = await _one(target, _SQL_LAST_LIVE[store], (node_id,))
    return None if row is None else Head(*row)


_encode = msgspec.json.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _bound(version: NewVersion) -> list[bytes | None]:
    """The values of a version in the order of :data:`_PARAMETERS`, as PostgreSQL reads them."""
    return [
        version.id.encode(),
        version.concept.encode(),
        version.type.encode(),
        version.created_by.encode(),
        _encode(version.schema),
        _encode(version.payload),
        _encode(version.metadata) if version.metadata else b"{}",
        _encode(version.provenance),
        b"t" if version.deleted else b"f",
        b"t" if version.updated else b"f",
        None if version.created_at is None else version.created_at.isoformat().encode(),
    ]


async def _write(target: Database | Connection, statement: bytes, values: Sequence[bytes | None]) -> Written | None:
    if isinstance(target, Database):
        rows = await target.run_prepared(statement, values)
    else:
        rows = await execute_prepared(target, statement, values)
    if not rows.ntuples:
        return None
    moment, seq, previous = (rows.get_value(0, column) for column in range(3))
    return Written(
        _EPOCH + timedelta(microseconds=int(moment or 0)), int(seq or 0), None if previous is None else int(previous)
    )


async def _one(target: Database | Connection, statement: LiteralString, params: Any) -> tuple[Any, ...] | None:
    if isinstance(target, Database):
        return await target.fetch_one(statement, params)
    return await (await target.execute(statement, params)).fetchone()
