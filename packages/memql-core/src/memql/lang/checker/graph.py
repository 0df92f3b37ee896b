"""The references between constructs: layers, rings, writes in reads, what is off (spec "Resolution and layers")."""

from __future__ import annotations

from collections.abc import Iterator

from memql.lang.checker.check import Check
from memql.lang.checker.names import reference_problem
from memql.lang.checker.tree import Declared, Edge

__all__ = ["check_references"]

_CALLABLE = frozenset({"query", "mutation", "logic", "builtin", "automation", "provider", "policy", "prompt"})


def check_references(check: Check) -> None:
    """Check every reference once all of them are known."""
    for owner in check.tree.declared:
        for edge in owner.edges:
            _check_edge(check, owner, edge)
    _refuse_rings(check)


def _check_edge(check: Check, owner: Declared, edge: Edge) -> None:
    target = edge.target
    if edge.ordered and (problem := reference_problem(owner, target)):
        check.report.error(problem[0], edge.span, problem[1])
        return
    if owner.enabled and not target.enabled:
        message = f"{target.title} is disabled, and {owner.title} needs it; enable it or disable both"
        if target.kind in _CALLABLE:
            check.report.warn("uses-disabled", edge.span, message)
        else:
            check.report.error("uses-disabled", edge.span, message)
    if target.marks.has("deprecated") and not owner.marks.has("deprecated"):
        hint = target.marks.text("deprecated")
        check.report.warn("deprecated", edge.span, f"{target.title} is deprecated{': ' + hint if hint else ''}")


def _refuse_rings(check: Check) -> None:
    """Report each ring once, at the first of its members in the source."""
    state: dict[Declared, int] = {}
    for start in check.tree.declared:
        if start not in state:
            _walk(check, start, state)


def _walk(check: Check, start: Declared, state: dict[Declared, int]) -> None:
    """Depth first without recursion: 1 is on the path, 2 is done."""
    path: list[Declared] = [start]
    state[start] = 1
    stack: list[Iterator[Edge]] = [iter(start.edges)]
    while stack:
        edge = next(stack[-1], None)
        if edge is None:
            stack.pop()
            state[path.pop()] = 2
            continue
        target = edge.target
        if not edge.ordered or target.layer != path[-1].layer:
            continue
        if state.get(target) == 1:
            _report_ring(check, path[path.index(target) :])
        elif target not in state:
            state[target] = 1
            path.append(target)
            stack.append(iter(target.edges))


def _report_ring(check: Check, ring: list[Declared]) -> None:
    first = min(ring, key=lambda declared: (declared.file.path, declared.span.start))
    at = ring.index(first)
    names = [declared.name for declared in (*ring[at:], *ring[:at], first)]
    check.report.error("cycle", first.span, f"these refer to each other in a ring: {' -> '.join(names)}")
