"""Members and accessors of values in bodies: nodes, result sets, lists, objects (spec "Functions",
accessors).

A result set is a list of nodes. A node has its intrinsics and ``payload``; any other member reads the
payload.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, Final

from memql.engine.values.operators import ARITHMETIC, is_number, order, type_name
from memql.errors import Code, MemqlError

__all__ = [
    "ACCESSORS",
    "NOT_RAN",
    "NotRan",
    "average",
    "descend",
    "field_of",
    "first",
    "greatest",
    "last",
    "least",
    "length",
    "member",
    "total",
]


class NotRan:
    """The value of a binding whose ``if`` was false: null, empty, of length 0, and not ran."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NOT_RAN"

    def __bool__(self) -> bool:
        return False


NOT_RAN: Final = NotRan()

_MISSING: Final = object()


def member(value: Any, name: str | int) -> Any:
    """``value.name``: a member of an object or node, an element of a list by position; null when there is
    none."""
    if isinstance(value, Mapping):
        key = name if isinstance(name, str) else str(name)
        found = value.get(key, _MISSING)
        if found is not _MISSING:
            return found
        payload = value.get("payload") if "concept" in value else None
        return payload.get(key) if isinstance(payload, Mapping) else None
    if isinstance(value, list):
        position = name if isinstance(name, int) else int(name) if name.isdecimal() else -1
        return value[position] if 0 <= position < len(value) else None
    return None


def descend(value: Any, path: Iterable[str | int]) -> Any:
    """The value at the end of a path; null as soon as a step finds nothing."""
    for name in path:
        if value is None:
            return None
        value = member(value, name)
    return value


def field_of(value: Any, path: Any) -> Any:
    """``field(x, "a.b")``: the value at a dotted path; of a list, of its first element.

    :raises MemqlError: ``INVALID_ARGUMENT`` when the path is no text.
    """
    if isinstance(value, list):
        value = first(value)
    return descend(value, _segments("field", path))


def _segments(function: str, path: Any) -> list[str]:
    if isinstance(path, str) and path:
        return path.split(".")
    raise MemqlError(Code.INVALID_ARGUMENT, f'{function} needs a path such as "payload.total", got {path!r}')


def items_of(value: Any, function: str) -> list[Any]:
    """The elements of a list or result set; null has none, an object is its own only element.

    :raises MemqlError: ``INVALID_ARGUMENT`` for text, numbers and booleans.
    """
    if isinstance(value, list):
        return value
    if value is None or value is NOT_RAN:
        return []
    if isinstance(value, Mapping):
        return [value]
    raise MemqlError(
        Code.INVALID_ARGUMENT, f"{function} needs a list, a result set or an object, got {type_name(value)}"
    )


def first(value: Any) -> Any:
    """The first element, or null."""
    return next(iter(items_of(value, "first")), None)


def last(value: Any) -> Any:
    """The last element, or null."""
    items = items_of(value, "last")
    return items[-1] if items else None


def length(value: Any) -> int:
    """How many elements a list or result set has, or members an object; null has none."""
    return len(value) if isinstance(value, Mapping) else len(items_of(value, "len"))


def _ran(value: Any) -> bool:
    return value is not None and value is not NOT_RAN


def _values_at(value: Any, path: Any, function: str) -> list[Any]:
    """What stands at a path below every element, nulls left out."""
    segments = _segments(function, path)
    found = (descend(item, segments) for item in items_of(value, function))
    return [item for item in found if item is not None]


def _numbers_at(value: Any, path: Any, function: str) -> list[Any]:
    numbers = _values_at(value, path, function)
    for number in numbers:
        if not is_number(number):
            raise MemqlError(Code.INVALID_ARGUMENT, f"{function} adds numbers, but {path} holds {type_name(number)}")
    return numbers


def total(value: Any, path: Any) -> Any:
    """``sum(x, "path")``: nulls are skipped; of nothing, 0.

    :raises MemqlError: ``INVALID_ARGUMENT`` when a value is no number or the sum does not fit.
    """
    return reduce(ARITHMETIC["+"], _numbers_at(value, path, "sum"), 0)


def average(value: Any, path: Any) -> Any:
    """``avg(x, "path")``: nulls are skipped; of nothing, null."""
    numbers = _numbers_at(value, path, "avg")
    return ARITHMETIC["/"](reduce(ARITHMETIC["+"], numbers), len(numbers)) if numbers else None


def _extreme(value: Any, path: Any, function: str, better: Callable[[Any, Any], bool]) -> Any:
    best: Any = None
    for candidate in _values_at(value, path, function):
        if not (is_number(candidate) or isinstance(candidate, str)):
            raise MemqlError(Code.INVALID_ARGUMENT, f"{function} compares numbers or texts, got {type_name(candidate)}")
        if best is not None and is_number(best) != is_number(candidate):
            raise MemqlError(Code.INVALID_ARGUMENT, f"{function} cannot compare text with numbers")
        if best is None or order(better, candidate, best):
            best = candidate
    return best


def least(value: Any, path: Any) -> Any:
    """``min(x, "path")``: of numbers or of texts; nulls are skipped; of nothing, null."""
    return _extreme(value, path, "min", operator.lt)


def greatest(value: Any, path: Any) -> Any:
    """``max(x, "path")``: of numbers or of texts; nulls are skipped; of nothing, null."""
    return _extreme(value, path, "max", operator.gt)


ACCESSORS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Nodes": lambda value: items_of(value, "Nodes"),
    "First": first,
    "Last": last,
    "Len": length,
    "Count": length,
    "Empty": lambda value: length(value) == 0,
    "Ran": _ran,
    "nodes": lambda value: items_of(value, "nodes"),
    "first": first,
    "last": last,
    "len": length,
    "count": length,
    "empty": lambda value: length(value) == 0,
    "ran": _ran,
}
"""``x.First()`` and its kin, capitalised or lower case."""
