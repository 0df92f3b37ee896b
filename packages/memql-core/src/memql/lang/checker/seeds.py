"""Seeds: rows written at startup, held against their concept (spec "Seeds")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from memql.ids import SHORT_ID
from memql.lang import ast
from memql.lang.catalog import Concept, Field, Seed
from memql.lang.checker.build import common
from memql.lang.checker.check import Check
from memql.lang.checker.models import template_text
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.checker.static import misfit
from memql.lang.checker.tree import Declared
from memql.lang.literals import NOT_LITERAL, literal_value

__all__ = ["read_seeds"]

_OWNER_FIELD: Final = "ownerUserId"
_TEMPLATE_FIELD: Final = "systemPrompt"


def read_seeds(check: Check) -> dict[str, Seed]:
    """Check and build every seed whose concept is known."""
    built: dict[str, Seed] = {}
    first: dict[tuple[str, str], Declared] = {}
    for declared in check.tree.of_kind("seed"):
        concept = check.bound.get(declared)
        if concept is None:
            continue
        seed = _seed(check, declared, concept)
        built[declared.key] = seed
        other = first.setdefault((seed.concept, seed.id), declared)
        if other is not declared and not seed.per_user:
            check.report.error(
                "seed-id", declared.span,
                f"{other.name} in {other.file.path} writes {concept.key}:{seed.id} already; choose another id",
            )  # fmt: skip
    return built


def _seed(check: Check, declared: Declared, concept: Concept) -> Seed:
    decl = declared.decl
    assert isinstance(decl, ast.SeedDecl)
    per_user = declared.marks.value("scope") == "perUser"
    entries = [entry for entry in decl.body.entries if entry.key != "id"]
    given = {entry.key for entry in entries}
    payload = _block(check, declared, entries, concept.fields, concept.key)
    text = template_text(check, declared)
    if text is not None:
        payload[_TEMPLATE_FIELD] = text
        _check_template_field(check, declared, concept)
    if per_user and concept.field(_OWNER_FIELD) is None:
        check.report.error(
            "seed-owner", declared.span, f"a perUser seed stamps {_OWNER_FIELD}, which {concept.key} lacks"
        )
    stamped = {_OWNER_FIELD} if per_user else set()
    stamped |= {_TEMPLATE_FIELD} if declared.marks.has("templateFile") else set()
    _check_required(check, declared, declared.span, concept.fields, given | stamped, concept.key)
    return Seed(
        **common(check, declared),
        concept=concept.key,
        id=_id(check, declared, decl.body, per_user),
        payload=payload,
        per_user=per_user,
    )


def _id(check: Check, declared: Declared, body: ast.SeedBlock, per_user: bool) -> str:
    entries = [entry for entry in body.entries if entry.key == "id"]
    if not entries:
        return declared.name
    entry = entries[0]
    if len(entries) > 1:
        check.report.error("seed-id", entries[1].span, "the id stands twice; keep one")
    if per_user:
        check.report.error("seed-id", entry.span, "a perUser seed makes its ids from the users; leave id out")
        return declared.name
    value = NOT_LITERAL if isinstance(entry.value, ast.SeedBlock) else literal_value(entry.value)
    if not isinstance(value, str) or not SHORT_ID.fullmatch(value):
        check.report.error("seed-id", entry.span, "an id is text of letters, digits and ._~-, at most 200")
        return declared.name
    return value


def _block(
    check: Check, declared: Declared, entries: Iterable[ast.SeedEntry], fields: tuple[Field, ...] | None, origin: str
) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for entry in entries:
        if entry.key in payload:
            check.report.error("duplicate-field", entry.span, f"{entry.key!r} is set twice; keep one")
            continue
        field = next((one for one in fields or () if one.name == entry.key), None)
        if fields is not None and field is None:
            known = [one.name for one in fields]
            hint = did_you_mean(entry.key, known) or f"; it has: {listing(known)}"
            check.report.error("bad-seed", entry.span, f"{origin} has no field {entry.key!r}{hint}")
        payload[entry.key] = _value(check, declared, entry, field, f"{origin}.{entry.key}", entries)
    return {key: value for key, value in payload.items() if value is not None}


def _value(
    check: Check,
    declared: Declared,
    entry: ast.SeedEntry,
    field: Field | None,
    origin: str,
    siblings: Iterable[ast.SeedEntry],
) -> Any:
    if isinstance(entry.value, ast.SeedBlock):
        return _nested(check, declared, entry, entry.value, field, origin, siblings)
    value = literal_value(entry.value)
    if value is NOT_LITERAL:
        check.report.error(
            "bad-seed", entry.span, f"{entry.key!r} must be a literal; a seed is evaluated once, without a caller"
        )
        return None
    declared_type = field.type if field is not None else None
    if field is not None and field.type is None:
        declared_type = ast.ScalarType("object")
    if declared_type is not None and (problem := misfit(value, declared_type, field.constraints if field else {})):
        check.report.error("bad-seed", entry.span, f"{entry.key!r} must be {problem}")
    return value


def _nested(
    check: Check,
    declared: Declared,
    entry: ast.SeedEntry,
    block: ast.SeedBlock,
    field: Field | None,
    origin: str,
    siblings: Iterable[ast.SeedEntry],
) -> dict[str, Any]:
    members = field.fields if field is not None else None
    if field is not None and field.discriminator:
        chosen = next((one.value for one in siblings if one.key == field.discriminator), None)
        value = literal_value(chosen) if chosen is not None and not isinstance(chosen, ast.SeedBlock) else None
        members = field.variants.get(value) if isinstance(value, str) else None
    elif field is not None and field.fields is None and not _is_open(field):
        check.report.error("bad-seed", entry.span, f"{entry.key!r} is no object, so it has no block")
    if members is not None:
        given = {one.key for one in block.entries}
        _check_required(check, declared, entry.span, members, given, origin)
    return _block(check, declared, block.entries, members, origin)


def _is_open(field: Field) -> bool:
    if field.type is None or isinstance(field.type, ast.MapType):
        return True
    return isinstance(field.type, ast.ScalarType) and field.type.name in ("object", "any")


def _check_required(
    check: Check, declared: Declared, span: ast.Span, fields: tuple[Field, ...], given: set[str], origin: str
) -> None:
    missing = [one.name for one in fields if one.required and not one.has_default and one.name not in given]
    if missing:
        check.report.error(
            "bad-seed", span, f"{declared.name} lacks {listing(missing)}, which every {origin} must have"
        )


def _check_template_field(check: Check, declared: Declared, concept: Concept) -> None:
    mark = declared.marks.get("templateFile")
    if mark is not None and concept.field(_TEMPLATE_FIELD) is None:
        check.report.error(
            "bad-seed", mark.span, f"the text of a template goes to {_TEMPLATE_FIELD}, which {concept.key} lacks"
        )
