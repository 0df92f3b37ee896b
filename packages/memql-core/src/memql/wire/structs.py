"""``google.protobuf.Struct`` and JSON values: to and from bytes, and to and from the generated classes.

A Python value is what JSON knows: None, bool, int, float, str, list, dict with string keys. Numbers travel as
doubles; a whole number comes back as an int when a double holds it exactly.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from memql.wire.messages import ListValue, NullValue, Struct, Value
from memql.wire.protobuf import MalformedMessageError, bytes_field, fields, text

__all__ = ["decode_struct", "encode_struct", "encode_value", "from_struct", "from_value", "to_struct", "to_value"]

_DOUBLE = struct.Struct("<d")
_EXACT = float(2**53)
_MAX_DEPTH = 100

_NULL = b"\x08\x00"
_TRUE, _FALSE = b"\x20\x01", b"\x20\x00"


def encode_struct(value: Mapping[str, Any]) -> bytes:
    """The bytes of a ``Struct``.

    :raises TypeError: for a value that JSON does not know.
    """
    return b"".join(
        bytes_field(1, bytes_field(1, key.encode()) + bytes_field(2, encode_value(item))) for key, item in value.items()
    )


def encode_value(value: Any) -> bytes:
    """The bytes of a ``Value``.

    :raises TypeError: for a value that JSON does not know.
    """
    if isinstance(value, str):
        return bytes_field(3, value.encode())
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int | float):
        return b"\x11" + _DOUBLE.pack(value)
    if isinstance(value, Mapping):
        return bytes_field(5, encode_struct(value))
    if isinstance(value, list | tuple):
        if set(map(type, value)) == {float}:
            return bytes_field(6, _encode_floats(value))
        return bytes_field(6, b"".join(bytes_field(1, encode_value(item)) for item in value))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _encode_floats(items: Sequence[float]) -> bytes:
    """A vector: each number is three bytes of head and eight of value, set in strides over all of them at once."""
    count = len(items)
    packed = struct.pack(f"<{count}d", *items)
    out = bytearray(11 * count)
    for place, head in enumerate((b"\x0a", b"\x09", b"\x11")):
        out[place::11] = head * count
    for place in range(8):
        out[3 + place :: 11] = packed[place::8]
    return bytes(out)


def decode_struct(data: bytes, depth: int = 0) -> dict[str, Any]:
    """The value of a ``Struct``.

    :raises MalformedMessageError: for bytes that are none, or one nested more than 100 deep.
    """
    out: dict[str, Any] = {}
    for number, entry in fields(data):
        if number != 1:
            continue
        key, value = "", None
        for part, content in fields(_message(entry)):
            if part == 1:
                key = text(content)
            elif part == 2:
                value = _decode_value(_message(content), depth)
        out[key] = value
    return out


def _decode_value(data: bytes, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise MalformedMessageError(f"a value is nested more than {_MAX_DEPTH} deep")
    value: Any = None
    for number, content in fields(data):
        if number == 1:
            value = None
        elif number == 2:
            value = _number(_message(content))
        elif number == 3:
            value = text(content)
        elif number == 4:
            value = bool(content)
        elif number == 5:
            value = decode_struct(_message(content), depth + 1)
        elif number == 6:
            items = fields(_message(content))
            value = [_decode_value(_message(item), depth + 1) for part, item in items if part == 1]
    return value


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise MalformedMessageError("a number stands where a message was expected")
    return value


def _number(data: bytes) -> int | float:
    if len(data) != _DOUBLE.size:
        raise MalformedMessageError("a number is not eight bytes long")
    (value,) = _DOUBLE.unpack(data)
    return _whole(value)


def _whole(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) <= _EXACT else value


def to_struct(value: Mapping[str, Any]) -> Struct:
    """A generated ``Struct``, for messages off the hot path."""
    return Struct(fields={key: to_value(item) for key, item in value.items()})


def to_value(value: Any) -> Value:
    """A generated ``Value``.

    :raises TypeError: for a value that JSON does not know.
    """
    if value is None:
        return Value(null_value=NullValue.NULL_VALUE)
    if isinstance(value, bool):
        return Value(bool_value=value)
    if isinstance(value, int | float):
        return Value(number_value=float(value))
    if isinstance(value, str):
        return Value(string_value=value)
    if isinstance(value, Mapping):
        return Value(struct_value=to_struct(value))
    if isinstance(value, list | tuple):
        return Value(list_value=ListValue(values=[to_value(item) for item in value]))
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def from_struct(value: Struct | None) -> dict[str, Any]:
    """The Python value of a generated ``Struct``; absent is empty."""
    return {} if value is None else {key: from_value(item) for key, item in value.fields.items()}


def from_value(value: Value) -> Any:
    """The Python value of a generated ``Value``."""
    if value.string_value is not None:
        return value.string_value
    if value.number_value is not None:
        return _whole(value.number_value)
    if value.bool_value is not None:
        return value.bool_value
    if value.struct_value is not None:
        return from_struct(value.struct_value)
    if value.list_value is not None:
        return [from_value(item) for item in value.list_value.values]
    return None
