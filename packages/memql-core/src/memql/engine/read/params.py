"""Parameters of a statement: which slots it is sent, and in which form.

Every value travels as text with the type stated in the statement, so that the server parses each once and a prepared
statement never depends on how the driver guesses types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from memql.engine.read.slots import storable
from memql.engine.values import parse_instant
from memql.engine.values.text import is_blank
from memql.errors import Code, MemqlError

__all__ = [
    "Convert",
    "Params",
    "array_text",
    "as_json",
    "as_json_list",
    "as_moment",
    "as_moments",
    "as_number",
    "as_numbers",
    "as_options",
    "as_prefix",
    "as_single",
    "as_text",
    "as_texts",
    "quoted",
]

Convert: TypeAlias = Callable[[Any], str | None]

_encode = msgspec.json.encode
_REFERENCE = re.compile("\x00([0-9]+)\x00")


def quoted(text: str) -> str:
    """An SQL text literal.

    :raises MemqlError: ``INVALID_ARGUMENT`` for what PostgreSQL cannot hold in a text.
    """
    if not storable(text) or "\\u0000" in text:
        raise MemqlError(Code.INVALID_ARGUMENT, "text with U+0000 or half a surrogate pair cannot be stored")
    return "'" + text.replace("'", "''") + "'"


def as_text(value: Any) -> str:
    """A text as it is."""
    return str(value)


def as_number(value: Any) -> str:
    """A number in full precision."""
    return repr(value)


def as_json(value: Any) -> str:
    """The JSON form; members that are null count as missing."""
    return _encode(_without_nulls(value)).decode()


def as_options(value: Any) -> str:
    """The JSON form of a list of options, without those that no stored value can equal."""
    return as_json([item for item in value if storable(item)])


def as_single(value: Any) -> str:
    """The JSON list of just this value."""
    return as_json([value])


def as_moment(value: Any) -> str:
    """A moment, normalised: the server accepts fewer forms of offset than RFC 3339 has."""
    moment = parse_instant(value)
    assert moment is not None
    return moment.isoformat()


def as_prefix(value: Any) -> str | None:
    """A text to begin with; a blank one is null, the prefix of nothing."""
    return None if is_blank(value) else str(value)


def as_texts(value: Any) -> str:
    """The texts of a list, as an array."""
    return array_text(item for item in value if isinstance(item, str) and storable(item))


def as_moments(value: Any) -> str:
    """The moments of a list, as an array."""
    return array_text(as_moment(item) for item in value if isinstance(item, str) and parse_instant(item))


def as_numbers(value: Any) -> str:
    """The numbers of a list, as an array."""
    return array_text(repr(item) for item in value if isinstance(item, int | float) and not isinstance(item, bool))


def as_json_list(value: Any) -> str:
    """The booleans, objects and lists of a list, as an array of JSON values."""
    return array_text(as_json(item) for item in value if isinstance(item, bool | dict | list) and storable(item))


def array_text(items: Iterable[str]) -> str:
    """The text form of an SQL array."""
    return "{" + ",".join('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items) + "}"


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


class Params:
    """Collects the parameters of one statement while it is written.

    What :meth:`add` returns stands for a parameter until :meth:`finish` numbers those that are in the final text: a
    piece of SQL that was written may have been dropped since, and the server refuses parameters it cannot find.
    """

    __slots__ = ("_numbers", "_sources")

    def __init__(self) -> None:
        self._sources: list[tuple[int, Convert]] = []
        self._numbers: dict[tuple[int, Convert], int] = {}

    def add(self, slot: int, convert: Convert, type_: str) -> str:
        """A reference to the value of a slot, sent as ``convert`` says, of an SQL type."""
        key = (slot, convert)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._sources)
            self._sources.append(key)
        return f"\x00{number}\x00::{type_}"

    def finish(self, sql: str) -> tuple[bytes, tuple[tuple[int, Convert], ...]]:
        """The text with its parameters numbered, and slot and conversion of each."""
        used: dict[int, int] = {}

        def placeholder(match: re.Match[str]) -> str:
            return f"${used.setdefault(int(match[1]), len(used) + 1)}"

        text = _REFERENCE.sub(placeholder, sql)
        return text.encode(), tuple(self._sources[number] for number in used)


def bind(sources: Sequence[tuple[int, Convert]], values: Sequence[Any]) -> list[str | None]:
    """The parameters of one execution."""
    return [None if values[slot] is None else convert(values[slot]) for slot, convert in sources]
