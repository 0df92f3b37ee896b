"""What the brackets around a place are: the body of which construct, the arguments of what.

Worked out from tokens alone, outermost bracket first, so that it holds in text that does not parse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from memql.lang.functions import FUNCTIONS
from memql.lang.lexer import Token

__all__ = ["REQUEST", "TOP", "Region", "RegionName", "inside"]

RegionName = Literal[
    "top", "request", "use", "annotation", "concept", "fields", "args", "type", "query", "mutation", "write", "filter",
    "logic", "policy", "body", "automation", "step", "shape", "seed", "provider", "values", "group", "call", "object",
]  # fmt: skip
"""``values`` is a block of names and literals; ``group`` and ``object`` are brackets inside an expression."""


@dataclass(frozen=True, slots=True)
class Region:
    """One bracket and what it is.

    ``place`` says which functions may stand inside, as in :data:`memql.lang.functions.Place`, or R in a raw request;
    ``subject`` is the annotation, callee or kind of construct; ``path`` the keys that lead to a nested block.
    """

    name: RegionName
    place: str = ""
    subject: str = ""
    path: tuple[str, ...] = ()


TOP: Final = Region("top")
REQUEST: Final = Region("request", "R")

_BODIES: Final[dict[str, Region]] = {
    "concept": Region("concept"), "builtin": Region("fields", subject="builtin"),
    "prompt": Region("fields", subject="prompt"), "tool": Region("fields", subject="tool"),
    "shape": Region("shape", "J"), "spec": Region("filter", "F"), "trait": Region("filter", "F"),
    "query": Region("query", "F"), "mutation": Region("mutation", "F"), "logic": Region("logic"),
    "policy": Region("policy", "L"), "automation": Region("automation"), "provider": Region("provider"),
    "seed": Region("seed"),
}  # fmt: skip
_WRITES: Final = frozenset({"insert", "update", "delete"})
_ACTIONS: Final = frozenset({"logic", "query", "mutation", "builtin", "automation", "publishEvent"})
_BEFORE_OBJECT: Final = frozenset({":=", "(", ",", ":", "?", "[", "??", "==", "!=", "+", "", "=", "return"})


def inside(outer: Region, before: Sequence[Token], sign: str) -> Region:
    """The region of a bracket.

    :param before: the last tokens of ``outer`` before the bracket, without what stands in earlier brackets.
    """
    last = before[-1] if before else None
    if sign == "(" and len(before) > 1 and before[-2].kind == "@":
        place = "F" if before[-1].value == "filter" else ""
        return Region("annotation", place, before[-1].value)
    match outer.name:
        case "top":
            return _declared(before, sign)
        case "concept" | "fields" | "args":
            return _among_fields(outer, before, sign)
        case "type" | "use" | "values" | "provider":
            return Region("values" if outer.name == "provider" else outer.name)
        case "query" | "mutation" | "logic" | "policy" | "automation" if sign == "{" and last and last.value == "args":
            return Region("args")
        case "mutation" if sign == "{" and any(token.value in _WRITES for token in before[-2:]):
            return Region("write", "W", next(token.value for token in before[-2:] if token.value in _WRITES))
        case "logic" | "policy" if sign == "{" and last is not None and last.value == "body":
            return Region("body", "L")
        case "automation" if sign == "{":
            return Region("step", "L")
        case "step":
            return _in_step(before, sign)
        case "seed":
            return Region("seed", path=(*outer.path, last.value) if last else outer.path)
    return _in_expression(outer, before, sign)


def _declared(before: Sequence[Token], sign: str) -> Region:
    words = [token.value for token in before if token.kind == "IDENT"]
    if sign != "{":
        return Region("values")
    for index, token in enumerate(before):
        is_annotation = index > 0 and before[index - 1].kind == "@"
        if token.kind == "IDENT" and not is_annotation:
            if token.value == "use":
                return Region("use", subject=".".join(words[words.index("use") + 1 :]))
            if token.value in _BODIES:
                return _BODIES[token.value]
    return Region("values")


def _among_fields(outer: Region, before: Sequence[Token], sign: str) -> Region:
    if sign != "{":
        return Region("type")
    return Region(outer.name, subject=outer.subject, path=(*outer.path, "{"))


def _in_step(before: Sequence[Token], sign: str) -> Region:
    for index in (len(before) - 2, len(before) - 1):
        if index >= 0 and before[index].value in _ACTIONS:
            callee = before[-1].value if index == len(before) - 2 else "publishEvent"
            return Region("object", "LW", f"{before[index].value} {callee}")
    return Region("step", "L") if sign == "{" else Region("group", "L")


def _in_expression(outer: Region, before: Sequence[Token], sign: str) -> Region:
    last = before[-1] if before else None
    place = outer.place or "L"
    if sign == "(":
        if last is not None and last.kind in ("IDENT", "DIRECTIVE") and last.alt not in ("in", "if", "return"):
            is_accessor = len(before) > 1 and before[-2].kind == "."
            callee = "" if is_accessor or last.value == "when" else last.value
            return Region("call" if callee else "group", _place_in_call(place, callee), callee)
        return Region("group", place)
    if sign == "[":
        return Region("group", place)
    if outer.name in ("query", "mutation", "filter", "annotation") or _after_when(before):
        return Region("filter", place)
    if outer.name == "body" and (last is None or last.value not in _BEFORE_OBJECT):
        return Region("body", "L")
    return _object(outer, before, place)


def _object(outer: Region, before: Sequence[Token], place: str) -> Region:
    if outer.name == "call" and not before:
        return Region("object", place, f"call {outer.subject}")
    key = before[-2].value if len(before) > 1 and before[-1].kind == ":" else ""
    if outer.name in ("write", "object") and key:
        return Region("object", place, outer.subject if outer.name == "object" else "write", (*outer.path, key))
    return Region("object", place)


def _after_when(before: Sequence[Token]) -> bool:
    return len(before) > 2 and before[-1].kind == ")" and before[-3].value == "when"


def _place_in_call(place: str, callee: str) -> str:
    """Arguments of a construct's call are write values too."""
    return "LW" if "L" in place and callee not in FUNCTIONS else place
