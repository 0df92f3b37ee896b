"""Values that stand in source text: literals, lists and objects of literals, durations, and text read by
type."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from memql.lang import ast

__all__ = ["NOT_LITERAL", "is_datetime_text", "literal_value", "parse_duration", "parse_text"]


class _NotLiteral:
    def __repr__(self) -> str:
        return "NOT_LITERAL"


NOT_LITERAL: Final = _NotLiteral()
"""What :func:`literal_value` answers for an expression that has to be evaluated."""

_DURATION = re.compile(r"(?P<amount>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DATETIME = re.compile(
    r"(?P<stem>[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?"
    r"(?:[Zz]|(?P<zone>[+-][0-9]{2}:[0-9]{2}))"
)


def literal_value(expr: ast.Expr) -> Any:
    """The Python value of a literal, or of a list or object made of literals only; else
    :data:`NOT_LITERAL`."""
    if isinstance(expr, ast.Literal):
        return expr.value
    if isinstance(expr, ast.ListExpr):
        items = [literal_value(item) for item in expr.items]
        return NOT_LITERAL if NOT_LITERAL in items else items
    if isinstance(expr, ast.ObjectExpr):
        members = {key: literal_value(value) for key, value in expr.entries}
        return NOT_LITERAL if NOT_LITERAL in members.values() else members
    return NOT_LITERAL


def parse_duration(value: object) -> float | None:
    """Seconds of ``"250ms"``, ``"30s"``, ``"5m"``, ``"2h"``, ``"1d"`` or a number of seconds; None if it is
    neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if value >= 0 and math.isfinite(value) else None
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match["amount"]) * _UNIT_SECONDS[match["unit"]]
    return None


def is_datetime_text(text: str) -> bool:
    """Whether text is an RFC 3339 date-time."""
    match = _DATETIME.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.fromisoformat(match["stem"].upper() + (match["zone"] or "+00:00"))
    except ValueError:
        return False
    return True


def parse_text(text: str, declared: ast.TypeExpr) -> Any:
    """Read annotation text as a value of a type: ``"true"`` of bool, ``"3"`` of int, JSON for lists and
    objects.

    :raises ValueError: when the text is no value of the type's form; bounds and enums are not looked at.
    """
    if isinstance(declared, ast.ScalarType) and declared.name in _TEXT_READERS:
        return _TEXT_READERS[declared.name](text)
    if isinstance(declared, ast.ListType | ast.MapType) or declared == ast.ScalarType("object"):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(f"{text!r} is not JSON") from error
    return text


def _read_bool(text: str) -> bool:
    if text in ("true", "false"):
        return text == "true"
    raise ValueError(f"{text!r} is neither true nor false")


_TEXT_READERS: Final[Mapping[str, Callable[[str], Any]]] = {"bool": _read_bool, "int": int, "float": float}
