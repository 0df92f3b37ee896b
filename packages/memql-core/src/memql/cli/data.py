"""``memql import``: rows from CSV and JSON lines into a concept."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from memql.cli.output import say
from memql.errors import Code, MemqlError

if TYPE_CHECKING:
    from memql.cli.import_run import Checkpoint, ImportPlan, Progress
    from memql.engine.write import RefusedRow

__all__ = ["TreeOption", "register"]

TreeOption = Annotated[
    list[Path] | None,
    typer.Option("--tree", help="Directory laid over the packaged tree; as the running node unless given. Repeatable."),
]
_BATCH = 8000
_SWITCH_INTERVAL = 0.0002
"""Seconds after which a busy thread lets another have the interpreter; Python's own 5 ms is a round trip of COPY."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_rows)


def import_rows(
    concept: Annotated[str, typer.Argument(help="Concept id, such as v1:ops:job.")],
    file: Annotated[Path, typer.Argument(help="CSV with a header, or JSON lines.")],
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", "-m", metavar="COLUMN=FIELD", help="Where a column goes; an empty field drops it."),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column that holds the ids; derived from the content unless given.")
    ] = None,
    format: Annotated[str | None, typer.Option("--format", help="csv or jsonl; by the file's ending else.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=50_000, help="Rows per transaction.")] = _BATCH,
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="Also write refused lines there, as JSON lines with the reason.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="File of the checkpoint; in the home directory unless given.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew even if an earlier run was cut off.")] = False,
    tree: TreeOption = None,
) -> None:
    """Import a CSV or JSON lines file into a concept.

    The rows go straight into the database; a running node sees them.

    Every line is checked as a single write would be; a refused one is reported with its number and costs only
    itself. A run that was interrupted goes on where it was when the same command runs again. Exit code 1 when
    lines were refused.
    """
    import anyio

    from memql.cli.import_rows import ColumnMap, detect_format
    from memql.cli.import_run import ImportPlan

    plan = ImportPlan(
        path=file,
        form=detect_format(file, format),
        concept=concept,
        columns=ColumnMap.parse(mapping or (), id_column),
        batch=batch,
    )
    if not file.is_file():
        raise MemqlError(Code.INVALID_ARGUMENT, f"there is no file {file}")
    with _reporting(file, rejects) as report:
        state = anyio.run(_run, plan, checkpoint, restart, tuple(tree or ()), report)
    say(f"{state.stored} rows stored, {state.refused} refused, {state.records} read")
    if state.refused:
        raise typer.Exit(1)


async def _run(
    plan: ImportPlan,
    checkpoint: Path | None,
    restart: bool,
    trees: Sequence[Path],
    report: Callable[[Progress], None],
) -> Checkpoint:
    from memql.cli.boot import boot_settings
    from memql.cli.import_run import ImportRun, checkpoint_path
    from memql.cli.workbench import open_workbench

    settings = boot_settings()
    async with open_workbench(settings, trees) as bench:
        place = checkpoint or checkpoint_path(settings.home, plan)
        with _two_threads_at_full_speed():
            return await ImportRun(plan, bench.writer, bench.database, place, restart=restart).run(report)


@contextlib.contextmanager
def _two_threads_at_full_speed() -> Iterator[None]:
    """Let the loop have the interpreter at once when the database answers, while a thread makes the next batch ready;
    and let nothing look for cycles among millions of rows that have none."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval)


@contextlib.contextmanager
def _reporting(file: Path, rejects: Path | None) -> Iterator[Callable[[Progress], None]]:
    """A function that reports batches: refused lines as they come, and a bar where there is a terminal."""
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(_bar(file))
        sink = stack.enter_context(rejects.open("ab")) if rejects is not None else None

        def report(progress: Progress) -> None:
            for row in progress.refused:
                say(f"{file}:{row.line}: {row.error}")
                if sink is not None:
                    sink.write(_reject_line(row))
            if sink is not None:
                sink.flush()
            advance(progress.position)

        yield report


def _reject_line(row: RefusedRow) -> bytes:
    import msgspec

    return msgspec.json.encode({"line": row.line, **row.error.to_json()}, enc_hook=str) + b"\n"


@contextlib.contextmanager
def _bar(file: Path) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(file.name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("import", total=file.stat().st_size)
        yield lambda position: bar.update(task, completed=position)
