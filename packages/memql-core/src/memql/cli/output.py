"""What commands write: data on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from memql.errors import MemqlError

__all__ = ["cell", "say", "show_error", "show_json", "show_json_line", "show_table"]


def say(text: str) -> None:
    """A line for the person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def show_error(error: MemqlError) -> None:
    """``error CODE: message`` and, where there is one, a hint and the source it is about."""
    say(f"error {error.code.value}: {error.message}")
    if error.context:
        say("\n".join(f"  {line}" for line in error.context.splitlines()))
    for name, value in error.suggestion.items():
        label = "did you mean" if name == "didYouMean" else name
        say(f"hint: {label} {value}")
    violations = error.details.get("violations")
    if isinstance(violations, list):
        for violation in violations:
            if isinstance(violation, Mapping) and violation.get("path"):
                say(f"  {violation['path']}: {violation.get('message', '')}")
    if error.error_id:
        say(f"hint: quote {error.error_id} to the operator of the node")


def show_json(value: Any) -> None:
    """A JSON document on stdout."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode() + "\n")


def show_json_line(value: Any) -> None:
    """One line of JSON on stdout, at once."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
    sys.stdout.flush()


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, file: TextIO | None = None) -> None:
    """A table on stdout: as wide as the terminal there, never cut in a pipe."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = file or sys.stdout
    if not stream.isatty():
        _show_plain(columns, rows, stream)
        return
    console = Console(file=stream, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(item) for item in row))
    console.print(table)


def _show_plain(columns: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    table = [list(columns), *([item.replace("\n", " ") for item in row] for row in rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    for row in table:
        padded = (item.ljust(width) for item, width in zip(row, widths, strict=True))
        stream.write("  ".join(padded).rstrip() + "\n")


def cell(value: Any) -> str:
    """A JSON value as the text of a table's cell."""
    import msgspec

    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value, enc_hook=str).decode()
