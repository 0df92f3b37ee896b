"""Reading the annotations of one declaration or field (spec "Annotations")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from memql.lang import annotations as table
from memql.lang import ast
from memql.lang.catalog import Annotations, RateLimit, Retry
from memql.lang.checker.report import Report, did_you_mean, listing

__all__ = ["Marks", "read_common", "read_marks", "read_retry"]

MAX_CACHE_SECONDS = 300.0


class Marks:
    """The annotations that fit, by name."""

    __slots__ = ("_bound",)

    def __init__(self, bound: Iterable[table.Bound] = ()) -> None:
        self._bound: dict[str, list[table.Bound]] = {}
        for one in bound:
            self._bound.setdefault(one.name, []).append(one)

    def has(self, name: str) -> bool:
        """Whether it stands there."""
        return name in self._bound

    def get(self, name: str) -> table.Bound | None:
        """The first of that name."""
        found = self._bound.get(name)
        return found[0] if found else None

    def all(self, name: str) -> tuple[table.Bound, ...]:
        """All of a repeatable one, in source order."""
        return tuple(self._bound.get(name, ()))

    def values(self, name: str) -> Mapping[str, Any]:
        """The arguments of the first of that name; empty when absent."""
        found = self.get(name)
        return found.values if found else {}

    def value(self, name: str, default: Any = None) -> Any:
        """The one positional argument."""
        return self.values(name).get("value", default)

    def text(self, name: str, default: str = "") -> str:
        """The one positional argument, as text."""
        return str(self.value(name, default))

    def strings(self, name: str) -> tuple[str, ...]:
        """The positional arguments of one that takes many."""
        return tuple(self.values(name).get("values", ()))


def read_marks(report: Report, target: table.Target, written: Iterable[ast.Annotation]) -> Marks:
    """Bind the annotations of one target, reporting those that are unknown, wrong, retired or repeated."""
    kept: list[table.Bound] = []
    seen: set[str] = set()
    for annotation in written:
        row = table.row_for(annotation.name, target)
        if row is None:
            _report_unknown(report, target, annotation)
            continue
        if annotation.name in seen and not row.repeatable:
            report.error(row.repeated, annotation.span, f"@{annotation.name} stands here twice; keep one")
            continue
        seen.add(annotation.name)
        bound = table.bind(annotation, row)
        if bound.problems:
            report.error("bad-annotation", annotation.span, f"@{annotation.name}: {'; '.join(bound.problems)}")
        kept.append(bound)
    return Marks(kept)


def _report_unknown(report: Report, target: table.Target, annotation: ast.Annotation) -> None:
    name = annotation.name
    retired = table.LEGACY.get(name) or (table.LEGACY["use"] if name.startswith("use") else "")
    if name == "scope" and target == "concept":
        retired = "leave it out: concepts have one scope"
    if retired:
        report.error("legacy-form", annotation.span, f"@{name} is retired; {retired}")
        return
    allowed = table.allowed_on(target)
    hint = did_you_mean(name, allowed) or f"; allowed: {listing(('@' + one for one in allowed), 40)}"
    article = "an" if target[0] in "aeiou" else "a"
    report.error("unknown-annotation", annotation.span, f"@{name} has no meaning on {article} {target}{hint}")


def read_common(report: Report, marks: Marks, doc: str | None, enabled: bool) -> Annotations:
    """The annotations many constructs share, typed."""
    return Annotations(
        enabled=enabled,
        description=describe(marks, doc),
        deprecated=marks.text("deprecated") if marks.has("deprecated") else None,
        public=marks.has("public"),
        internal=marks.has("internal"),
        roles=_roles(report, marks),
        permissions=(marks.text("permission"),) if marks.has("permission") else (),
        timeout=_positive(report, marks, "timeout", "value"),
        rate_limit=_rate_limit(report, marks),
        cache_ttl=_cache(report, marks),
        tag=marks.text("version"),
    )


def describe(marks: Marks, doc: str | None) -> str:
    """The documentation comment, else ``@description``."""
    return doc if doc else marks.text("description")


def read_retry(report: Report, marks: Marks) -> Retry | None:
    """``@retry``, when its count is at least one."""
    count = marks.values("retry").get("count")
    if count is None:
        return None
    if not 1 <= count <= 100:
        _bad(report, marks, "retry", "'count' must be between 1 and 100")
        return None
    return Retry(count)


def _roles(report: Report, marks: Marks) -> tuple[str, ...]:
    known = ("owner", "admin", "writer", "reader", "system", "guest")
    roles = marks.strings("role")
    for role in roles:
        if role not in known:
            _bad(report, marks, "role", f"{role!r} is no role{did_you_mean(role, known)}; roles: {', '.join(known)}")
    return roles


def _positive(report: Report, marks: Marks, name: str, param: str) -> float | None:
    value = marks.values(name).get(param)
    if value is None or value > 0:
        return value
    _bad(report, marks, name, "the duration must be above zero")
    return None


def _rate_limit(report: Report, marks: Marks) -> RateLimit | None:
    values = marks.values("rateLimit")
    if "requests" not in values or "per" not in values:
        return None
    if values["requests"] < 1 or values["per"] <= 0:
        _bad(report, marks, "rateLimit", "'requests' must be at least 1 and 'per' above zero")
        return None
    return RateLimit(values["requests"], values["per"])


def _cache(report: Report, marks: Marks) -> float | None:
    ttl = marks.values("cache").get("ttl")
    if ttl is not None and ttl > MAX_CACHE_SECONDS:
        _bad(report, marks, "cache", "'ttl' is at most 300 seconds")
        return None
    return ttl


def _bad(report: Report, marks: Marks, name: str, problem: str) -> None:
    bound = marks.get(name)
    assert bound is not None
    report.error("bad-annotation", bound.span, f"@{name}: {problem}")
