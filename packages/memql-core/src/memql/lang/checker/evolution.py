"""Schema changes between the tree in force and the next (spec "Concept versions")."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from memql.lang import ast
from memql.lang.catalog import Catalog, Concept, Field
from memql.lang.checker.check import Check
from memql.lang.checker.report import listing

__all__ = ["check_evolution"]


def check_evolution(check: Check, previous: Catalog, rows_exist: Callable[[str], bool] | None) -> None:
    """Compare every concept with the one of its id in force. A breaking change is an error once rows exist."""
    for declared in check.tree.of_kind("concept"):
        old, new = previous.concepts.get(declared.key), check.concepts[declared.key]
        if old is None or old.schema_hash == new.schema_hash:
            continue
        breaks = list(_breaks(old.fields, new.fields, ""))
        if breaks:
            message = f"{declared.key} breaks its stored rows: {listing(breaks)}; raise the major of its @version"
            if rows_exist is not None and not rows_exist(declared.key):
                check.report.warn("schema-breaking", declared.span, message)
            else:
                check.report.error("schema-breaking", declared.span, message)
        elif old.version == new.version:
            check.report.warn("schema-changed", declared.span, _changed(new))


def _changed(concept: Concept) -> str:
    return f"{concept.key} changed and is still version {concept.version}; raise the minor of its @version"


def _breaks(old: tuple[Field, ...], new: tuple[Field, ...], prefix: str) -> Iterator[str]:
    known = {field.name: field for field in new}
    before = {field.name for field in old}
    for field in old:
        if field.name not in known:
            yield f"{prefix}{field.name} is gone"
            continue
        yield from _narrowed(field, known[field.name], prefix + field.name)
    for field in new:
        if field.name not in before and field.required and not field.has_default:
            yield f"{prefix}{field.name} is new and required"


def _narrowed(old: Field, new: Field, path: str) -> Iterator[str]:
    if new.required and not old.required and not new.has_default:
        yield f"{path} has become required"
    if new.fields is not None and old.fields is not None:
        yield from _breaks(old.fields, new.fields, f"{path}.")
    elif new.fields is not None and _is_object(old.type):
        yield f"{path} has become a closed object"
    for value, branch in old.variants.items():
        if value not in new.variants:
            yield f"{path} has lost the branch {value}"
        else:
            yield from _breaks(branch, new.variants[value], f"{path}.{value}.")
    if not _widens(old.type, new.type):
        yield f"{path} has another type"
    if _tighter(old, new):
        yield f"{path} is bound more tightly"


def _is_object(declared: ast.TypeExpr | None) -> bool:
    return declared is None or declared == ast.ScalarType("object")


def _widens(old: ast.TypeExpr | None, new: ast.TypeExpr | None) -> bool:
    """Whether every value of the old type is one of the new."""
    if old == new or new == ast.ScalarType("any") or (_is_object(old) and _is_object(new)):
        return True
    if isinstance(old, ast.EnumType):
        return new == ast.ScalarType("string") or (isinstance(new, ast.EnumType) and set(old.values) <= set(new.values))
    if isinstance(old, ast.ListType) and isinstance(new, ast.ListType):
        return _widens(old.item, new.item)
    if isinstance(old, ast.MapType):
        return _is_object(new) or (isinstance(new, ast.MapType) and _widens(old.value, new.value))
    if isinstance(old, ast.ScalarType) and isinstance(new, ast.ScalarType):
        return (old.name, new.name) in {("int", "float"), ("datetime", "string")}
    return False


def _tighter(old: Field, new: Field) -> bool:
    for name in ("minLength", "minimum"):
        if name in new.constraints and new.constraints[name] > old.constraints.get(name, float("-inf")):
            return True
    for name in ("maxLength", "maximum"):
        if name in new.constraints and new.constraints[name] < old.constraints.get(name, float("inf")):
            return True
    return "pattern" in new.constraints and new.constraints["pattern"] != old.constraints.get("pattern")
