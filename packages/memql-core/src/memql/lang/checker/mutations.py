"""Named writes: one write, its entries, its class (spec "Construct rules", Mutation)."""

from __future__ import annotations

from typing import Final

from memql.lang import ast
from memql.lang.catalog import AccessClass, Concept, Field, Mutation
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.classes import classify, classify_insert
from memql.lang.checker.declare import warn_naming
from memql.lang.checker.env import Env
from memql.lang.checker.expressions import check_expr
from memql.lang.checker.filters import check_filter
from memql.lang.checker.marks import read_retry
from memql.lang.checker.predicates import check_uses
from memql.lang.checker.queries import clauses_by_type
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.static import misfit
from memql.lang.checker.tree import Declared
from memql.lang.functions import INTRINSICS
from memql.lang.literals import NOT_LITERAL, literal_value

__all__ = ["read_mutations"]

_EXTRA_KEYS: Final = {"insert": ("id", "createdAt"), "update": ("id",), "delete": ("id", "reason")}
_SPLICE: Final = ("args", "payload")


def read_mutations(check: Check) -> dict[str, Mutation]:
    """Check and build every mutation whose concept and write are sound."""
    built = {}
    for declared in check.tree.of_kind("mutation"):
        warn_naming(declared, False, check.report)
        mutation = _mutation(check, declared)
        if mutation is not None:
            built[declared.key] = mutation
    return built


def _mutation(check: Check, declared: Declared) -> Mutation | None:
    decl = declared.decl
    assert isinstance(decl, ast.MutationDecl)
    concept = check.bound.get(declared)
    clauses = clauses_by_type(check, decl.clauses)
    if len(decl.writes) != 1:
        check.report.error(
            "write-count", decl.writes[1].span if decl.writes else declared.span,
            f"a mutation is exactly one insert, update or delete; {declared.name} has {len(decl.writes)}",
        )  # fmt: skip
        return None
    write = decl.writes[0]
    where = clauses.get(ast.FilterClause)
    condition = where.filter if isinstance(where, ast.FilterClause) else None
    env = Env(check=check, owner=declared, places="F", args=check.args_of(declared), row=True, concept=concept)
    if condition is not None:
        check_filter(condition, env)
        check_uses(check, env.facts)
    _check_target(check, declared, write, concept)
    _check_entries(check, declared, write, concept)
    merge = _merge_fields(check, declared, write, concept)
    retry = read_retry(check.report, declared.marks)
    if concept is None or not env.facts.sound:
        return None
    access = _access(check, declared, write, condition, concept)
    if access is None:
        return None
    return Mutation(
        **common(check, declared),
        concept=concept.key,
        args=check.args[declared] or (),
        filter=condition,
        write=write,
        merge_fields=merge,
        audit=declared.marks.has("audit"),
        idempotent=declared.marks.has("idempotent"),
        retry=retry,
        access=access,
    )


def _access(
    check: Check, declared: Declared, write: ast.Write, condition: ast.Expr | None, concept: Concept
) -> AccessClass | None:
    if write.kind == "insert":
        return classify_insert(check, declared, write, concept)
    return classify(check, declared, condition, concept)


def _check_target(check: Check, declared: Declared, write: ast.Write, concept: Concept | None) -> None:
    if write.concept is None:
        return
    found = check.names.find(declared, "concepts", write.concept, write.span)
    if found is not None and concept is not None and found.key != concept.key:
        check.report.error("write-concept", write.span, f"{declared.name} writes {concept.key}, not {found.key}")


def _check_entries(check: Check, declared: Declared, write: ast.Write, concept: Concept | None) -> None:
    env = Env(check=check, owner=declared, places="W", args=check.args_of(declared))
    seen: set[str] = set()
    spliced = False
    for entry in write.entries:
        path = ast.path_of(entry.value)
        check_expr(entry.value, env)
        if entry.shorthand and path == _SPLICE and write.kind != "delete":
            spliced = True
            continue
        if entry.shorthand and path is not None and len(path) > 2:
            dotted = ".".join(map(str, path))
            check.report.error("shorthand-path", entry.span, f"{dotted} alone has no key; write {entry.key}: {dotted}")
            continue
        if entry.key in seen:
            check.report.error("duplicate-field", entry.span, f"{entry.key!r} is set twice; keep one")
        seen.add(entry.key)
        _check_entry(check, write, entry, concept)
    if write.kind != "insert" and "id" not in seen:
        name = concept.name if concept is not None else "row"
        check.report.error("write-id", write.span, f"{write.kind} needs to know the row: id: args.{name}Id, say")
    if write.kind == "insert" and concept is not None and not spliced:
        _check_required(check, declared, write, concept, seen)


def _check_entry(check: Check, write: ast.Write, entry: ast.WriteEntry, concept: Concept | None) -> None:
    extra = _EXTRA_KEYS[write.kind]
    if entry.key in extra:
        return
    if entry.key in INTRINSICS:
        check.report.error("reserved-field", entry.span, f"{entry.key!r} is set by the engine; leave it out")
        return
    if write.kind == "delete":
        check.report.error("unknown-field", entry.span, f"delete takes id and reason, not {entry.key!r}")
        return
    if concept is None:
        return
    field = concept.field(entry.key)
    if field is None:
        known = [one.name for one in concept.fields]
        hint = did_you_mean(entry.key, known) or f"; it has: {listing(known)}"
        check.report.error("unknown-field", entry.span, f"{concept.key} has no field {entry.key!r}{hint}")
        return
    _check_literal(check, entry, field)


def _check_literal(check: Check, entry: ast.WriteEntry, field: Field) -> None:
    value = literal_value(entry.value)
    if value is NOT_LITERAL or field.type is None:
        return
    if problem := misfit(value, field.type, field.constraints):
        check.report.error("bad-argument", entry.span, f"{field.name!r} must be {problem}")


def _check_required(check: Check, declared: Declared, write: ast.Write, concept: Concept, given: set[str]) -> None:
    missing = [one.name for one in concept.fields if one.required and not one.has_default and one.name not in given]
    if missing:
        check.report.error(
            "write-missing", write.span,
            f"{declared.name} never sets {listing(missing)}, which every {concept.name} must have",
        )  # fmt: skip


def _merge_fields(check: Check, declared: Declared, write: ast.Write, concept: Concept | None) -> tuple[str, ...]:
    mark = declared.marks.get("mergeFields")
    if mark is None:
        return ()
    names = declared.marks.strings("mergeFields")
    if write.kind != "update":
        check.report.error("merge-fields", mark.span, f"@mergeFields is for an update, and {declared.name} has none")
        return ()
    for name in names:
        field = concept.field(name) if concept else None
        if concept is not None and (field is None or not _is_object(field)):
            check.report.error("merge-fields", mark.span, f"{name!r} is no object field of {concept.key}")
    return names


def _is_object(field: Field) -> bool:
    if field.type is None or field.discriminator or isinstance(field.type, ast.MapType):
        return True
    return isinstance(field.type, ast.ScalarType) and field.type.name in ("object", "any")
