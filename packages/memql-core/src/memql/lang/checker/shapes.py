"""Shapes: paths, includes, keys (spec "Construct rules", Shape)."""

from __future__ import annotations

from memql.lang import ast
from memql.lang.catalog import Concept, Shape, ShapeItem
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.static import path_problem
from memql.lang.checker.tree import Declared
from memql.lang.functions import ACTOR_FIELDS, INTRINSICS

__all__ = ["check_payload_path", "read_shapes"]


def read_shapes(check: Check) -> dict[str, Shape]:
    """Check and build every shape, includes expanded."""
    shapes = check.tree.of_kind("shape")
    for declared in shapes:
        decl = declared.decl
        assert isinstance(decl, ast.ShapeDecl)
        if decl.concept is not None:
            found = check.names.find(declared, "concepts", decl.concept, declared.span)
            if found is not None:
                check.bound[declared] = check.concepts[found.key]
    return {declared.key: _shape(check, declared) for declared in shapes}


def _shape(check: Check, declared: Declared) -> Shape:
    if not declared.marks.has("row") and not declared.marks.has("actor"):
        check.report.error(
            "shape-kind", declared.span, f"the shape {declared.name} needs @row, @actor or both before it"
        )
    items: list[ShapeItem] = []
    _expand(check, declared, declared, items, (declared,))
    concept = check.bound.get(declared)
    return Shape(**common(check, declared), concept=concept.key if concept else "", items=tuple(items))


def _expand(check: Check, top: Declared, at: Declared, items: list[ShapeItem], chain: tuple[Declared, ...]) -> None:
    decl = at.decl
    assert isinstance(decl, ast.ShapeDecl)
    for item in decl.items:
        if isinstance(item, ast.ShapeInclude):
            found = check.names.find(at, "shapes", item.name, item.span)
            if found is not None and found not in chain:
                _expand(check, top, found, items, (*chain, found))
            continue
        if at is top:
            _check_path(check, top, item)
        elif item.path[0] == "payload":
            check_payload_path(check, check.bound.get(top), item.path[1:], top.span, "shape-path")
        key = item.alias or item.path[-1]
        if any(known.key == key for known in items):
            check.report.error(
                "shape-key", item.span if at is top else top.span,
                f"two members of {top.name} have the key {key!r}; name one with: as otherKey",
            )  # fmt: skip
        items.append(ShapeItem(key=key, path=item.path))


def _check_path(check: Check, declared: Declared, item: ast.ShapePath) -> None:
    # A shape without @row and @actor is reported as shape-kind, which is enough.
    unmarked = not declared.marks.has("row") and not declared.marks.has("actor")
    root, rest = item.path[0], item.path[1:]
    dotted = ".".join(item.path)
    if not rest:
        _bad(check, item, f"{dotted!r} is no path; name a member, for example {root}.id")
    elif root == "actor":
        if rest[0] in ("partition", "partitions"):
            check.report.error(
                "legacy-form", item.span, f"{dotted} is retired; there is one partition, so leave it out"
            )
        elif not declared.marks.has("actor") and not unmarked:
            _bad(check, item, f"{dotted} reads the actor; mark the shape with @actor")
        elif rest[0] not in ACTOR_FIELDS:
            hint = did_you_mean(rest[0], ACTOR_FIELDS) or f"; it has: {', '.join(ACTOR_FIELDS)}"
            check.report.error("unknown-actor-field", item.span, f"the actor has no field {rest[0]!r}{hint}")
        elif rest[0] == "config" and len(rest) > 1 and rest[1] not in check.config_keys:
            keys = sorted(check.config_keys)
            check.report.error(
                "unknown-config-key", item.span, f"{rest[1]!r} is no readable configuration key; keys: {listing(keys)}"
            )
    elif not declared.marks.has("row") and not unmarked:
        _bad(check, item, f"{dotted} reads the row; mark the shape with @row")
    elif root == "row":
        if rest[0] not in INTRINSICS:
            _bad(
                check,
                item,
                f"a row has no {rest[0]!r}{did_you_mean(rest[0], INTRINSICS) or f'; it has: {listing(INTRINSICS)}'}",
            )
    elif root == "payload":
        check_payload_path(check, check.bound.get(declared), rest, item.span, "shape-path")
    else:
        _bad(check, item, f"{dotted!r} begins with neither row, payload nor actor")


def _bad(check: Check, item: ast.ShapePath, message: str) -> None:
    check.report.error("shape-path", item.span, message)


def check_payload_path(
    check: Check, concept: Concept | None, segments: tuple[str | int, ...], span: ast.Span, code: str = "unknown-field"
) -> None:
    """Report a payload path that a concept lacks; without a concept there is nothing to hold it against."""
    if problem := path_problem(concept, segments):
        check.report.error(code, span, problem)
