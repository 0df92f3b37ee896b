"""Specs and traits: row or context, never both; rings; the shape that limits them (spec "Construct rules")."""

from __future__ import annotations

from collections.abc import Iterator

from memql.lang import ast
from memql.lang.catalog import Concept, Spec
from memql.lang.checker.build import common
from memql.lang.checker.check import Check, PredicateFacts, RowPath
from memql.lang.checker.declare import warn_naming
from memql.lang.checker.env import Env, Facts
from memql.lang.checker.filters import check_filter
from memql.lang.checker.report import listing
from memql.lang.checker.static import path_problem
from memql.lang.checker.tree import Declared

__all__ = ["check_uses", "read_predicates"]


def read_predicates(check: Check) -> dict[str, Spec]:
    """Check and build every spec and trait."""
    declared = [one for one in check.tree.declared if one.space == "predicates"]
    own = {one: _own_facts(check, one) for one in declared}
    check.predicates.update(_settle_facts(own))
    for one in declared:
        check_uses(check, own[one])
        _judge(check, one, own[one])
        warn_naming(one, check.predicates[one].is_context, check.report)
    return {one.key: _build(check, one) for one in declared}


def _own_facts(check: Check, declared: Declared) -> Facts:
    decl = declared.decl
    assert isinstance(decl, ast.SpecDecl | ast.TraitDecl)
    env = Env(check=check, owner=declared, places="F", row=True)
    check_filter(decl.filter, env)
    return env.facts


def _settle_facts(own: dict[Declared, Facts]) -> dict[Declared, PredicateFacts]:
    """What each predicate reads, with what those it names read: facts spread to the namers until nothing changes."""
    known: dict[Declared, PredicateFacts] = {}
    namers: dict[Declared, list[Declared]] = {}
    for one, facts in own.items():
        named = [use.declared for use in facts.uses if not use.in_relation and use.declared in own]
        known[one] = PredicateFacts(facts.row, facts.actor, facts.sound, facts.row_paths, named)
        for target in named:
            namers.setdefault(target, []).append(one)
    pending = list(known)
    while pending:
        source = pending.pop()
        pending.extend(namer for namer in namers.get(source, ()) if known[namer].absorb(known[source]))
    return known


def _judge(check: Check, declared: Declared, own: Facts) -> None:
    facts = check.predicates[declared]
    if not facts.sound:
        return
    if facts.is_mixed:
        if any(check.predicates[named].is_mixed for named in facts.names):
            return  # told there
        check.report.error(
            "spec-mixed", declared.span,
            f"{declared.name} reads both rows and the actor; make two, or put the actor inside a relationship function",
        )  # fmt: skip
    elif not facts.row and not facts.actor and not own.uses:
        check.report.error(
            "spec-empty", declared.span, f"{declared.name} reads neither a row nor the actor, so it is always the same"
        )
    _inside_shape(check, declared, own)


def _inside_shape(check: Check, declared: Declared, own: Facts) -> None:
    mark = declared.marks.get("shape")
    if mark is None or mark.problems:
        return
    found = check.names.find(declared, "shapes", mark.text(), mark.span)
    if found is None:
        return
    assert isinstance(found.decl, ast.ShapeDecl)
    paths = [_normal(path) for path in _shape_paths(check, found, (found,))]
    for used in (*own.row_paths, *own.actor_paths):
        if not any(used.segments[: len(path)] == path for path in paths):
            dotted = ".".join(map(str, used.segments))
            shown = listing(".".join(map(str, path)) for path in paths)
            check.report.error(
                "spec-outside-shape", used.span, f"{dotted} is not in the shape {found.name}, which has: {shown}"
            )


def _shape_paths(check: Check, shape: Declared, chain: tuple[Declared, ...]) -> list[tuple[str, ...]]:
    decl = shape.decl
    assert isinstance(decl, ast.ShapeDecl)
    paths: list[tuple[str, ...]] = []
    for item in decl.items:
        if isinstance(item, ast.ShapePath):
            paths.append(item.path)
            continue
        included = check.by_key.get(("shapes", shape.names.get("shapes", {}).get(item.name, "")))
        if included is not None and included not in chain:
            paths.extend(_shape_paths(check, included, (*chain, included)))
    return paths


def _normal(path: tuple[str, ...]) -> tuple[str, ...]:
    """A shape's path as a filter writes it: ``row.id`` is ``id``."""
    return path[1:] if path[0] == "row" else path


def check_uses(check: Check, facts: Facts) -> None:
    """Hold the row paths of the predicates a filter names against the concept it names them on."""
    for use in facts.uses:
        if use.concept is None:
            continue
        problems = (_row_problem(use.concept, path) for path in _paths(check, use.declared))
        if problem := next(filter(None, problems), ""):
            check.report.error("unknown-field", use.span, f"{use.declared.name} does not fit here: {problem}")


def _paths(check: Check, start: Declared) -> Iterator[RowPath]:
    """The row paths of a predicate and of all it names."""
    pending, seen = [start], {start}
    while pending:
        facts = check.predicates.get(pending.pop())
        if facts is None:
            continue
        yield from facts.paths
        fresh = [named for named in facts.names if named not in seen]
        seen.update(fresh)
        pending.extend(fresh)


def _row_problem(concept: Concept | None, path: RowPath) -> str:
    return path_problem(concept, path.segments[1:]) if path.segments[0] == "payload" else ""


def _build(check: Check, declared: Declared) -> Spec:
    decl = declared.decl
    assert isinstance(decl, ast.SpecDecl | ast.TraitDecl)
    return Spec(
        **common(check, declared),
        filter=decl.filter,
        is_trait=declared.kind == "trait",
        is_context=check.predicates[declared].is_context,
    )
