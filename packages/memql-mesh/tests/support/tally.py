"""What a test counted, as a table in its output: ``pytest -s`` shows it, and so does a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["show"]


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print a table; the keys of the first row are its columns."""
    names = list(rows[0])
    table = [names, *([_text(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(names))]
    print(f"\n{title}")
    for line in table:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
