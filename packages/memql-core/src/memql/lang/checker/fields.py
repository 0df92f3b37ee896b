"""Declared fields and arguments: types, constraints, defaults, variants (spec "Types", "Annotations")."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from memql.lang import ast
from memql.lang.annotations import Bound, Target
from memql.lang.catalog import ArgSpec, Field
from memql.lang.checker.marks import Marks, describe, read_marks
from memql.lang.checker.report import Report, did_you_mean, listing
from memql.lang.checker.static import misfit
from memql.lang.functions import ENGINE_NAMES, INTRINSICS
from memql.lang.literals import parse_text
from memql.lang.schemas import SCALARS, type_schema

__all__ = ["read_args", "read_fields"]

_BOUNDS = {
    "pattern": "pattern",
    "minLength": "minLength",
    "maxLength": "maxLength",
    "minimum": "minimum",
    "maximum": "maximum",
}
_TEXT_BOUNDS = ("pattern", "minLength", "maxLength")
_OBJECT = ast.ScalarType("object")


def read_fields(report: Report, decls: Iterable[ast.FieldDecl], *, top: bool) -> tuple[Field, ...]:
    """The fields of a concept (``top``) or of a block in one, in source order; what is wrong with them is reported."""
    decls = tuple(decls)
    _refuse_twice(report, decls)
    fields = []
    for decl in decls:
        if top and decl.name in INTRINSICS:
            report.error(
                "reserved-field",
                decl.span,
                f"{decl.name!r} belongs to every row; name the field {decl.name + 'Value'!r}, say",
            )
        fields.append(_field(report, decl, decls))
    return tuple(fields)


def _refuse_twice(report: Report, decls: Iterable[ast.FieldDecl]) -> None:
    seen: set[str] = set()
    for decl in decls:
        if decl.name in seen:
            report.error("duplicate-field", decl.span, f"{decl.name!r} is declared twice; keep one")
        seen.add(decl.name)


def _field(report: Report, decl: ast.FieldDecl, siblings: tuple[ast.FieldDecl, ...]) -> Field:
    marks = read_marks(report, "field", [one for one in decl.annotations if one.name != "relationship"])
    variant = marks.get("variant")
    if decl.type is not None:
        _check_type(report, decl.type, decl.span)
    constraints = _constraints(report, decl.type, marks, decl.span)
    fields: tuple[Field, ...] | None = None
    variants: dict[str, tuple[Field, ...]] = {}
    discriminator = ""
    if variant is not None:
        discriminator, variants = _variant(report, decl, variant, siblings)
    elif decl.fields is not None:
        fields = read_fields(report, decl.fields, top=False)
        if decl.type not in (None, _OBJECT, ast.ListType(_OBJECT), ast.ListType(ast.ScalarType("any"))):
            report.error(
                "unknown-type", decl.span, f"{decl.name!r} has a block of fields, so it is an object or []object"
            )
    has_default, default = _default(report, decl.type, marks, constraints)
    return Field(
        name=decl.name,
        type=decl.type,
        required=decl.required or marks.has("required"),
        has_default=has_default,
        default=default,
        unique=marks.has("unique"),
        immutable=marks.has("immutable"),
        guarded=marks.has("guarded"),
        secret=marks.has("secret"),
        index=marks.has("index"),
        description=describe(marks, decl.doc),
        fields=fields,
        discriminator=discriminator,
        variants=variants,
        constraints=constraints,
    )


def _variant(
    report: Report, decl: ast.FieldDecl, annotation: Bound, siblings: tuple[ast.FieldDecl, ...]
) -> tuple[str, dict[str, tuple[Field, ...]]]:
    name = annotation.text("discriminator")
    sibling = next((one for one in siblings if one.name == name), None)
    branches = {one.name: read_fields(report, one.fields or (), top=False) for one in decl.fields or ()}
    if decl.fields is None:
        report.error(
            "bad-variant", decl.span, f"{decl.name!r} needs a block with one branch for each value of {name!r}"
        )
    _refuse_twice(report, decl.fields or ())
    if name and (sibling is None or not isinstance(sibling.type, ast.EnumType)):
        enums = [one.name for one in siblings if isinstance(one.type, ast.EnumType)]
        report.error(
            "bad-variant",
            annotation.span,
            f"{name!r} is no enum field beside {decl.name!r}; enum fields: {listing(enums)}",
        )
    elif sibling is not None and isinstance(sibling.type, ast.EnumType) and decl.fields is not None:
        _compare_branches(report, decl, sibling.type.values, branches)
    return name, branches


def _compare_branches(
    report: Report, decl: ast.FieldDecl, values: tuple[str, ...], branches: dict[str, tuple[Field, ...]]
) -> None:
    missing = [value for value in values if value not in branches]
    extra = [name for name in branches if name not in values]
    if missing or extra:
        parts = [f"no branch for {listing(missing)}"] if missing else []
        parts += [f"no value for branch {listing(extra)}"] if extra else []
        report.error(
            "bad-variant", decl.span, f"the branches of {decl.name!r} and its values differ: {'; '.join(parts)}"
        )


def _check_type(report: Report, declared: ast.TypeExpr, span: ast.Span) -> None:
    where = declared.span if declared.span.line else span
    if isinstance(declared, ast.ListType):
        _check_type(report, declared.item, where)
    elif isinstance(declared, ast.MapType):
        _check_type(report, declared.value, where)
    elif isinstance(declared, ast.EnumType):
        if len(set(declared.values)) < len(declared.values):
            report.error("bad-constraint", where, "the enum names a value twice; keep one")
    elif declared.name not in SCALARS:
        hint = did_you_mean(declared.name, SCALARS) or f"; types: {', '.join(SCALARS)}, enum(..), []T, map(string, T)"
        report.error("unknown-type", where, f"there is no type {declared.name!r}{hint}")


def _constraints(report: Report, declared: ast.TypeExpr | None, marks: Marks, span: ast.Span) -> dict[str, Any]:
    found: dict[str, Any] = {}
    base = declared.item if isinstance(declared, ast.ListType) else declared
    name = base.name if isinstance(base, ast.ScalarType) else ""
    for bound in _BOUNDS:
        value = marks.value(bound)
        if value is None:
            continue
        wanted = ("string",) if bound in _TEXT_BOUNDS else ("int", "float")
        mark = marks.get(bound)
        where = mark.span if mark else span
        if name not in wanted and (not name or name in SCALARS):
            report.error("bad-constraint", where, f"@{bound} constrains {' and '.join(wanted)}, not this type")
            continue
        if problem := _bound_problem(bound, value):
            report.error("bad-constraint", where, f"@{bound}: {problem}")
            continue
        found[bound] = value
    for low, high in (("minLength", "maxLength"), ("minimum", "maximum")):
        if low in found and high in found and found[low] > found[high]:
            report.error(
                "bad-constraint", span, f"@{low}({found[low]}) is above @{high}({found[high]}); nothing fits both"
            )
    return found


def _bound_problem(bound: str, value: Any) -> str:
    if bound == "pattern":
        try:
            re.compile(value)
        except re.error as error:
            return f"{value!r} is no regular expression: {error}"
    if bound in ("minLength", "maxLength") and value < 0:
        return "a length is never negative"
    return ""


def _default(
    report: Report, declared: ast.TypeExpr | None, marks: Marks, constraints: dict[str, Any]
) -> tuple[bool, Any]:
    bound = marks.get("default")
    if bound is None or "value" not in bound.values or declared is None:
        if bound is not None and declared is None:
            report.error("bad-constraint", bound.span, "a block has no default; give its fields theirs")
        return False, None
    value = bound.values["value"]
    try:
        value = parse_text(value, declared) if isinstance(value, str) else value
    except ValueError:
        report.error("bad-constraint", bound.span, f"the default must be {misfit(value, declared) or 'of the type'}")
        return False, None
    if problem := misfit(value, declared, constraints):
        report.error("bad-constraint", bound.span, f"the default must be {problem}")
        return False, None
    return True, value


def read_args(report: Report, decls: Iterable[ast.FieldDecl], target: Target) -> tuple[ArgSpec, ...]:
    """The arguments of a callable, or the fields of a builtin, prompt or tool, in source order."""
    decls = tuple(decls)
    _refuse_twice(report, decls)
    return tuple(_arg(report, decl, target) for decl in decls)


def _arg(report: Report, decl: ast.FieldDecl, target: Target) -> ArgSpec:
    marks = read_marks(report, target, decl.annotations)
    if target == "arg" and decl.name in ENGINE_NAMES:
        report.error(
            "reserved-name", decl.span, f"{decl.name!r} is a name of the engine; choose another for the argument"
        )
    declared: ast.TypeExpr = decl.type if decl.type is not None else _OBJECT
    _check_type(report, declared, decl.span)
    schema = type_schema(declared)
    if decl.fields is not None:
        report.error("unknown-type", decl.span, f"{decl.name!r}: arguments have no blocks of fields; use object")
    if values := marks.strings("enum"):
        declared = _closed(report, declared, values, decl.span)
        schema = type_schema(declared)
    constraints = _constraints(report, declared, marks, decl.span)
    if isinstance(declared, ast.ListType):
        schema["items"] = {**schema["items"], **constraints}
    else:
        schema.update(constraints)
    has_default, default = _default(report, declared, marks, constraints)
    return ArgSpec(
        name=decl.name,
        type=declared,
        required=decl.required or marks.has("required"),
        has_default=has_default,
        default=default,
        description=describe(marks, decl.doc),
        auto_injected=marks.has("autoInjected"),
        json_schema=schema,
    )


def _closed(report: Report, declared: ast.TypeExpr, values: tuple[str, ...], span: ast.Span) -> ast.TypeExpr:
    closed = ast.EnumType(values, span=span)
    if declared == ast.ScalarType("string"):
        return closed
    if declared == ast.ListType(ast.ScalarType("string")):
        return ast.ListType(closed, span=declared.span)
    report.error("bad-constraint", span, "@enum closes string and []string, not this type")
    return declared
