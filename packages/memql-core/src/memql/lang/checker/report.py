"""Collecting findings: one per problem and place, in the order of the source."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from memql.lang.ast import Span
from memql.lang.diagnostics import Finding, Severity

__all__ = ["Report", "did_you_mean", "listing"]


class Report:
    """The findings of one check. Equal code and place count once, whatever the wording."""

    def __init__(self) -> None:
        self._findings: dict[tuple[str, str, int, int, int], Finding] = {}
        self.errors = 0

    def error(self, code: str, span: Span, message: str) -> None:
        """Record something that refuses the tree."""
        self._add("error", code, span, message)

    def warn(self, code: str, span: Span, message: str) -> None:
        """Record something worth changing."""
        self._add("warning", code, span, message)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Take over findings made elsewhere, the parser's for example."""
        for finding in findings:
            self._add(finding.severity, finding.code, finding.span, finding.message)

    def sorted(self) -> tuple[Finding, ...]:
        """All findings by file and position; at one place errors come first."""
        return tuple(
            sorted(
                self._findings.values(),
                key=lambda f: (f.span.file, f.span.line, f.span.column, f.severity, f.code, f.message),
            )
        )

    def _add(self, severity: Severity, code: str, span: Span, message: str) -> None:
        key = (code, span.file, span.line, span.column, span.end)
        if key in self._findings:
            return
        self._findings[key] = Finding(severity, code, message, span)
        if severity == "error":
            self.errors += 1


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for the nearest known name, or nothing when none is near."""
    candidates = sorted(set(known))
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if not near:
        folded = {candidate.lower(): candidate for candidate in candidates}
        near = [folded[name.lower()]] if name.lower() in folded else []
    return f'; did you mean "{near[0]}"?' if near else ""


def listing(names: Iterable[str], limit: int = 12) -> str:
    """Names for a message: the first ones, and how many more."""
    ordered = list(names)
    shown = ", ".join(ordered[:limit])
    return f"{shown} and {len(ordered) - limit} more" if len(ordered) > limit else shown or "none"
