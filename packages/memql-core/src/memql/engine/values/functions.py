"""The functions of the language that are a matter of their arguments alone (spec "Functions").

Each takes evaluated values. Those that are lazy, read the environment, or have an effect are compiled in
:mod:`memql.engine.values.closures`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from memql.engine.values import results
from memql.engine.values.instants import add_duration, days_between
from memql.engine.values.operators import type_name
from memql.engine.values.text import BLANK, is_blank, json_text, text_hash, text_of
from memql.errors import Code, MemqlError
from memql.ids import SHORT_ID, short_id

__all__ = ["PURE", "canonical_id", "coalesce", "concat"]


def coalesce(*values: Any) -> Any:
    """The first value that is neither null nor blank text, else the last as it is."""
    for value in values:
        if not is_blank(value):
            return value
    return values[-1]


def concat(*values: Any) -> str:
    """The text forms in a row; null is empty."""
    return "".join(text_of(value) for value in values)


def canonical_id(value: Any, concept: str) -> str:
    """The full id of ``value`` in ``concept`` (a concept id): blank is blank, a bare id is qualified.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is another concept's id or no id at all.
    """
    if is_blank(value):
        return ""
    prefix = concept + ":"
    bare = value.removeprefix(prefix) if isinstance(value, str) else ""
    if SHORT_ID.fullmatch(bare):
        return prefix + bare
    raise MemqlError(
        Code.INVALID_ARGUMENT,
        f"canonicalId: {value!r} is not an id of {concept}; give a bare id or {prefix}<id>",
    )


def _text(function: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise MemqlError(Code.INVALID_ARGUMENT, f"{function} needs text, got {type_name(value)}; use toString(..)")


def _contains(text: Any, part: Any) -> bool:
    return _text("contains", part) in _text("contains", text)


def _error(message: Any) -> Any:
    raise MemqlError(Code.INVALID_ARGUMENT, text_of(message))


PURE: Final[Mapping[str, Callable[..., Any]]] = {
    "concat": concat,
    "toString": text_of,
    "json": json_text,
    "hash": text_hash,
    "shortId": lambda value: short_id(_text("shortId", value)),
    "lower": lambda value: _text("lower", value).lower(),
    "upper": lambda value: _text("upper", value).upper(),
    "trim": lambda value: _text("trim", value).strip(BLANK),
    "contains": _contains,
    "addDuration": add_duration,
    "daysBetween": days_between,
    "first": results.first,
    "last": results.last,
    "len": results.length,
    "sum": results.total,
    "avg": results.average,
    "min": results.least,
    "max": results.greatest,
    "field": results.field_of,
    "exists": lambda value: not is_missing(value),
    "error": _error,
}
"""Name to function; how many arguments each takes is in :data:`memql.lang.functions.FUNCTIONS`."""


def is_missing(value: Any) -> bool:
    """Whether a value is null or an empty list or result set."""
    return value is None or value is results.NOT_RAN or (isinstance(value, list) and not value)
