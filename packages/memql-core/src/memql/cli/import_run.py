"""One import: batches into the store, a checkpoint after each, so that an interrupted run goes on where it
was.

A batch commits whole, marked with the run and its number in the rows' provenance. When a run resumes, the
batch after the checkpoint may have been committed already; the mark tells, and its rows are not written a
second time.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from memql.auth import system
from memql.cli.import_rows import BadLine, ColumnMap, ParsedLine, RowSource
from memql.engine.context import RequestContext
from memql.engine.write import BulkWriter, GraphWriter, ImportRow, RefusedRow
from memql.errors import Code, MemqlError
from memql.graph.database import Database
from memql.ids import content_id, new_id, qualify

__all__ = ["Checkpoint", "ImportPlan", "ImportRun", "Progress", "checkpoint_path"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What is imported, and how."""

    path: Path
    form: str
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
        source = RowSource(self._plan.path, self._plan.form, self._concept, self._plan.columns)  # type: ignore[arg-type]
        records = iter(source)
        for _ in itertools.islice(records, state.records):
            pass
        for batch in _batches(records, self._plan.batch):
            done = await self._stored_before(state, batch) if resumed else frozenset()
            resumed = False
            state, refused = await self._import(state, batch, done)
            self._save(state)
            tell(Progress(checkpoint=state, position=source.position, refused=refused))
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

    async def _import(
        self, state: Checkpoint, batch: Sequence[ParsedLine | BadLine], done: frozenset[str]
    ) -> tuple[Checkpoint, list[RefusedRow]]:
        refused = [RefusedRow(one.line, one.error) for one in batch if isinstance(one, BadLine)]
        lines = [one for one in batch if isinstance(one, ParsedLine)]
        fresh = [one for one in lines if not done or self._id(one) not in done]
        writer = BulkWriter(self._writer, self._database, self._plan.concept, self._context(state))
        outcome = await writer.write(ImportRow(one.line, one.payload, one.id) for one in fresh)
        refused.extend(outcome.refused)
        refused.sort(key=lambda row: row.line)
        reached = replace(
            state,
            batches=state.batches + 1,
            records=state.records + len(batch),
            stored=state.stored + len(outcome.stored) + len(lines) - len(fresh),
            refused=state.refused + len(refused),
        )
        return reached, refused

    def _context(self, state: Checkpoint) -> RequestContext:
        mark = {"kind": "system", "name": "import", "trigger": _mark(state)}
        return RequestContext(actor=system("system:import"), provenance=mark)

    async def _stored_before(self, state: Checkpoint, batch: Sequence[ParsedLine | BadLine]) -> frozenset[str]:
        """The ids of this batch that the interrupted run has stored, because it died before its
        checkpoint."""
        ids = [id_ for one in batch if isinstance(one, ParsedLine) and (id_ := self._id(one))]
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


def _mark(state: Checkpoint) -> str:
    return f"{state.run}#{state.batches}"


def _load(path: Path) -> Checkpoint | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise MemqlError(
            Code.FAILED_PRECONDITION, f"the checkpoint {path} cannot be read ({error}); begin anew with --restart"
        ) from error


def _batches(records: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(records)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
