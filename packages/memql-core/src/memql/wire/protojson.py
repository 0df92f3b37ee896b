"""Generated messages as protojson, both ways (spec "GET /memql/ws").

Out: camelCase, enums by name, 64-bit integers as strings, bytes as base64, RFC 3339 times, ``Struct`` and ``Value`` as
plain JSON, unpopulated fields emitted. In: camel or snake case, enums by name or number, unknown keys ignored; a value
of the wrong type is refused with its path.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import betterproto2

from memql.wire.messages import ListValue, Struct, Value
from memql.wire.structs import from_struct, from_value, to_struct, to_value

__all__ = ["ProtoJsonError", "camel", "decode", "encode", "enum_name", "format_time"]

M = TypeVar("M", bound=betterproto2.Message)

_LONGS = frozenset({"int64", "uint64"})
_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ProtoJsonError(ValueError):
    """JSON that is not the message it should be; the text says where and what was expected."""


class _Field(NamedTuple):
    name: str
    key: str
    meta: betterproto2.FieldMetadata
    kind: Any


def camel(name: str) -> str:
    """A field name as protojson writes it."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


@lru_cache(maxsize=512)
def _fields(message: type[betterproto2.Message]) -> tuple[_Field, ...]:
    described: betterproto2.ProtoClassMetadata = message._betterproto  # type: ignore[arg-type]
    return tuple(
        _Field(name, camel(name), meta, described.cls_by_field.get(name))
        for name, meta in described.meta_by_field_name.items()
    )


@lru_cache(maxsize=512)
def _by_key(message: type[betterproto2.Message]) -> Mapping[str, _Field]:
    fields = _fields(message)
    return {field.name: field for field in fields} | {field.key: field for field in fields}


# --- out ------------------------------------------------------------------------------------------------------------


def encode(message: betterproto2.Message) -> dict[str, Any]:
    """The JSON object of a message, unpopulated fields included."""
    out: dict[str, Any] = {}
    for field in _fields(type(message)):
        value = getattr(message, field.name)
        if value is None and (field.meta.group or field.meta.proto_type != betterproto2.TYPE_MESSAGE):
            continue
        out[field.key] = _encode_field(field, value)
    return out


def _encode_field(field: _Field, value: Any) -> Any:
    if field.meta.proto_type == betterproto2.TYPE_MAP:
        return dict(value)
    if field.meta.repeated:
        return [_encode_one(field, item) for item in value]
    return _encode_one(field, value)


def _encode_one(field: _Field, value: Any) -> Any:
    kind = field.meta.proto_type
    if value is None:
        return None
    if kind == betterproto2.TYPE_MESSAGE:
        return _encode_message(value)
    if kind == betterproto2.TYPE_ENUM:
        return enum_name(field.kind, value)
    if kind in _LONGS:
        return str(value)
    if kind == betterproto2.TYPE_BYTES:
        return base64.b64encode(value).decode()
    return value


def _encode_message(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Struct):
        return from_struct(value)
    if isinstance(value, Value):
        return from_value(value)
    if isinstance(value, ListValue):
        return [from_value(item) for item in value.values]
    return encode(value)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC, with as many digits of the second as it has: none, three or six."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    if not utc.microsecond:
        return utc.isoformat() + "Z"
    return utc.isoformat(timespec="microseconds" if utc.microsecond % 1000 else "milliseconds") + "Z"


def enum_name(kind: type[betterproto2.Enum], value: int) -> str | int:
    """The name of an enum value with its type's prefix; the number when there is none."""
    try:
        return f"{_prefix(kind)}{kind(value).name}" if kind(value).name else int(value)
    except ValueError:
        return int(value)


@lru_cache(maxsize=64)
def _prefix(kind: type) -> str:
    return _UPPER.sub("_", kind.__name__).upper() + "_"


# --- in -------------------------------------------------------------------------------------------------------------


def decode(message: type[M], value: Any, path: str = "") -> M:
    """A message from its JSON object.

    :raises ProtoJsonError: naming the path of what does not fit.
    """
    if not isinstance(value, dict):
        raise _unexpected(path or message.__name__, "an object", value)
    known = _by_key(message)
    members: dict[str, Any] = {}
    for key, item in value.items():
        field = known.get(key)
        if field is None or (item is None and field.kind is not Value):
            continue
        members[field.name] = _decode_field(field, item, f"{path}.{key}" if path else key)
    try:
        return message(**members)
    except ValueError as error:
        raise ProtoJsonError(f"{path or message.__name__}: {error}") from error


def _decode_field(field: _Field, value: Any, path: str) -> Any:
    if field.meta.proto_type == betterproto2.TYPE_MAP:
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise _unexpected(path, "an object of strings", value)
        return value
    if field.meta.repeated:
        if not isinstance(value, list):
            raise _unexpected(path, "a list", value)
        return [_decode_one(field, item, f"{path}[{index}]") for index, item in enumerate(value)]
    return _decode_one(field, value, path)


def _decode_one(field: _Field, value: Any, path: str) -> Any:
    kind = field.meta.proto_type
    if kind == betterproto2.TYPE_MESSAGE:
        return _decode_message(field.kind, value, path)
    if kind == betterproto2.TYPE_ENUM:
        return _decode_enum(field.kind, value, path)
    return _SCALARS[kind](value, path)


def _decode_message(kind: Any, value: Any, path: str) -> Any:
    if kind is datetime:
        return _decode_time(value, path)
    if kind is Value:
        return to_value(value)
    if kind is Struct:
        if not isinstance(value, dict):
            raise _unexpected(path, "an object", value)
        return to_struct(value)
    return decode(kind, value, path)


def _decode_enum(kind: type[betterproto2.Enum], value: Any, path: str) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return kind(value)
    if isinstance(value, str):
        name = value.removeprefix(_prefix(kind))
        if name in kind.__members__:
            return kind[name]
    raise _unexpected(path, f"one of {', '.join(_prefix(kind) + name for name in kind.__members__)}", value)


def _decode_time(value: Any, path: str) -> datetime:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise _unexpected(path, "an RFC 3339 time", value) from None
        if moment.tzinfo is not None:
            return moment
    raise _unexpected(path, "an RFC 3339 time with its zone", value)


def _integer(low: int, high: int) -> Callable[[Any, str], int]:
    def decode_integer(value: Any, path: str) -> int:
        number = value
        if isinstance(number, str) and re.fullmatch(r"-?\d{1,20}", number):
            number = int(number)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise _unexpected(path, f"a whole number from {low} to {high}", value)
        return number

    return decode_integer


def _float(value: Any, path: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _unexpected(path, "a number", value)


def _text(value: Any, path: str) -> str:
    if isinstance(value, str):
        return value
    raise _unexpected(path, "a string", value)


def _flag(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    raise _unexpected(path, "true or false", value)


def _binary(value: Any, path: str) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
        except binascii.Error:
            raise _unexpected(path, "base64", value) from None
    raise _unexpected(path, "base64", value)


_SCALARS: Mapping[str, Callable[[Any, str], Any]] = {
    betterproto2.TYPE_STRING: _text,
    betterproto2.TYPE_BOOL: _flag,
    betterproto2.TYPE_BYTES: _binary,
    "float": _float,
    "double": _float,
    "int32": _integer(-(2**31), 2**31 - 1),
    "uint32": _integer(0, 2**32 - 1),
    "int64": _integer(-(2**63), 2**63 - 1),
    "uint64": _integer(0, 2**64 - 1),
}


def _unexpected(path: str, wanted: str, value: Any) -> ProtoJsonError:
    shown = repr(value)
    return ProtoJsonError(f"{path}: expected {wanted}, got {shown if len(shown) <= 80 else shown[:77] + '...'}")
