"""Findings about source text: one per problem, with a stable code, a place, and what to do (spec "Outcome")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from memql.errors import Code, MemqlError
from memql.lang.ast import Span

__all__ = ["Finding", "Severity", "tree_refused"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. ``code`` is one of the codes of the spec's "Codes" table."""

    severity: Severity
    code: str
    message: str
    span: Span

    def __str__(self) -> str:
        return f"{self.severity} {self.code} {self.span.file}:{self.span.line}:{self.span.column} {self.message}"


def tree_refused(findings: Iterable[Finding]) -> MemqlError:
    """The error that a refused tree raises: the first finding in the message, all in ``details.findings``."""
    errors = [finding for finding in findings if finding.severity == "error"]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return MemqlError(
        Code.TREE_REFUSED,
        f"the .memql tree does not load: {errors[0]}{more}" if errors else "the .memql tree does not load",
        details={"findings": [str(finding) for finding in errors]},
    )
