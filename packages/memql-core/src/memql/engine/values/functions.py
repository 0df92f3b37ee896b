"""The functions of the language that are a matter of their arguments alone (spec "Functions").

Each takes evaluated values. Those that are lazy, read the environment, or have an effect are compiled in
:mod:`memql.engine.values.closures`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from memql.engine.values import results
from memql.engine.values.instants import add_duration, days_between
from memql.engine.values.operators import type_name
from memql.engine.values.text import BLANK, is_blank, json_text, text_hash, text_of
from memql.errors import Code, MemqlError
from memql.ids import SHORT_ID, short_id

__all__ = ["PURE", "Pure", "canonical_id", "coalesce", "concat"]


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


@dataclass(frozen=True, slots=True)
class Pure:
    """A function of values; ``most`` is None when it takes any number of arguments from ``least`` on."""

    run: Callable[..., Any]
    least: int
    most: int | None


PURE: Final[Mapping[str, Pure]] = {
    "concat": Pure(concat, 1, None),
    "toString": Pure(text_of, 1, 1),
    "json": Pure(json_text, 1, 1),
    "hash": Pure(text_hash, 1, 1),
    "shortId": Pure(lambda value: short_id(_text("shortId", value)), 1, 1),
    "lower": Pure(lambda value: _text("lower", value).lower(), 1, 1),
    "upper": Pure(lambda value: _text("upper", value).upper(), 1, 1),
    "trim": Pure(lambda value: _text("trim", value).strip(BLANK), 1, 1),
    "contains": Pure(_contains, 2, 2),
    "addDuration": Pure(add_duration, 2, 2),
    "daysBetween": Pure(days_between, 2, 2),
    "first": Pure(results.first, 1, 1),
    "last": Pure(results.last, 1, 1),
    "len": Pure(results.length, 1, 1),
    "sum": Pure(results.total, 1, 2),
    "avg": Pure(results.average, 1, 2),
    "min": Pure(results.least, 1, 2),
    "max": Pure(results.greatest, 1, 2),
    "field": Pure(results.field_of, 2, 2),
    "exists": Pure(lambda value: not is_missing(value), 1, 1),
    "error": Pure(_error, 1, 1),
}
"""Name to function."""


def is_missing(value: Any) -> bool:
    """Whether a value is null or an empty list or result set."""
    return value is None or value is results.NOT_RAN or (isinstance(value, list) and not value)
