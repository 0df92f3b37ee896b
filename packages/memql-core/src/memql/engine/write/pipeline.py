"""The write pipeline (spec "Write pipeline"): every change of the graph goes through here.

An insert that depends on nothing stored is one statement. Whatever depends on the latest version is compare-and-set:
read the head, decide, write if the head has not moved. Who loses takes turns with the other tasks of this process;
who loses again, to another process, locks the head in a transaction, so that a write cannot starve. Events are
published after commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import psycopg

from memql.engine.context import RequestContext
from memql.engine.ports import Reader
from memql.engine.values import equal
from memql.engine.write.conditions import not_found
from memql.engine.write.intents import Intent
from memql.engine.write.row_locks import RowLocks
from memql.engine.write.rows import WrittenRow, events_of
from memql.errors import Code, MemqlError
from memql.events.event import Event
from memql.graph import log
from memql.graph.database import Connection, Database
from memql.graph.failures import translate
from memql.graph.indexes import violated_field
from memql.graph.log import Head, NewVersion, Written
from memql.ids import content_id, qualify
from memql.lang.catalog import Concept

__all__ = ["Outcome", "Pipeline", "unique_conflict", "version_number"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def version_number(created_at: datetime) -> int:
    """The number of a version: its instant in microseconds since 1970."""
    return (created_at - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an intent: the row as it stands, with its whole payload, and whether this write made it."""

    row: WrittenRow
    written: bool


@dataclass(frozen=True, slots=True)
class _Decision:
    """A version to write over the head that was seen, or None to leave things as they are."""

    version: NewVersion | None
    old_status: Any = None


_Decide: TypeAlias = Callable[[Head | None, Connection | None, RequestContext], Awaitable[_Decision]]


class Pipeline:
    """Runs intents against one database.

    :param publish: takes each event after its commit; must not wait.
    :param reader: answers row conditions that need the graph.
    :param salt: mixed into ids derived from content.
    """

    def __init__(
        self,
        database: Database,
        publish: Callable[[Event], None],
        reader: Callable[[], Reader],
        salt: str = "",
    ) -> None:
        self._database = database
        self._publish = publish
        self._reader = reader
        self._salt = salt
        self._turns = RowLocks()

    async def run(self, intent: Intent, ctx: RequestContext) -> Outcome:
        """Carry out one write as ``ctx.actor``, inside ``ctx.connection``'s transaction if there is one.

        :raises MemqlError: ``VALIDATION_FAILED`` and its kin for the payload, ``NOT_FOUND`` when there is no row to
            change or the caller may not know of it, ``FORBIDDEN`` when the caller may not write such rows, ``CONFLICT``
            when the version or a unique field stands against it.
        """
        if ctx.actor.is_read_only:
            raise MemqlError(Code.FORBIDDEN, "a service account may only read")
        intent.rules.guard.check_caller(ctx)
        try:
            if intent.kind == "insert":
                return await self._insert(intent, ctx)
            return await self._change(intent, ctx)
        except RecursionError as error:
            concept = intent.rules.concept.key
            raise MemqlError(Code.VALIDATION_FAILED, f"{concept}: the payload nests too deeply to be stored") from error
        except psycopg.errors.UniqueViolation as error:
            raise unique_conflict(translate(error), intent.rules.concept) from error
        except MemqlError as error:
            if "constraint" in error.details:
                raise unique_conflict(error, intent.rules.concept) from error
            raise

    # --- insert -----------------------------------------------------------------------------------------------------

    async def _insert(self, intent: Intent, ctx: RequestContext) -> Outcome:
        rules, guard = intent.rules, intent.rules.guard
        payload = rules.complete(intent.payload)
        rules.check(payload)
        short = intent.id or content_id(rules.concept.key, payload, self._salt)
        version = _version(intent, qualify(short, rules.concept.key), payload, ctx)
        guard.check_new(version.id, payload, ctx)
        judged = guard.applies(ctx) or rules.is_guarded(ctx) or bool(rules.immutable)
        if judged or intent.create_only or intent.idempotent:
            return await self._replace(version.id, self._over(version, intent), intent, ctx)
        written = await log.append(ctx.connection or self._database, version, store=rules.store)
        return self._done(version, written, intent, ctx)

    def _over(self, version: NewVersion, intent: Intent) -> _Decide:
        """Decide an insert whose id may have versions."""

        async def decide(head: Head | None, connection: Connection | None, ctx: RequestContext) -> _Decision:
            if head is None:
                intent.rules.check_guarded(None, _payload(version), ctx)
                return _Decision(version)
            if intent.create_only or (intent.idempotent and not head.deleted and equal(head.payload, version.payload)):
                return _Decision(None)
            before = await self._replaced(head, intent, connection, ctx)
            if before is not None:
                intent.rules.check_immutable(before.payload, _payload(version))
            intent.rules.check_guarded(None if before is None else before.payload, _payload(version), ctx)
            return _Decision(version)

        return decide

    async def _replaced(
        self, head: Head, intent: Intent, connection: Connection | None, ctx: RequestContext
    ) -> Head | None:
        """The last live version under a head that the caller may write over or revive; None if there was none.

        :raises MemqlError: ``NOT_FOUND`` when the row is somebody else's.
        """
        guard = intent.rules.guard
        before: Head | None = head
        if head.deleted:
            before = await log.last_live(connection or self._database, head.id, store=intent.rules.store)
            allowed = before is None or guard.owns(before.id, before.created_by, before.payload, ctx)
        else:
            allowed = await guard.may_change(head, ctx, self._reader())
        if not allowed:
            raise not_found(head.concept, head.id)
        return before

    # --- update, delete ----------------------------------------------------------------------------------------------

    async def _change(self, intent: Intent, ctx: RequestContext) -> Outcome:
        concept, guard = intent.rules.concept.key, intent.rules.guard
        if not intent.id:
            raise MemqlError(
                Code.INVALID_ARGUMENT, f"{intent.kind} of {concept} needs the id of the row", context=concept
            )
        node_id = qualify(intent.id, concept)

        async def decide(head: Head | None, connection: Connection | None, ctx: RequestContext) -> _Decision:
            if head is not None and head.deleted and intent.kind == "delete" and intent.idempotent:
                await self._replaced(head, intent, connection, ctx)
                return _Decision(None)
            if head is None or head.deleted or not await guard.may_change(head, ctx, self._reader()):
                raise not_found(concept, node_id)
            if intent.test is not None and not await intent.test(head, ctx):
                raise not_found(concept, node_id)
            return self._update(intent, head, ctx) if intent.kind == "update" else _delete(intent, head, ctx)

        return await self._replace(node_id, decide, intent, ctx)

    def _update(self, intent: Intent, head: Head, ctx: RequestContext) -> _Decision:
        rules, current = intent.rules, version_number(head.created_at)
        if intent.if_version is not None and intent.if_version != current:
            raise MemqlError(
                Code.CONFLICT,
                f"{head.id} is at version {current}, not {intent.if_version}; read it again and repeat the change",
                details={"version": current, "ifVersion": intent.if_version},
                retryable=False,
            )
        payload = rules.merge(head.payload, intent.payload, intent.deep)
        rules.check(payload)
        rules.check_immutable(head.payload, payload)
        rules.check_guarded(head.payload, payload, ctx)
        rules.guard.check_new(head.id, payload, ctx)
        if intent.idempotent and equal(head.payload, payload):
            return _Decision(None)
        return _Decision(_version(intent, head.id, payload, ctx), head.payload.get("status"))

    # --- compare and set ---------------------------------------------------------------------------------------------

    async def _replace(self, node_id: str, decide: _Decide, intent: Intent, ctx: RequestContext) -> Outcome:
        """Write what ``decide`` makes of the latest version, over exactly that version."""
        if ctx.connection is not None:
            return await self._locked(node_id, decide, intent, ctx, ctx.connection)
        if _is_judged_after(intent, ctx):
            return await self._in_transaction(node_id, decide, intent, ctx)
        if outcome := await self._attempt(node_id, decide, intent, ctx):
            return outcome
        async with self._turns.hold(node_id):
            if outcome := await self._attempt(node_id, decide, intent, ctx):
                return outcome
            return await self._in_transaction(node_id, decide, intent, ctx)

    async def _attempt(self, node_id: str, decide: _Decide, intent: Intent, ctx: RequestContext) -> Outcome | None:
        """Read, decide, compare and set; None when another write came between."""
        store = intent.rules.store
        head = await log.head(self._database, node_id, store=store)
        decision = await decide(head, None, ctx)
        if decision.version is None:
            assert head is not None
            return Outcome(_row(head), written=False)
        expected = None if head is None else head.seq
        written = await log.append_expected(self._database, decision.version, expected, store=store)
        if written is None:
            return None
        return self._done(decision.version, written, intent, ctx, decision.old_status)

    async def _in_transaction(self, node_id: str, decide: _Decide, intent: Intent, ctx: RequestContext) -> Outcome:
        events: list[Event] = []

        async def work(connection: Connection) -> Outcome:
            within = replace(ctx, connection=connection, deferred=events)
            return await self._locked(node_id, decide, intent, within, connection)

        outcome = await self._database.transaction(work)
        self.emit(events, ctx)
        return outcome

    async def _locked(
        self, node_id: str, decide: _Decide, intent: Intent, ctx: RequestContext, connection: Connection
    ) -> Outcome:
        """The same inside a transaction, with the head locked; a first version may still be raced for."""
        store = intent.rules.store
        while True:
            head = await log.head(connection, node_id, for_update=True, store=store)
            decision = await decide(head, connection, ctx)
            if decision.version is None:
                assert head is not None
                return Outcome(_row(head), written=False)
            expected = None if head is None else head.seq
            written = await log.append_expected(connection, decision.version, expected, store=store)
            if written is None:
                continue
            if _is_judged_after(intent, ctx):
                await self._judge(node_id, intent, ctx)
            return self._done(decision.version, written, intent, ctx, decision.old_status)

    async def _judge(self, node_id: str, intent: Intent, ctx: RequestContext) -> None:
        """Hold the row as it now stands in the transaction against the row rule; raising takes it back."""
        if not await intent.rules.guard.is_visible(node_id, ctx, self._reader()):
            raise MemqlError(
                Code.FORBIDDEN,
                f"the row rule of {intent.rules.concept.key} does not grant you the row you would write",
            )

    # --- after -------------------------------------------------------------------------------------------------------

    def _done(
        self, version: NewVersion, written: Written, intent: Intent, ctx: RequestContext, old_status: Any = None
    ) -> Outcome:
        row = WrittenRow(
            id=version.id,
            concept=version.concept,
            type=version.type,
            created_at=written.created_at,
            created_by=version.created_by,
            payload=_payload(version),
            seq=written.seq,
            deleted=version.deleted,
        )
        shown = intent.rules.mask(row.payload)
        events = events_of(row, shown, updated=version.updated, old_status=old_status, cause=ctx.cause)
        self.emit(events, ctx)
        return Outcome(row, written=True)

    def emit(self, events: Iterable[Event], ctx: RequestContext) -> None:
        """Publish what has committed, or hand it to the owner of the transaction the call is part of."""
        if ctx.deferred is not None:
            ctx.deferred.extend(events)
            return
        for event in events:
            self._publish(event)


def unique_conflict(error: MemqlError, concept: Concept) -> MemqlError:
    """A violated unique index as a message about the field; any other error as it is."""
    violated = violated_field(error, {concept.key: concept})
    if violated is None:
        return error
    field = ".".join(violated[1])
    return MemqlError(
        Code.CONFLICT,
        f"another {concept.name} has this {field} already; it is unique among the rows of {concept.key}",
        details={**error.details, "field": field, "concept": concept.key},
        retryable=False,
    )


def _is_judged_after(intent: Intent, ctx: RequestContext) -> bool:
    """Whether the row must be written before the row rule can be asked about it."""
    guard = intent.rules.guard
    return intent.kind != "delete" and guard.by_graph and guard.applies(ctx)


def _version(intent: Intent, node_id: str, payload: dict[str, Any], ctx: RequestContext) -> NewVersion:
    rules = intent.rules
    return NewVersion(
        id=node_id,
        concept=rules.concept.key,
        type=rules.concept.row_type,
        created_by=ctx.actor.created_by,
        schema=rules.schema,
        payload=payload,
        provenance=ctx.provenance if intent.provenance is None else intent.provenance,
        updated=intent.kind == "update",
        created_at=intent.created_at,
    )


def _payload(version: NewVersion) -> Mapping[str, Any]:
    """The payload of a version that this module built: decoded, as it was validated."""
    assert isinstance(version.payload, Mapping)
    return version.payload


def _delete(intent: Intent, head: Head, ctx: RequestContext) -> _Decision:
    payload: dict[str, Any] = {"id": head.id, "deleted": True}
    if intent.reason is not None:
        payload["reason"] = intent.reason
    intent.rules.check_tombstone(payload)
    version = _version(intent, head.id, payload, ctx)
    return _Decision(replace(version, schema=intent.rules.tombstone_schema, deleted=True))


def _row(head: Head) -> WrittenRow:
    return WrittenRow(
        id=head.id,
        concept=head.concept,
        type=head.type,
        created_at=head.created_at,
        created_by=head.created_by,
        payload=head.payload,
        seq=head.seq,
        deleted=head.deleted,
    )
