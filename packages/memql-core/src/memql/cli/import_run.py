"""One import: batches into the store, a checkpoint after each, so that an interrupted run goes on where it
was.

A batch commits whole, marked with the run and its number in the rows' provenance. When a run resumes, the
batch after the checkpoint may have been committed already; the mark tells, and its rows are not written a
second time.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from memql.auth import system
from memql.cli.import_rows import BadLine, ColumnMap, FileFormat, ParsedLine, RowSource
from memql.engine.context import RequestContext
from memql.engine.write import BulkWriter, GraphWriter, ImportRow, PreparedBatch, RefusedRow
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.ids import content_id, new_id, qualify
from memql.node.failures import unwrapped

__all__ = ["Checkpoint", "ImportPlan", "ImportRun", "Progress", "checkpoint_path"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What is imported, and how."""

    path: Path
    form: FileFormat
    concept: str
    columns: ColumnMap
    batch: int

    @property
    def fingerprint(self) -> str:
        """The identity of this import: the file's place and everything that decides what its rows become."""
        parts = [str(self.path.absolute()), self.form, self.concept, self.columns.id_column, str(self.batch)]
        parts.extend(f"{column}={target}" for column, target in sorted(self.columns.columns.items()))
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far a run came: ``batches`` done, ``records`` read, and what became of them.

    ``size`` and ``modified`` (nanoseconds) are the file's: a run never goes on with another file.
    """

    run: str
    size: int
    modified: int
    batches: int = 0
    records: int = 0
    stored: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, told after each batch; ``refused`` are this batch's."""

    checkpoint: Checkpoint
    position: int
    refused: Sequence[RefusedRow]


def checkpoint_path(home: Path, plan: ImportPlan) -> Path:
    """Where the checkpoint of an import is kept unless the caller says."""
    return home / "imports" / f"{plan.fingerprint}.json"


class ImportRun:
    """See the module.

    :param checkpoint: file of the checkpoint; it is gone when the import is complete.
    :param restart: begin anew even if there is a checkpoint.
    """

    def __init__(
        self, plan: ImportPlan, writer: GraphWriter, database: Database, checkpoint: Path, *, restart: bool
    ) -> None:
        self._plan = plan
        self._writer = writer
        self._database = database
        self._path = checkpoint
        self._restart = restart
        self._concept = writer.rules(plan.concept).concept

    async def run(self, tell: Callable[[Progress], None]) -> Checkpoint:
        """Import what is not imported yet; ``tell`` is called after each batch.

        :raises MemqlError: when the file cannot be read or the database fails; the checkpoint stays then, and
            running again goes on. ``FAILED_PRECONDITION`` when the file has changed since the checkpoint.
        """
        state, resumed = self._begin()
        source = RowSource(self._plan.path, self._plan.form, self._concept, self._plan.columns)
        reader = _Reader(source, self._plan.batch, skip=state.records)
        batch = await anyio.to_thread.run_sync(reader.next)
        done = await self._stored_before(state, batch) if resumed and batch else frozenset()
        ready = self._prepare(batch, _mark(state), done) if batch else None
        while ready is not None:
            ahead = _Ahead(partial(self._prepare_next, reader, _mark(state, after=1)))
            with unwrapped():
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ahead.run, name="import: next batch")
                    state, refused = await self._store(state, ready)
            self._save(state)
            tell(Progress(checkpoint=state, position=ready.position, refused=refused))
            ready = ahead.take()
        self._path.unlink(missing_ok=True)
        return state

    def _begin(self) -> tuple[Checkpoint, bool]:
        try:
            stat = self._plan.path.stat()
        except OSError as error:
            raise MemqlError(Code.INVALID_ARGUMENT, f"{self._plan.path} cannot be read: {error.strerror}") from error
        saved = None if self._restart else _load(self._path)
        if saved is None:
            state = Checkpoint(run=new_id(), size=stat.st_size, modified=stat.st_mtime_ns)
            self._save(state)
            return state, False
        if (saved.size, saved.modified) != (stat.st_size, stat.st_mtime_ns):
            raise MemqlError(
                Code.FAILED_PRECONDITION,
                f"{self._plan.path} has changed since {saved.records} of its records were imported; restore it, or "
                "begin anew with --restart (rows with the same ids become further versions)",
            )
        return saved, True

    def _prepare_next(self, reader: _Reader, mark: str) -> _Ready | None:
        batch = reader.next()
        return self._prepare(batch, mark, frozenset()) if batch else None

    def _prepare(self, batch: _Batch, mark: str, done: frozenset[str]) -> _Ready:
        """Check a batch; rows whose ids are ``done`` count as stored."""
        lines = [one for one in batch.records if isinstance(one, ParsedLine)]
        fresh = [one for one in lines if not done or self._id(one) not in done]
        provenance = {"kind": "system", "name": "import", "trigger": mark}
        context = RequestContext(actor=system("system:import"), provenance=provenance)
        writer = BulkWriter(self._writer, self._database, self._plan.concept, context)
        return _Ready(
            writer=writer,
            rows=writer.prepare(ImportRow(one.line, one.payload, one.id) for one in fresh),
            bad=[RefusedRow(one.line, one.error) for one in batch.records if isinstance(one, BadLine)],
            records=len(batch.records),
            stored_before=len(lines) - len(fresh),
            position=batch.position,
        )

    async def _store(self, state: Checkpoint, ready: _Ready) -> tuple[Checkpoint, list[RefusedRow]]:
        outcome = await ready.writer.store(ready.rows)
        refused = sorted([*ready.bad, *outcome.refused], key=lambda row: row.line)
        reached = replace(
            state,
            batches=state.batches + 1,
            records=state.records + ready.records,
            stored=state.stored + len(outcome.stored) + ready.stored_before,
            refused=state.refused + len(refused),
        )
        return reached, refused

    async def _stored_before(self, state: Checkpoint, batch: _Batch) -> frozenset[str]:
        """The ids of this batch that the interrupted run has stored, because it died before its
        checkpoint."""
        ids = [id_ for one in batch.records if isinstance(one, ParsedLine) and (id_ := self._id(one))]
        store = self._writer.rules(self._plan.concept).store
        rows = await self._database.fetch(
            f"SELECT DISTINCT id FROM {store.log} WHERE concept = %s AND id = ANY(%s) "
            "AND provenance ->> 'trigger' = %s",
            (self._plan.concept, ids, _mark(state)),
        )
        return frozenset(id_ for (id_,) in rows)

    def _id(self, line: ParsedLine) -> str:
        """The full id a line gets; empty when it gets none because it is refused."""
        rules = self._writer.rules(self._plan.concept)
        try:
            short = line.id or content_id(self._plan.concept, rules.complete(line.payload), self._writer.salt)
            return qualify(short, self._plan.concept)
        except MemqlError:
            return ""

    def _save(self, state: Checkpoint) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(asdict(state)))
        draft.replace(self._path)


def _mark(state: Checkpoint, after: int = 0) -> str:
    """What the rows of the batch after the checkpoint carry, or of one further on."""
    return f"{state.run}#{state.batches + after}"


def _load(path: Path) -> Checkpoint | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise MemqlError(
            Code.FAILED_PRECONDITION, f"the checkpoint {path} cannot be read ({error}); begin anew with --restart"
        ) from error


@dataclass(frozen=True, slots=True)
class _Batch:
    records: Sequence[ParsedLine | BadLine]
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A batch that only has to be stored."""

    writer: BulkWriter
    rows: PreparedBatch
    bad: Sequence[RefusedRow]
    records: int
    stored_before: int
    position: int


class _Reader:
    """Batches of a file; blocking, so that it is called in a thread."""

    def __init__(self, source: RowSource, size: int, *, skip: int) -> None:
        self._source = source
        self._size = size
        self._records = itertools.islice(source, skip, None)

    def next(self) -> _Batch | None:
        """The next batch, None at the end."""
        records = list(itertools.islice(self._records, self._size))
        return _Batch(records, self._source.position) if records else None


class _Ahead:
    """The next batch, made ready in a thread while the one before is stored."""

    def __init__(self, make: Callable[[], _Ready | None]) -> None:
        self._make = make
        self._ready: _Ready | None = None
        self._error: MemqlError | None = None

    async def run(self) -> None:
        """Make it; a failure is kept, because the batch before may still be stored well."""
        try:
            self._ready = await anyio.to_thread.run_sync(self._make)
        except MemqlError as error:
            self._error = error

    def take(self) -> _Ready | None:
        """The batch; None at the end.

        :raises MemqlError: why it could not be made ready.
        """
        if self._error is not None:
            raise self._error
        return self._ready
