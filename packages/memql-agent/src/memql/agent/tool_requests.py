"""When a message asks for a tool by its name (spec "No key at all").

``/toolName key=value ..`` runs any tool. Without the slash a message must name exactly one tool and give every argument
that it requires as ``key=value``, and only a tool that reads is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from memql.lang import ast
from memql.lang.catalog import ArgSpec, Catalog, Tool

__all__ = ["ToolRequest", "is_read_only", "tool_request"]

_SLASH: Final = re.compile(r"/([A-Za-z_][A-Za-z0-9_]*)(?=\s|$)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*")
_BARE: Final = re.compile(r"[^\s]+")
_DECODER: Final = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool that is asked for. ``refusal`` says why it is not run; empty when it is."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    refusal: str = ""


def tool_request(text: str, tools: Sequence[Tool], catalog: Catalog) -> ToolRequest | None:
    """The tool that a message asks for, or None when it asks for none.

    :param tools: those that the asker may call.
    """
    text = text.strip()
    by_name = {tool.name: tool for tool in tools}
    if slash := _SLASH.match(text):
        return _by_slash(slash[1], text[slash.end() :], by_name)
    return _by_name(text, by_name, catalog)


def _by_slash(name: str, rest: str, tools: Mapping[str, Tool]) -> ToolRequest:
    tool = tools.get(name)
    if tool is None:
        near = get_close_matches(name, tools, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"You may call: {', '.join(tools) or 'none'}."
        return ToolRequest(name, refusal=f"There is no tool {name!r} that you may call; {hint}")
    found, leftover = _arguments(rest, tool)
    if leftover:
        return ToolRequest(name, refusal=f"{leftover!r} is not key=value; write /{name} {_sample(tool)}".rstrip())
    return ToolRequest(name, found)


def _by_name(text: str, tools: Mapping[str, Tool], catalog: Catalog) -> ToolRequest | None:
    named = [name for name in dict.fromkeys(_NAME.findall(text)) if name in tools]
    if len(named) != 1:
        return None
    tool = tools[named[0]]
    found, leftover = _arguments(text, tool)
    required = _required(tool)
    if not found.keys() >= required or (not required and leftover != tool.name):
        return None
    if is_read_only(tool, catalog):
        return ToolRequest(tool.name, found)
    return ToolRequest(
        tool.name,
        found,
        refusal=f"{tool.name} may change data, so it is only run when a message begins with /{tool.name}.",
    )


def is_read_only(tool: Tool, catalog: Catalog) -> bool:
    """Whether all that a tool can do is read: its handler is a query and it is marked as nothing else."""
    if tool.destructive or tool.requires_confirmation or tool.client_execution:
        return False
    if tool.query is None:
        return tool.function in catalog.queries
    read = tool.query
    while isinstance(read, ast.DirectiveRead):
        read = read.read
    if isinstance(read, ast.FilterRead):
        return True
    return isinstance(read.call.callee, ast.Name) and read.call.callee.name in catalog.queries


# --- arguments -------------------------------------------------------------------------------------------------------


def _visible(tool: Tool) -> dict[str, ArgSpec]:
    return {spec.name: spec for spec in tool.fields if not spec.auto_injected}


def _required(tool: Tool) -> set[str]:
    return {name for name, spec in _visible(tool).items() if spec.required and not spec.has_default}


def _sample(tool: Tool) -> str:
    return " ".join(f"{name}=.." for name in _visible(tool))


def _arguments(text: str, tool: Tool) -> tuple[dict[str, Any], str]:
    """The ``key=value`` pairs of the tool's fields, and what stands between them.

    A pair whose key is no field of the tool stays in what is left, so that a misspelt one is noticed.
    """
    fields = _visible(tool)
    found: dict[str, Any] = {}
    rest: list[str] = []
    at = 0
    for key in _KEY.finditer(text):
        if key.start() < at or key[1] not in fields:
            continue
        rest.append(text[at : key.start()])
        found[key[1]], at = _value(text, key.end(), fields[key[1]])
    rest.append(text[at:])
    return found, " ".join(" ".join(rest).split())


def _value(text: str, at: int, spec: ArgSpec) -> tuple[Any, int]:
    """The value that begins at a place, and where it ends: JSON where it is that, else the characters up to a space."""
    if text[at : at + 1] in ('"', "[", "{") and (decoded := _decode_prefix(text[at:])):
        value, length = decoded
        return value, at + length
    bare = _BARE.match(text, at)
    if bare is None:
        return "", at
    word = bare[0].rstrip(",;?!")
    return _typed(word, spec), at + len(bare[0])


def _typed(word: str, spec: ArgSpec) -> Any:
    """A bare word as the field's type wants it: text stays text though it may look like a number."""
    if spec.json_schema.get("type") == "string" or "enum" in spec.json_schema:
        return word
    try:
        return _DECODER.decode(word)
    except msgspec.DecodeError:
        return word


def _decode_prefix(text: str) -> tuple[Any, int] | None:
    """The JSON value at the beginning of a text and its length; None when there is none."""
    import json

    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value, end
