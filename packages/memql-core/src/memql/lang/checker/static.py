"""Static values: what is known at load about the value of an expression, and which literals fit a declared type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from memql.lang import ast
from memql.lang.catalog import ArgSpec, Concept, Field
from memql.lang.checker.report import did_you_mean, listing
from memql.lang.literals import is_datetime_text

__all__ = [
    "ANY",
    "BOOL",
    "DATETIME",
    "NUMBER",
    "TEXT",
    "Value",
    "arg_value",
    "field_value",
    "misfit",
    "rows_of",
    "type_value",
]

ValueKind = Literal["any", "bool", "number", "text", "datetime", "object", "list", "node", "nodes"]


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression yields. ``fields`` are the declared members of an object or of a list's items, None when open;
    ``concept`` is set for nodes; ``origin`` is the path so far, for messages."""

    kind: ValueKind
    fields: tuple[Field, ...] | None = None
    item: Value | None = None
    concept: Concept | None = None
    origin: str = ""

    @property
    def boolean(self) -> bool:
        """Whether it can stand as a condition."""
        return self.kind in ("any", "bool")


ANY: Final = Value("any")
BOOL: Final = Value("bool")
NUMBER: Final = Value("number")
TEXT: Final = Value("text")
DATETIME: Final = Value("datetime")

ROW_ROOTS: Final[Mapping[str, Value]] = {
    "id": TEXT, "concept": TEXT, "type": TEXT, "createdAt": DATETIME, "createdBy": TEXT,
    "provenance": Value("object"), "metadata": Value("object"),
}  # fmt: skip
"""What a filter may read of a row beside its payload."""

_NODE_MEMBERS: Final = {**ROW_ROOTS, "partition": TEXT, "schema": Value("object")}

_SCALARS: Final[Mapping[str, Value]] = {
    "string": TEXT, "bool": BOOL, "int": NUMBER, "float": NUMBER, "datetime": DATETIME, "object": Value("object"),
    "any": ANY,
}  # fmt: skip


def type_value(declared: ast.TypeExpr | None) -> Value:
    """The value of a declared type."""
    if declared is None:
        return Value("object")
    if isinstance(declared, ast.EnumType):
        return TEXT
    if isinstance(declared, ast.ListType):
        return Value("list", item=type_value(declared.item))
    if isinstance(declared, ast.MapType):
        return Value("object")
    return _SCALARS.get(declared.name, ANY)


def field_value(field: Field, origin: str) -> Value:
    """The value of a declared field; a variant has the members of all its branches."""
    if field.discriminator:
        members = tuple(member for branch in field.variants.values() for member in branch)
        return Value("object", fields=members, origin=origin)
    if field.fields is None:
        base = type_value(field.type)
        return Value(base.kind, item=base.item, origin=origin)
    block = Value("object", fields=field.fields, origin=origin)
    return Value("list", item=block, origin=origin) if isinstance(field.type, ast.ListType) else block


def arg_value(spec: ArgSpec) -> Value:
    """The value of an argument."""
    return type_value(spec.type)


def rows_of(concept: Concept) -> Value:
    """The result set of a query or mutation."""
    return Value("nodes", item=Value("node", concept=concept), concept=concept)


def payload_of(concept: Concept | None) -> Value:
    """The payload of a row; open when its concept is not known."""
    return Value("object", fields=concept.fields, origin=concept.key) if concept else Value("object")


def step(base: Value, name: str | int) -> tuple[Value, str]:
    """The value of one member, and what is wrong with it when the declaration has no such member."""
    if base.kind == "node" and isinstance(name, str):
        if name in _NODE_MEMBERS:
            return _NODE_MEMBERS[name], ""
        payload = payload_of(base.concept)
        return (payload, "") if name == "payload" else step(payload, name)
    if base.kind in ("list", "nodes"):
        if isinstance(name, int):
            return base.item or ANY, ""
        typed = base.kind == "list" and base.item is not None and base.item.kind != "any"
        return ANY, f"a list has no member {name!r}; pick an element, for example .0 or [0]" if typed else ""
    if base.kind in ("text", "number", "bool", "datetime") and base.origin:
        return ANY, f"{base.origin} is no object, so it has no member {name!r}"
    if base.fields is None:
        return ANY, ""
    matches = [field for field in base.fields if field.name == name]
    if not matches:
        known = [field.name for field in base.fields]
        hint = did_you_mean(str(name), known) or f"; it has: {listing(known)}"
        return ANY, f"{base.origin} has no field {name!r}{hint}"
    return (field_value(matches[0], f"{base.origin}.{name}") if len(matches) == 1 else ANY), ""


def path_problem(concept: Concept | None, segments: Iterable[str | int]) -> str:
    """What is wrong with a payload path of a concept; nothing when it is declared or leaves what is declared."""
    value = payload_of(concept)
    for segment in segments:
        value, problem = step(value, segment)
        if problem:
            return problem
    return ""


def misfit(value: Any, declared: ast.TypeExpr, constraints: Mapping[str, Any] | None = None) -> str:
    """Why a literal is no value of a type: what was expected, or nothing when it fits. Null always fits."""
    if value is None:
        return ""
    if isinstance(declared, ast.EnumType):
        return "" if value in declared.values else f"one of {', '.join(map(repr, declared.values))}"
    if isinstance(declared, ast.ListType):
        if not isinstance(value, list):
            return "a list"
        problems = (misfit(item, declared.item, constraints) for item in value)
        return next((f"a list of {problem}" for problem in problems if problem), "")
    if isinstance(declared, ast.MapType):
        if not isinstance(value, dict):
            return "an object"
        problems = (misfit(item, declared.value) for item in value.values())
        return next((f"an object whose values are {problem}" for problem in problems if problem), "")
    return _scalar_misfit(value, declared.name) or _out_of_bounds(value, constraints or {})


def _scalar_misfit(value: Any, name: str) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": number and float(value).is_integer(),
        "float": number,
        "datetime": isinstance(value, str) and is_datetime_text(value),
        "object": isinstance(value, dict),
    }
    return "" if fits.get(name, True) else _EXPECTED[name]


_EXPECTED: Final[Mapping[str, str]] = {
    "string": "text", "bool": "true or false", "int": "a whole number", "float": "a number",
    "datetime": "an RFC 3339 date-time", "object": "an object",
}  # fmt: skip


def _out_of_bounds(value: Any, constraints: Mapping[str, Any]) -> str:
    if isinstance(value, str):
        if "minLength" in constraints and len(value) < constraints["minLength"]:
            return f"at least {constraints['minLength']} characters"
        if "maxLength" in constraints and len(value) > constraints["maxLength"]:
            return f"at most {constraints['maxLength']} characters"
        if "pattern" in constraints and not _matches(constraints["pattern"], value):
            return f"text that matches {constraints['pattern']}"
    elif isinstance(value, int | float):
        if "minimum" in constraints and value < constraints["minimum"]:
            return f"at least {constraints['minimum']}"
        if "maximum" in constraints and value > constraints["maximum"]:
            return f"at most {constraints['maximum']}"
    return ""


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True  # the pattern itself is reported where it is declared
