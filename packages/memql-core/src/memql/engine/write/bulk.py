"""Many rows of one concept at once: the same pipeline, in batches through COPY.

Every row is completed, validated and given its id as a single insert would; a bad row is reported with its line and
costs only itself. A batch is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memql.engine.context import RequestContext
from memql.engine.write.conditions import not_found
from memql.engine.write.intents import Intent
from memql.engine.write.payloads import PayloadRules
from memql.engine.write.pipeline import unique_conflict
from memql.engine.write.rows import WrittenRow, events_of
from memql.engine.write.writer import GraphWriter
from memql.errors import MemqlError
from memql.events.event import Event
from memql.graph import log
from memql.graph.bulk import Copied, copy_versions
from memql.graph.database import Connection, Database
from memql.graph.log import NewVersion
from memql.ids import content_id, qualify

__all__ = ["BatchOutcome", "BulkWriter", "ImportRow", "PreparedBatch", "RefusedRow", "StoredRow"]


@dataclass(frozen=True, slots=True)
class ImportRow:
    """One row to store: where it came from, its payload, and its id if it has one (bare or full)."""

    line: int
    payload: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not stored, and why."""

    line: int
    error: MemqlError


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row that was stored; ``created`` tells a new id from a further version."""

    line: int
    id: str
    created: bool


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of every row of a batch, each in one of the lists, by line."""

    stored: tuple[StoredRow, ...]
    refused: tuple[RefusedRow, ...]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A row ready to be stored."""

    row: ImportRow
    version: NewVersion
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Rows that :meth:`BulkWriter.prepare` has checked: those ready to be stored and those refused so far.

    ``ready`` is None when only the graph can judge the rows; they are in ``rows`` then.
    """

    rows: tuple[ImportRow, ...]
    ready: tuple[_Prepared, ...] | None
    refused: tuple[RefusedRow, ...]


@dataclass(frozen=True, slots=True)
class _Before:
    """The last live version of an id; empty for one that never had any."""

    created_by: str
    payload: Mapping[str, Any]


class _RowAppearedError(Exception):
    """A row appeared after it was looked for; the batch must look again."""


class _ClashError(Exception):
    """A row of the batch breaks a unique field; ``row`` is None when the database did not say which."""

    def __init__(self, row: _Prepared | None, error: MemqlError) -> None:
        super().__init__(error.message)
        self.row = row
        self.error = error


class BulkWriter:
    """Stores batches of one concept for one caller.

    :param publish: takes the events of stored rows after commit; None where readers of the log suffice.
    :raises MemqlError: ``UNKNOWN_CONCEPT``; ``FORBIDDEN`` when the caller may not write the concept at all.
    """

    def __init__(
        self,
        writer: GraphWriter,
        database: Database,
        concept: str,
        ctx: RequestContext,
        *,
        publish: Callable[[Event], None] | None = None,
    ) -> None:
        self._writer = writer
        self._database = database
        self._rules = writer.rules(concept)
        self._guard = self._rules.guard
        self._guard.check_caller(ctx)
        self._ctx = ctx
        self._publish = publish
        self._created_by = ctx.actor.created_by
        self._judged = self._guard.applies(ctx)

    @property
    def rules(self) -> PayloadRules:
        """The rules of the concept, for mapping columns to fields."""
        return self._rules

    async def write(self, rows: Iterable[ImportRow]) -> BatchOutcome:
        """Store the rows that can be stored, in their order; a few thousand a call.

        :raises MemqlError: only for failures of the database itself; nothing of the batch is stored then.
        """
        return await self.store(self.prepare(rows))

    def prepare(self, rows: Iterable[ImportRow]) -> PreparedBatch:
        """The part of :meth:`write` that needs no database: may run in a thread, while another batch is stored."""
        if self._judged and self._guard.by_graph:
            return PreparedBatch(tuple(rows), None, ())
        prepared, refused = self._prepare(rows)
        return PreparedBatch((), tuple(prepared), tuple(refused))

    async def store(self, batch: PreparedBatch) -> BatchOutcome:
        """The rest of :meth:`write`; batches of one writer are stored in the order of these calls.

        :raises MemqlError: as :meth:`write`.
        """
        if batch.ready is None:
            return await self._one_by_one(batch.rows)
        prepared, refused = list(batch.ready), list(batch.refused)
        stored: list[StoredRow] = []
        while prepared:
            try:
                stored = await self._store(prepared, refused)
                break
            except _RowAppearedError:
                continue
            except _ClashError as clash:
                if clash.row is None:
                    apart = await self._one_by_one([ready.row for ready in prepared])
                    stored = [*apart.stored]
                    refused += apart.refused
                    break
                refused.append(RefusedRow(clash.row.row.line, clash.error))
                prepared = [ready for ready in prepared if ready is not clash.row]
        refused.sort(key=lambda row: row.line)
        return BatchOutcome(tuple(stored), tuple(refused))

    def _prepare(self, rows: Iterable[ImportRow]) -> tuple[list[_Prepared], list[RefusedRow]]:
        prepared: list[_Prepared] = []
        refused: list[RefusedRow] = []
        for row in rows:
            try:
                prepared.append(self._version(row))
            except MemqlError as error:
                refused.append(RefusedRow(row.line, error))
        return prepared, refused

    def _version(self, row: ImportRow) -> _Prepared:
        rules = self._rules
        concept = rules.concept
        payload = rules.complete(row.payload)
        rules.check(payload)
        version = NewVersion(
            id=qualify(row.id or content_id(concept.key, payload, self._writer.salt), concept.key),
            concept=concept.key,
            type=concept.row_type,
            created_by=self._created_by,
            schema=rules.schema,
            payload=payload,
            provenance=self._ctx.provenance,
        )
        self._guard.check_new(version.id, payload, self._ctx)
        return _Prepared(row, version, payload)

    async def _store(self, prepared: list[_Prepared], refused: list[RefusedRow]) -> list[StoredRow]:
        async def work(connection: Connection) -> tuple[list[_Prepared], list[Copied], list[RefusedRow]]:
            if not (self._judged or self._rules.immutable or self._rules.is_guarded(self._ctx)):
                return prepared, await self._copy(connection, prepared), []
            before = await self._before(connection, {ready.version.id for ready in prepared})
            checked, wrong = self._check_existing(before, prepared)
            copied = await self._copy(connection, checked)
            _require_unraced(before, checked, copied)
            return checked, copied, wrong

        checked, copied, wrong = await self._database.transaction(work)
        refused.extend(wrong)
        self._emit(checked, copied)
        return [
            StoredRow(ready.row.line, ready.version.id, outcome.created)
            for ready, outcome in zip(checked, copied, strict=True)
        ]

    async def _copy(self, connection: Connection, rows: Sequence[_Prepared]) -> list[Copied]:
        try:
            return await copy_versions(connection, [ready.version for ready in rows], store=self._rules.store)
        except MemqlError as error:
            if "constraint" not in error.details:
                raise
            index = error.details.get("row")
            row = rows[index] if isinstance(index, int) else None
            raise _ClashError(row, unique_conflict(error, self._rules.concept)) from error

    async def _before(self, connection: Connection, ids: set[str]) -> dict[str, _Before]:
        """The last live version of every id that has a version; the heads stay locked."""
        store = self._rules.store
        cursor = await connection.execute(
            f"SELECT id, created_by, payload, deleted FROM {store.heads} WHERE id = ANY(%s) ORDER BY id FOR UPDATE",
            (list(ids),),
        )
        before: dict[str, _Before] = {}
        for node_id, created_by, payload, deleted in await cursor.fetchall():
            live = await log.last_live(connection, node_id, store=store) if deleted else None
            if live is not None:
                created_by, payload = live.created_by, live.payload
            before[node_id] = _Before(created_by, payload)
        return before

    def _check_existing(
        self, before: Mapping[str, _Before], prepared: Sequence[_Prepared]
    ) -> tuple[list[_Prepared], list[RefusedRow]]:
        """Hold rows against ``@guarded``, and those whose ids have versions against ``@immutable`` and the row rule."""
        current = dict(before)
        checked: list[_Prepared] = []
        refused: list[RefusedRow] = []
        for ready in prepared:
            node_id = ready.version.id
            stored = current.get(node_id)
            try:
                if stored is not None:
                    if not self._guard.owns(node_id, stored.created_by, stored.payload, self._ctx):
                        raise not_found(ready.version.concept, node_id)
                    self._rules.check_immutable(stored.payload, ready.payload)
                self._rules.check_guarded(stored.payload if stored else None, ready.payload, self._ctx)
            except MemqlError as error:
                refused.append(RefusedRow(ready.row.line, error))
            else:
                current[node_id] = _Before(self._created_by, ready.payload)
                checked.append(ready)
        return checked, refused

    async def _one_by_one(self, rows: Iterable[ImportRow]) -> BatchOutcome:
        """For row rules that only the graph can answer: each row is a write of its own."""
        stored: list[StoredRow] = []
        refused: list[RefusedRow] = []
        for row in rows:
            intent = Intent(kind="insert", rules=self._rules, id=row.id, payload=row.payload)
            try:
                result = await self._writer.run(intent, self._ctx)
            except MemqlError as error:
                if error.retryable:
                    raise
                refused.append(RefusedRow(row.line, error))
            else:
                stored.append(StoredRow(row.line, result.meta.server_id, created=True))
        return BatchOutcome(tuple(stored), tuple(refused))

    def _emit(self, rows: Sequence[_Prepared], copied: Sequence[Copied]) -> None:
        if self._publish is None:
            return
        for row, outcome in zip(rows, copied, strict=True):
            written = WrittenRow(
                id=row.version.id,
                concept=row.version.concept,
                type=row.version.type,
                created_at=outcome.created_at,
                created_by=row.version.created_by,
                payload=row.payload,
                seq=outcome.seq,
            )
            for event in events_of(written, self._rules.mask(row.payload), cause=self._ctx.cause):
                self._publish(event)


def _require_unraced(before: Mapping[str, _Before], rows: Sequence[_Prepared], copied: Sequence[Copied]) -> None:
    """Check that no row counted as new has been written over one that appeared meanwhile.

    :raises _RowAppearedError: which rolls the batch back, to be tried again.
    """
    seen = set(before)
    for row, outcome in zip(rows, copied, strict=True):
        if not outcome.created and row.version.id not in seen:
            raise _RowAppearedError
        seen.add(row.version.id)
