"""Showing findings: the source line with carets under the place, and the JSON form (spec "Outcome")."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from memql.lang.ast import Span
from memql.lang.diagnostics import Finding
from memql.lang.sources import Sources

__all__ = ["finding_to_json", "render", "summary"]

_MAX_COLUMNS = 160
_TAB = "    "


def render(finding: Finding, sources: Sources) -> str:
    """A finding for a terminal: one line with severity, code, place and message, then the source with carets.

    Without the source (a file that could not be read) only the first line.
    """
    text = sources.text(finding.span.file)
    line = _line(text, finding.span.line) if text is not None else None
    if line is None:
        return str(finding)
    gutter = str(finding.span.line)
    blank = " " * len(gutter)
    shown, before, marked = _marked(line, finding.span)
    return f"{finding}\n{blank} |\n{gutter} | {shown}\n{blank} | {' ' * before}{'^' * max(1, marked)}"


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """A finding for machines; lines and columns count from 1, in characters."""
    span = finding.span
    return {
        "severity": finding.severity,
        "code": finding.code,
        "message": finding.message,
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }


def summary(findings: Iterable[Finding]) -> str:
    """``2 errors, 1 warning``, or ``no findings``."""
    findings = tuple(findings)
    errors = sum(1 for finding in findings if finding.severity == "error")
    parts = [_count(errors, "error"), _count(len(findings) - errors, "warning")]
    return ", ".join(part for part in parts if part) or "no findings"


def _count(number: int, noun: str) -> str:
    return "" if number == 0 else f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _line(text: str, number: int) -> str | None:
    lines = text.split("\n")
    return lines[number - 1].rstrip("\r") if 1 <= number <= len(lines) else None


def _marked(line: str, span: Span) -> tuple[str, int, int]:
    """The line as shown, how many terminal columns precede the place, and how many it covers."""
    start = span.column - 1
    end = span.end_column - 1 if span.end_line == span.line else len(line)
    start, end = min(start, len(line)), min(max(end, start), len(line))
    cut = max(0, start - _MAX_COLUMNS // 2) if len(line) > _MAX_COLUMNS else 0
    visible = line[cut : cut + _MAX_COLUMNS]
    lead = "..." if cut else ""
    tail = "..." if cut + _MAX_COLUMNS < len(line) else ""
    before = len(lead) + _width(line[cut:start])
    marked = _width(line[start : min(end, cut + _MAX_COLUMNS)])
    return f"{lead}{visible}{tail}".replace("\t", _TAB), before, marked


def _width(text: str) -> int:
    """Terminal columns: wide characters take two, combining ones none, a tab what it is replaced with."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if character == "\t":
        return len(_TAB)
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
