"""What every node has: where it stood."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "NO_SPAN",
    "Node",
    "Span",
]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node stood: 1-based lines and columns (in characters), 0-based half-open offsets."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    start: int
    end: int


NO_SPAN = Span("", 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    span: Span = field(default=NO_SPAN, compare=False, repr=False)
