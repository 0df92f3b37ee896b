"""Writing many versions at once: COPY for ids that are new, one set-based statement for the others.

Every row of a new id is encoded once and sent to both tables. Rows of known ids, and further rows of an id in
the same call, go through a staging table and the same upsert as single writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from memql.errors import MemqlError
from memql.graph.copy_text import RowEncoder
from memql.graph.database import Connection
from memql.graph.failures import translate
from memql.graph.log import LOGGED_COLUMNS, NewVersion
from memql.graph.store import Store

__all__ = ["Copied", "copy_versions"]


def _of(alias: LiteralString) -> LiteralString:
    return ", ".join(f"{alias}.{column}" for column in LOGGED_COLUMNS.split(", "))


_COPY_LINE = re.compile(r"COPY \w+, line (\d+)")
_STAGING_COLUMNS: LiteralString = f"ordinal, round, updated, {LOGGED_COLUMNS}, created_at"
_SQL_CLOCK = "SELECT pg_current_xact_id(), clock_timestamp()"
_SQL_NUMBERS = "SELECT nextval('memory_seq') FROM generate_series(1, %s)"
_SQL_KNOWN: dict[Store, LiteralString] = {
    store: f"SELECT id, deleted FROM {store.heads} WHERE id = ANY(%s) ORDER BY id FOR UPDATE" for store in Store
}
_SQL_STAGING: dict[Store, LiteralString] = {
    store: f"CREATE TEMP TABLE {store.value}_staging ON COMMIT DROP AS SELECT 0 AS ordinal, 0 AS round, "
    f"updated, {LOGGED_COLUMNS}, created_at FROM {store.log} WITH NO DATA"
    for store in Store
}
_SQL_UPSERT: dict[Store, LiteralString] = {
    store: f"""
WITH head AS (
    INSERT INTO {store.heads} AS h ({LOGGED_COLUMNS}, created_at, seq)
    SELECT {LOGGED_COLUMNS}, created_at,
        CASE WHEN EXISTS (SELECT FROM {store.heads} AS o WHERE o.id = s.id) THEN 0 ELSE nextval('memory_seq') END
    FROM {store.value}_staging AS s WHERE round = %(round)s ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        concept = excluded.concept, type = excluded.type, created_by = excluded.created_by,
        schema = excluded.schema, payload = excluded.payload, metadata = excluded.metadata,
        provenance = excluded.provenance, deleted = excluded.deleted,
        created_at = greatest(excluded.created_at, h.created_at + interval '1 microsecond'),
        previous_seq = h.seq, seq = nextval('memory_seq')
    RETURNING h.*
), logged AS (
    INSERT INTO {store.log} ({LOGGED_COLUMNS}, updated, created_at, seq)
    SELECT {_of("head")}, s.updated, head.created_at, head.seq
    FROM head JOIN {store.value}_staging AS s ON s.id = head.id AND s.round = %(round)s ORDER BY head.seq
)
SELECT s.ordinal, head.created_at, head.seq, head.previous_seq
FROM head JOIN {store.value}_staging AS s ON s.id = head.id AND s.round = %(round)s
"""
    for store in Store
}


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one row. ``revived`` tells that the version before was a tombstone."""

    created_at: datetime
    seq: int
    previous_seq: int | None
    revived: bool

    @property
    def created(self) -> bool:
        """Whether this is the first version of its id."""
        return self.previous_seq is None


async def copy_versions(
    connection: Connection, versions: Sequence[NewVersion], *, store: Store = Store.MEMORY
) -> list[Copied]:
    """Write versions in their order, all or none; what became of each, in the same order.

    A few thousand rows a call keep memory and locks small. Rows of one id become versions in their order. The
    call runs in a transaction, its own or the caller's open one.

    :raises MemqlError: ``CONFLICT`` when a unique index refuses a row, with ``details.constraint`` and, where
        it is known, ``details.row``, the index of that row in ``versions``; nothing is written then.
    """
    async with connection.transaction():
        cursor = await connection.execute(_SQL_CLOCK)
        row = await cursor.fetchone()
        assert row is not None
        moment: datetime = row[1]
        fresh, others, revived = await _divide(connection, versions, store)
        # In the order of the keys the indexes grow at one place after another, which halves the time.
        fresh.sort(key=lambda index: versions[index].id)
        outcome: list[Copied | None] = [None] * len(versions)
        try:
            async with connection.transaction():
                await _copy_fresh(connection, _Batch(versions, fresh, moment, store), outcome)
        except psycopg.errors.UniqueViolation as error:
            if error.diag.constraint_name != f"{store.heads}_pkey":
                raise _at_row(error, fresh) from error
            # Somebody else has just inserted one of these ids: the upsert takes either case.
            others = sorted((*fresh, *others))
        if others:
            await _stage(connection, _Batch(versions, others, moment, store), outcome, revived)
    return [copied for copied in outcome if copied is not None]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some rows of a call: their indexes in ``versions``, and the instant of those that name none."""

    versions: Sequence[NewVersion]
    indexes: list[int]
    moment: datetime
    store: Store


async def _divide(
    connection: Connection, versions: Sequence[NewVersion], store: Store
) -> tuple[list[int], list[int], set[int]]:
    """The indexes of rows whose ids are new, of the other rows, and of those that follow a tombstone."""
    cursor = await connection.execute(_SQL_KNOWN[store], ([version.id for version in versions],))
    deleted: dict[str, bool] = dict(await cursor.fetchall())
    fresh: list[int] = []
    others: list[int] = []
    revived: set[int] = set()
    for index, version in enumerate(versions):
        before = deleted.get(version.id)
        (fresh if before is None else others).append(index)
        if before:
            revived.add(index)
        deleted[version.id] = version.deleted
    return fresh, others, revived


async def _copy_fresh(connection: Connection, batch: _Batch, outcome: list[Copied | None]) -> None:
    versions, store = batch.versions, batch.store
    cursor = await connection.execute(_SQL_NUMBERS, (len(batch.indexes),))
    drawn = [number for (number,) in await cursor.fetchall()]
    for index, number in zip(sorted(batch.indexes), drawn, strict=True):
        outcome[index] = Copied(versions[index].created_at or batch.moment, number, None, revived=False)
    encoder = RowEncoder()
    lines = []
    for index in batch.indexes:
        copied = outcome[index]
        assert copied is not None
        lines.append(encoder.encode(versions[index], copied.created_at, copied.seq))
    content = b"".join(lines)
    columns = f"({LOGGED_COLUMNS}, created_at, seq)"
    await _copy(connection, f"COPY {store.heads} {columns} FROM STDIN", content)
    await _copy(connection, f"COPY {store.log} {columns} FROM STDIN", content)


async def _stage(connection: Connection, batch: _Batch, outcome: list[Copied | None], revived: set[int]) -> None:
    """Upsert rows in rounds: a statement sees one row of every id, the n-th row of an id is in round n."""
    store = batch.store
    encoder = RowEncoder()
    rounds: dict[str, int] = {}
    lines = []
    for index in batch.indexes:
        version = batch.versions[index]
        turn = rounds[version.id] = rounds.get(version.id, -1) + 1
        line = encoder.encode(version, version.created_at or batch.moment)
        lines.append(b"%d\t%d\t%c\t" % (index, turn, b"t" if version.updated else b"f") + line)
    await connection.execute(_SQL_STAGING[store])
    await _copy(connection, f"COPY {store.value}_staging ({_STAGING_COLUMNS}) FROM STDIN", b"".join(lines))
    for turn in range(max(rounds.values()) + 1):
        cursor = await connection.execute(_SQL_UPSERT[store], {"round": turn})
        for index, created_at, number, previous in await cursor.fetchall():
            outcome[index] = Copied(created_at, number, previous, index in revived)
    await connection.execute(f"DROP TABLE {store.value}_staging")


async def _copy(connection: Connection, statement: LiteralString, content: bytes) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(content)


def _at_row(error: psycopg.errors.UniqueViolation, fresh: Sequence[int]) -> MemqlError:
    failure = translate(error)
    if found := _COPY_LINE.search(error.diag.context or ""):
        failure.details["row"] = fresh[int(found[1]) - 1]
    return failure
