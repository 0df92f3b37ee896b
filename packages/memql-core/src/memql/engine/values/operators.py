"""What the operators mean in process (spec "Values and operators").

Values are JSON values as Python has them: None, bool, int, float, str, list, dict. Comparison is two-valued:
whatever cannot be compared is false, and ``!=`` and ``not in`` are exact negations. Null members of objects
count as missing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from memql.engine.values.instants import parse_instant
from memql.engine.values.text import is_blank
from memql.errors import Code, MemqlError

__all__ = [
    "ARITHMETIC",
    "ORDERINGS",
    "contains",
    "equal",
    "equal_instants",
    "has",
    "is_number",
    "negate",
    "order",
    "order_instants",
    "starts_with",
    "truth",
    "type_name",
]

Equality = Callable[[Any, Any], bool]
Ordering = Callable[[Any, Any], bool]

ORDERINGS: Final[Mapping[str, Ordering]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def is_number(value: Any) -> bool:
    """Whether a value is a number; a boolean is none."""
    kind = type(value)
    return kind is int or kind is float


def type_name(value: Any) -> str:
    """The language's name for the type of a value."""
    if value is None:
        return "null"
    names = ((bool, "bool"), (int, "int"), (float, "float"), (str, "string"), (list, "list"))
    return next((name for kind, name in names if isinstance(value, kind)), "object")


def equal(left: Any, right: Any) -> bool:
    """Type-strict deep equality: ``1`` equals ``1.0`` but not ``"1"`` or ``true``; null equals only null."""
    if left is None or right is None:
        return left is right
    if isinstance(left, str):
        return isinstance(right, str) and left == right
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if is_number(left):
        return is_number(right) and bool(left == right)
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(equal(a, b) for a, b in zip(left, right, strict=True))
        )
    if not isinstance(right, Mapping):
        return False
    return all(equal(left.get(key), right.get(key)) for key in left.keys() | right.keys())


def equal_instants(left: Any, right: Any) -> bool:
    """Equality where one side is a date-time: as moments if both are, else as values."""
    if isinstance(left, str) and isinstance(right, str):
        first, second = parse_instant(left), parse_instant(right)
        if first is not None and second is not None:
            return first == second
    return equal(left, right)


def order(compare: Ordering, left: Any, right: Any) -> bool:
    """``compare`` on two numbers or two texts (by code point); false for null and mixed types."""
    if isinstance(left, str):
        return isinstance(right, str) and compare(left, right)
    return is_number(left) and is_number(right) and compare(left, right)


def order_instants(compare: Ordering, left: Any, right: Any) -> bool:
    """``compare`` on two moments; a text that names none compares false."""
    if isinstance(left, str) and isinstance(right, str):
        first, second = parse_instant(left), parse_instant(right)
        return first is not None and second is not None and compare(first, second)
    return order(compare, left, right)


def contains(value: Any, options: Any, same: Equality = equal) -> bool:
    """``value in options``: equal to an element; a list has an element in common. False if ``options`` is no
    list."""
    if not isinstance(options, list):
        return False
    if isinstance(value, list):
        return any(same(item, option) for item in value for option in options)
    return any(same(value, option) for option in options)


def has(values: Any, value: Any, same: Equality = equal) -> bool:
    """``values has value``: the list holds an equal element. False if ``values`` is no list."""
    return isinstance(values, list) and any(same(item, value) for item in values)


def starts_with(value: Any, prefix: Any) -> bool:
    """Whether a text begins with a prefix; a blank prefix is the prefix of nothing."""
    return isinstance(value, str) and isinstance(prefix, str) and not is_blank(prefix) and value.startswith(prefix)


def truth(value: Any) -> bool:
    """The value of a condition: a boolean is itself, null is false.

    :raises MemqlError: ``INVALID_ARGUMENT`` for anything else.
    """
    if value is True or value is False:
        return bool(value)
    if value is None:
        return False
    raise MemqlError(
        Code.INVALID_ARGUMENT,
        f"a condition must be true or false, not {type_name(value)}; compare it with something",
    )


def _number(value: Any, symbol: str) -> Any:
    if isinstance(value, float):
        if math.isfinite(value):
            return value
    elif -(2**63) <= value < 2**63:
        return value
    raise MemqlError(Code.INVALID_ARGUMENT, f"the result of {symbol} does not fit in 64 bits")


def _refuse(symbol: str, left: Any, right: Any) -> MemqlError:
    wanted = "two numbers or two texts" if symbol == "+" else "two numbers"
    return MemqlError(Code.INVALID_ARGUMENT, f"{symbol} needs {wanted}, got {type_name(left)} and {type_name(right)}")


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    if not (is_number(left) and is_number(right)):
        raise _refuse("+", left, right)
    return _number(left + right, "+")


def _subtract(left: Any, right: Any) -> Any:
    if not (is_number(left) and is_number(right)):
        raise _refuse("-", left, right)
    return _number(left - right, "-")


def _multiply(left: Any, right: Any) -> Any:
    if not (is_number(left) and is_number(right)):
        raise _refuse("*", left, right)
    return _number(left * right, "*")


def _check_division(symbol: str, left: Any, right: Any) -> None:
    if not (is_number(left) and is_number(right)):
        raise _refuse(symbol, left, right)
    if right == 0:
        raise MemqlError(Code.INVALID_ARGUMENT, f"{symbol} by zero: {left} {symbol} {right}")


def _divide(left: Any, right: Any) -> Any:
    _check_division("/", left, right)
    try:
        return _number(left / right, "/")
    except OverflowError as error:
        raise MemqlError(Code.INVALID_ARGUMENT, "the result of / does not fit in 64 bits") from error


def _remainder(left: Any, right: Any) -> Any:
    """The sign is the dividend's, as in SQL."""
    _check_division("%", left, right)
    if isinstance(left, int) and isinstance(right, int):
        rest = abs(left) % abs(right)
        return -rest if left < 0 else rest
    return math.fmod(left, right)


ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "%": _remainder,
}
"""``int`` stays ``int`` except for ``/``. Raise ``INVALID_ARGUMENT`` on other types, zero divisors,
overflow."""


def negate(value: Any) -> Any:
    """``-value``.

    :raises MemqlError: ``INVALID_ARGUMENT`` when it is no number.
    """
    if not is_number(value):
        raise MemqlError(Code.INVALID_ARGUMENT, f"- needs a number, got {type_name(value)}")
    return _number(-value, "-")
