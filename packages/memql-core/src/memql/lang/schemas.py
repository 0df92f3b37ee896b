"""JSON Schemas (draft 2020-12) of declared types, payloads and inputs (spec "Types")."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import rfc8785

from memql.lang import ast
from memql.lang.catalog import ArgSpec, Field

__all__ = [
    "DIALECT",
    "SCALARS",
    "input_schema",
    "object_schema",
    "payload_schema",
    "schema_hash",
    "tombstone_schema",
    "type_schema",
]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

SCALARS: Final[Mapping[str, Mapping[str, Any]]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "datetime": {"type": "string", "format": "date-time"},
    "object": {"type": "object"},
    "any": {},
}
"""The named types and their schemas."""


def type_schema(declared: ast.TypeExpr) -> dict[str, Any]:
    """The schema of a type; an unknown name, which the checker refuses, accepts anything."""
    if isinstance(declared, ast.EnumType):
        return {"type": "string", "enum": list(declared.values)}
    if isinstance(declared, ast.ListType):
        return {"type": "array", "items": type_schema(declared.item)}
    if isinstance(declared, ast.MapType):
        return {"type": "object", "additionalProperties": type_schema(declared.value)}
    return dict(SCALARS.get(declared.name, {}))


def object_schema(fields: Iterable[Field]) -> dict[str, Any]:
    """A closed object of declared fields, with one ``if``/``then`` per branch of a variant."""
    fields = tuple(fields)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _field_schema(field) for field in fields},
        "additionalProperties": False,
    }
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    if branches := [branch for field in fields if field.discriminator for branch in _branches(field)]:
        schema["allOf"] = branches
    return schema


def _field_schema(field: Field) -> dict[str, Any]:
    if field.discriminator or field.type is None or field.fields is not None:
        block = object_schema(field.fields) if field.fields is not None else {"type": "object"}
        if isinstance(field.type, ast.ListType):
            return {"type": "array", "items": block}
        return block
    schema = type_schema(field.type)
    if isinstance(field.type, ast.ListType) and field.constraints:
        schema["items"] = {**schema["items"], **field.constraints}
        return schema
    return {**schema, **field.constraints}


def _branches(field: Field) -> Iterable[dict[str, Any]]:
    for value, members in field.variants.items():
        chosen = {"properties": {field.discriminator: {"const": value}}, "required": [field.discriminator]}
        yield {"if": chosen, "then": {"properties": {field.name: object_schema(members)}}}


def payload_schema(schema_id: str, fields: Iterable[Field]) -> dict[str, Any]:
    """The schema of live payloads of a concept."""
    return {"$schema": DIALECT, "$id": schema_id, **object_schema(fields)}


def tombstone_schema(schema_id: str) -> dict[str, Any]:
    """The schema of the payload that a delete writes; its ``$id`` is ``<schema_id>.delete``."""
    return {
        "$schema": DIALECT,
        "$id": f"{schema_id}.delete",
        "type": "object",
        "properties": {"id": {"type": "string"}, "deleted": {"const": True}, "reason": {"type": "string"}},
        "required": ["id", "deleted"],
        "additionalProperties": False,
    }


def input_schema(args: Iterable[ArgSpec], *, closed: bool = True) -> dict[str, Any]:
    """The schema of an argument object: what the caller gives, so auto-injected fields are left out."""
    given = [arg for arg in args if not arg.auto_injected]
    properties: dict[str, Any] = {}
    for arg in given:
        schema = dict(arg.json_schema)
        if arg.description:
            schema["description"] = arg.description
        if arg.has_default:
            schema["default"] = arg.default
        properties[arg.name] = schema
    out: dict[str, Any] = {"type": "object", "properties": properties}
    if required := [arg.name for arg in given if arg.required and not arg.has_default]:
        out["required"] = required
    if closed:
        out["additionalProperties"] = False
    return out


def schema_hash(schema: Mapping[str, Any]) -> str:
    """Lower-hex SHA-256 of the RFC 8785 form of a schema."""
    return hashlib.sha256(rfc8785.dumps(dict(schema))).hexdigest()
