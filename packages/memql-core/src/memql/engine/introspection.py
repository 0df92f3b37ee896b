"""What a tree says about itself: ``concepts()``, ``functions()``, ``help("n")`` and the rest (spec "Raw query
language", introspection). Every answer is nodes of concept ``memql:<name>`` with the answer as payload.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Protocol

import msgspec

from memql.engine.access import may_call
from memql.engine.context import RequestContext
from memql.engine.result import Meta, Result
from memql.engine.tools.builtins import Introspection
from memql.errors import Code, MemqlError
from memql.lang.catalog import ArgSpec, Builtin, Catalog, Concept, Construct, Query, Shape, Tool

__all__ = ["WritePreview", "arguments_schema", "introspection"]


class WritePreview(Protocol):
    """What the write pipeline tells without writing."""

    def validate(self, concept: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """``{valid, errors, required, provided, schema}``."""
        ...

    def content_id(self, concept: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """``{valid, id}``."""
        ...

    async def preview_insert(self, concept: str, payload: Mapping[str, Any], ctx: RequestContext) -> dict[str, Any]:
        """``{valid, id, exists, warnings}``."""
        ...


def introspection(catalog: Callable[[], Catalog], preview: WritePreview) -> dict[str, Introspection]:
    """The introspection calls by name.

    :param catalog: gives the tree in force.
    """
    calls = _Calls(catalog, preview)
    return {
        "concepts": calls.concepts,
        "functions": calls.functions,
        "tools": calls.tools,
        "shapeTemplates": calls.shape_templates,
        "help": calls.help,
        "shapeHelp": calls.shape_help,
        "serviceVersion": calls.service_version,
        "memqlDocs": calls.docs,
        "validate": calls.validate,
        "contentId": calls.content_id,
        "previewInsert": calls.preview_insert,
    }


def arguments_schema(args: tuple[ArgSpec, ...]) -> dict[str, Any]:
    """The closed JSON Schema of an argument object; what the server injects is not part of it."""
    visible = [arg for arg in args if not arg.auto_injected]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {arg.name: _described(arg) for arg in visible},
        "additionalProperties": False,
    }
    if required := [arg.name for arg in visible if arg.required]:
        schema["required"] = required
    return schema


def _described(arg: ArgSpec) -> dict[str, Any]:
    schema = dict(arg.json_schema)
    if arg.description:
        schema["description"] = arg.description
    if arg.has_default:
        schema["default"] = arg.default
    return schema


class _Calls:
    def __init__(self, catalog: Callable[[], Catalog], preview: WritePreview) -> None:
        self._catalog = catalog
        self._preview = preview

    async def concepts(self, argument: Any, ctx: RequestContext) -> Result:
        patterns = _strings(argument, "concepts") or ["*"]
        found = [
            _concept(concept)
            for key, concept in sorted(self._catalog().concepts.items())
            if any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
        ]
        return _nodes("concepts", found)

    async def functions(self, argument: Any, ctx: RequestContext) -> Result:
        catalog = self._catalog()
        entries = [
            {"name": construct.name, "description": construct.annotations.description, "kind": kind}
            for kind, construct in _callables(catalog)
            if may_call(construct, ctx.actor)
        ]
        return _nodes("functions", [{"functions": entries, "count": len(entries)}])

    async def tools(self, argument: Any, ctx: RequestContext) -> Result:
        entries = [
            {"name": tool.name, "description": tool.annotations.description, "kind": "tool"}
            for _, tool in sorted(self._catalog().tools.items())
        ]
        return _nodes("tools", [{"tools": entries, "count": len(entries)}])

    async def shape_templates(self, argument: Any, ctx: RequestContext) -> Result:
        wanted = set(_strings(argument, "shapeTemplates"))
        entries = [
            {"name": shape.name, "description": shape.annotations.description, "kind": "shape"}
            for _, shape in sorted(self._catalog().shapes.items())
            if not wanted or shape.concept in wanted
        ]
        return _nodes("shapeTemplates", [{"shapeTemplates": entries, "count": len(entries)}])

    async def help(self, argument: Any, ctx: RequestContext) -> Result:
        name = _name(argument, "help")
        catalog = self._catalog()
        for kind, construct in _documented(catalog):
            if construct.name == name or construct.key == name:
                return _nodes("help", [_help(kind, construct)])
        if kind_of := catalog.disabled.get(name):
            answer = {"type": kind_of, "name": name, "description": "", "kind": kind_of, "enabled": False}
            return _nodes("help", [answer])
        raise MemqlError(Code.NOT_FOUND, f"nothing here is called {name!r}; functions() lists what one can call")

    async def shape_help(self, argument: Any, ctx: RequestContext) -> Result:
        name = _name(argument, "shapeHelp")
        shape = self._catalog().shapes.get(name)
        if shape is None:
            raise MemqlError(Code.NOT_FOUND, f"no shape is called {name!r}; shapeTemplates() lists them")
        return _nodes("shapeHelp", [_help("shape", shape)])

    async def service_version(self, argument: Any, ctx: RequestContext) -> Result:
        answer = {"version": version("memql-core"), "catalog": self._catalog().version}
        return _nodes("serviceVersion", [answer])

    async def docs(self, argument: Any, ctx: RequestContext) -> Result:
        from memql.lang.reference import reference

        return _nodes("memqlDocs", [{"format": "markdown", "text": reference()}])

    async def validate(self, argument: Any, ctx: RequestContext) -> Result:
        concept, payload = _write_argument(argument, "validate")
        return _nodes("validate", [self._preview.validate(concept, payload)])

    async def content_id(self, argument: Any, ctx: RequestContext) -> Result:
        concept, payload = _write_argument(argument, "contentId")
        return _nodes("contentId", [self._preview.content_id(concept, payload)])

    async def preview_insert(self, argument: Any, ctx: RequestContext) -> Result:
        concept, payload = _write_argument(argument, "previewInsert")
        return _nodes("previewInsert", [await self._preview.preview_insert(concept, payload, ctx)])


def _nodes(name: str, payloads: list[dict[str, Any]]) -> Result:
    concept = f"memql:{name}"
    ids = [
        f"{concept}:{payload.get('name') or payload.get('concept') or index}" for index, payload in enumerate(payloads)
    ]
    nodes = [
        msgspec.json.encode({"id": id_, "concept": concept, "type": "object", "payload": payload})
        for id_, payload in zip(ids, payloads, strict=True)
    ]
    return Result(nodes=nodes, roots=len(nodes), meta=Meta(count=len(nodes)))


def _concept(concept: Concept) -> dict[str, Any]:
    metadata = {
        "name": concept.name,
        "namespace": concept.namespace,
        "version": concept.version,
        "type": concept.row_type,
        "description": concept.annotations.description,
        "displayCard": dict(concept.display_card),
        "relationships": [
            {"type": link.type, "field": link.field, "target": link.target, "direction": link.direction}
            for link in concept.relationships
        ],
    }
    return {"concept": concept.key, "metadata": metadata, "schemas": {concept.schema_id: dict(concept.json_schema)}}


def _callables(catalog: Catalog) -> list[tuple[str, Any]]:
    groups = (
        ("query", catalog.queries),
        ("mutation", catalog.mutations),
        ("logic", catalog.logics),
        ("builtin", catalog.builtins),
    )
    return [(kind, construct) for kind, group in groups for _, construct in sorted(group.items())]


def _documented(catalog: Catalog) -> list[tuple[str, Construct]]:
    rest: tuple[tuple[str, Mapping[str, Construct]], ...] = (
        ("concept", catalog.concepts),
        ("shape", catalog.shapes),
        ("spec", catalog.specs),
        ("automation", catalog.automations),
        ("tool", catalog.tools),
        ("prompt", catalog.prompts),
        ("policy", catalog.policies),
        ("provider", catalog.providers),
    )
    others = [(kind, construct) for kind, group in rest for construct in group.values()]
    return [*_callables(catalog), *others]


def _help(kind: str, construct: Construct) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "type": kind,
        "name": construct.name,
        "description": construct.annotations.description,
        "kind": kind,
        "enabled": True,
    }
    if isinstance(construct, Tool):
        answer["argsSchema"] = dict(construct.input_schema)
    elif isinstance(construct, Builtin):
        answer["argsSchema"] = arguments_schema(construct.fields)
    elif isinstance(construct, Concept):
        answer["argsSchema"] = dict(construct.json_schema)
    elif isinstance(construct, Shape):
        answer["fields"] = {item.key: ".".join(item.path) for item in construct.items}
        answer["concept"] = construct.concept
    elif (args := getattr(construct, "args", None)) is not None:
        answer["argsSchema"] = arguments_schema(args)
    if isinstance(construct, Query):
        answer["concept"] = construct.concept
        answer["access"] = construct.access
    return answer


def _strings(argument: Any, call: str) -> list[str]:
    if argument in ({}, None):
        return []
    values = [argument] if isinstance(argument, str) else argument
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise MemqlError(Code.INVALID_ARGUMENT, f'{call}() takes a list of strings, such as {call}(["v1:ops:*"])')
    return values


def _name(argument: Any, call: str) -> str:
    value = argument.get("name") if isinstance(argument, Mapping) else argument
    if not isinstance(value, str) or not value:
        raise MemqlError(Code.INVALID_ARGUMENT, f'{call}() takes one name, such as {call}("queryJobs")')
    return value


def _write_argument(argument: Any, call: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(argument, Mapping):
        concept, payload = argument.get("concept"), argument.get("payload")
        if isinstance(concept, str) and isinstance(payload, Mapping):
            return concept, payload
    raise MemqlError(Code.INVALID_ARGUMENT, f"{call}() takes {{concept: <id>, payload: <object>}}")
