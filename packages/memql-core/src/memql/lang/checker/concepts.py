"""Concepts: fields, relationships, display and row rules, JSON Schemas (spec "Data model")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from memql.errors import MemqlError
from memql.lang import ast
from memql.lang.catalog import Concept, Kind, Relationship, RowRule
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.declare import version_of
from memql.lang.checker.env import Env, Facts, Use
from memql.lang.checker.fields import read_fields
from memql.lang.checker.filters import check_filter
from memql.lang.checker.marks import read_marks
from memql.lang.checker.predicates import check_uses
from memql.lang.checker.report import Report, did_you_mean, listing
from memql.lang.checker.tree import Declared, Edge
from memql.lang.parser import parse_filter
from memql.lang.schemas import payload_schema, schema_hash

__all__ = ["finish_concepts", "read_concepts", "read_relationships", "schema_id"]

_TYPES: Final = ("parent", "contains", "owns", "alias", "equals", "createdBy", "interactsWith", "references")
_DIRECTIONS: Final = ("outgoing", "incoming", "bidirectional")
_NEEDS: Final = {"collection": ("contains",), "reference": ("alias", "equals")}
_SPECS: Final[tuple[Kind, ...]] = ("spec",)
_STRING: Final = ast.ScalarType("string")


def schema_id(key: str) -> str:
    """``v1:ops:job`` is ``v1.ops.job``."""
    return key.replace(":", ".")


def read_concepts(check: Check) -> None:
    """Build every concept without its relationships, which may point anywhere."""
    for declared in check.tree.of_kind("concept"):
        decl = declared.decl
        assert isinstance(decl, ast.ConceptDecl)
        fields = read_fields(check.report, decl.fields, top=True)
        schema = payload_schema(schema_id(declared.key), fields)
        concept = Concept(
            **common(check, declared),
            version=version_of(declared.marks, declared.file),
            row_type=declared.marks.text("type", "object"),
            fields=fields,
            relationships=(),
            json_schema=schema,
            schema_id=schema_id(declared.key),
            schema_hash=schema_hash(schema),
            secret_store=declared.marks.has("secretStore"),
        )
        check.concepts[declared.key] = replace(
            concept, row_rule=_row_rule(check, declared, concept), display_card=_display_card(check, declared, concept)
        )


def _row_rule(check: Check, declared: Declared, concept: Concept) -> RowRule | None:
    mark = declared.marks.get("rowAuthz")
    if mark is None or mark.problems:
        return None
    owner, via, rule = mark.text("owner"), mark.text("via"), mark.text("rule")
    if [bool(owner), bool(via), bool(rule)].count(True) != 1:
        check.report.error(
            "bad-row-authz", mark.span, 'name exactly one of owner="field", via="spec", clusterOwner and public'
        )
        return None
    if owner and concept.field(owner) is None and owner not in ("id", "createdBy"):
        known = [field.name for field in concept.fields]
        hint = did_you_mean(owner, known) or f"; it has: {listing(known)}"
        check.report.error("bad-row-authz", mark.span, f"{concept.key} has no field {owner!r}{hint}")
        return None
    if via and not any(spec.kind == "spec" for spec in check.tree.named("predicates", via)):
        if via not in check.tree.lost:
            specs = {one.name for one in check.tree.of_kind("spec")}
            check.report.error("bad-row-authz", mark.span, f"there is no spec {via!r}{did_you_mean(via, specs)}")
        return None
    if via:
        # A concept's rule names a spec above it by design: the rule runs with every read, it is no layer of its own.
        found = check.names.find(declared, "predicates", via, mark.span, kinds=_SPECS, ordered=False)
        via = found.key if found else ""
    return RowRule(owner=owner, via=via, cluster_owner=rule == "clusterOwner", public=rule == "public")


def _display_card(check: Check, declared: Declared, concept: Concept) -> dict[str, str]:
    mark = declared.marks.get("displayCard")
    if mark is None:
        return {}
    for name in mark.values.values():
        if concept.path(tuple(str(name).split("."))) is None:
            known = [field.name for field in concept.fields]
            hint = did_you_mean(str(name), known) or f"; it has: {listing(known)}"
            check.report.error("bad-display-card", mark.span, f"{concept.key} has no field {name!r}{hint}")
    return {key: str(value) for key, value in mark.values.items()}


def read_relationships(check: Check) -> None:
    """Resolve the relationships of every concept, and hold collections and references to theirs."""
    for declared in check.tree.of_kind("concept"):
        concept = check.concepts[declared.key]
        annotations = list(_relationships_of(declared.decl))
        found = [one for one in (_relationship(check, declared, annotation) for annotation in annotations) if one]
        needed = _NEEDS.get(concept.row_type)
        # One that is wrong is reported as such; it may be the one that is needed.
        complete = len(found) == len(annotations)
        if needed and complete and not any(one.type in needed for one in found):
            wanted = " or ".join(needed)
            check.report.error(
                "missing-relationship", declared.span, f"a {concept.row_type} needs a relationship of type {wanted}"
            )
        check.concepts[declared.key] = replace(concept, relationships=tuple(found))


def _relationships_of(decl: ast.Decl) -> Iterator[ast.Annotation]:
    assert isinstance(decl, ast.ConceptDecl)
    pending = list(decl.fields)
    written = [*decl.annotations, *decl.body_annotations]
    while pending:
        one = pending.pop()
        written.extend(one.annotations)
        pending.extend(one.fields or ())
    yield from sorted((one for one in written if one.name == "relationship"), key=lambda one: one.span.start)


def _relationship(check: Check, declared: Declared, annotation: ast.Annotation) -> Relationship | None:
    mark = read_marks(check.report, "concept", [annotation]).get("relationship")
    if mark is None or mark.problems:
        return None
    concept, report = check.concepts[declared.key], check.report
    kind, field, direction = mark.text("type"), mark.text("field"), mark.text("direction", "outgoing")
    if kind not in _TYPES:
        hint = did_you_mean(kind, _TYPES)
        report.error(
            "bad-relationship", mark.span, f"{kind!r} is no relationship type{hint}; types: {', '.join(_TYPES)}"
        )
        return None
    if direction not in _DIRECTIONS:
        report.error(
            "bad-relationship", mark.span, f"{direction!r} is no direction; directions: {', '.join(_DIRECTIONS)}"
        )
        return None
    target = _target(check, declared, mark.text("target"), mark.span)
    if target is None:
        return None
    holder = check.concepts[target.key] if direction == "incoming" and concept.field(field) is None else concept
    found = holder.field(field)
    if field == "createdBy":
        return Relationship(type=kind, field=field, target=target.key, direction=direction)
    if found is None:
        known = [one.name for one in holder.fields]
        hint = did_you_mean(field, known) or f"; it has: {listing(known)}"
        report.error("bad-relationship", mark.span, f"{holder.key} has no field {field!r}{hint}")
        return None
    if found.type not in (_STRING, ast.ListType(_STRING)):
        report.error("bad-relationship", mark.span, f"{field!r} points at rows, so its type is string or []string")
        return None
    many = isinstance(found.type, ast.ListType)
    return Relationship(type=kind, field=field, target=target.key, direction=direction, many=many)


def _target(check: Check, declared: Declared, text: str, span: ast.Span) -> Declared | None:
    name = text.rpartition(":")[2].rpartition(".")[2]
    if ":" in text:
        exists = check.tree.concept(text) is not None
    else:
        exists = name in declared.file.imports or bool(check.tree.named("concepts", name))
    if exists:
        return check.names.find_concept(declared, text, span, ordered=False)
    if name not in check.tree.lost:
        hint = did_you_mean(text, [*check.tree.concept_ids, *check.tree.names("concepts")])
        check.report.error("bad-relationship", span, f"the target {text!r} is no concept{hint}")
    return None


def finish_concepts(check: Check) -> None:
    """Check what names predicates, once those are known: row rules and default filters."""
    for declared in check.tree.of_kind("concept"):
        concept = check.concepts[declared.key]
        condition = _default_filter(check, declared, concept)
        _check_via(check, declared, concept)
        check.concepts[declared.key] = replace(concept, default_filter=condition, scope=declared.scope())
    for declared, concept in check.bound.items():
        check.bound[declared] = check.concepts[concept.key]


def _default_filter(check: Check, declared: Declared, concept: Concept) -> ast.Expr | None:
    mark = declared.marks.get("defaultFilter")
    if mark is None or mark.problems:
        return None
    try:
        condition = parse_filter(mark.text())
    except MemqlError as error:
        check.report.error("bad-annotation", mark.span, f"@defaultFilter: {error.message}")
        return None
    quiet = Report()
    before = len(declared.edges)
    env = Env(check=replace(check, report=quiet), owner=declared, places="F", row=True, concept=concept)
    check_filter(condition, env)
    check_uses(env.check, env.facts)
    # Like a row rule, a default filter names predicates above its concept by design.
    declared.edges[before:] = [Edge(edge.target, mark.span, False) for edge in declared.edges[before:]]
    for finding in quiet.sorted():
        # Positions inside the text mean nothing to the reader of the file: the annotation is the place.
        check.report.error(finding.code, mark.span, f"@defaultFilter: {finding.message}")
    return condition


def _check_via(check: Check, declared: Declared, concept: Concept) -> None:
    mark = declared.marks.get("rowAuthz")
    if mark is None or concept.row_rule is None or not concept.row_rule.via:
        return
    spec = check.declared("predicates", concept.row_rule.via)
    if spec is None:
        return
    facts = Facts()
    facts.uses.append(Use(spec, mark.span, concept, False))
    check_uses(check, facts)
