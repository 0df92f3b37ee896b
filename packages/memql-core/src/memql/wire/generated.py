"""The generated messages as bytes and back, by what their fields need.

The library looks every field up anew for every message. Here each class is looked at once, and what it takes to write
and read it is kept. Classes with fields that no hot message has (floats, oneofs, wrapped types, packed numbers) are
left to the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

import betterproto2

from memql.wire.protobuf import MalformedMessageError, bytes_field, fields, text, text_entry, varint

__all__ = ["message_bytes", "parse_message"]

_BITS_32, _BITS_64 = 32, 64
_NUMBERS: Final = {
    betterproto2.TYPE_INT32: (_BITS_32, True),
    betterproto2.TYPE_INT64: (_BITS_64, True),
    betterproto2.TYPE_UINT32: (_BITS_32, False),
    betterproto2.TYPE_UINT64: (_BITS_64, False),
}

_Encode: TypeAlias = Callable[[Any], bytes]
"""A value as what stands after its tag."""
_Decode: TypeAlias = Callable[[Any], Any]
"""What stands after a tag as a value."""


class _Kind(NamedTuple):
    """One kind of value. ``is_number`` is whether it travels as a varint."""

    encode: _Encode
    decode: _Decode
    is_number: bool


class _Write(NamedTuple):
    name: str
    tag: bytes
    encode: Callable[[bytes, Any], Iterable[bytes]]
    always: bool
    """Whether an empty value is written too: it was set."""


class _Read(NamedTuple):
    name: str
    decode: _Decode
    is_number: bool
    place: str
    """Where a value goes: ``one``, ``list`` or ``map``."""


class _Plan(NamedTuple):
    writes: tuple[_Write, ...]
    reads: dict[int, _Read]


class _UnplannedError(Exception):
    """A class that is left to the library."""


def message_bytes(message: betterproto2.Message) -> bytes:
    """The bytes of a message."""
    plan = _plan(type(message))
    if plan is None:
        return bytes(message)
    out: list[bytes] = []
    for name, tag, encode, always in plan.writes:
        value = getattr(message, name)
        if value is not None if always else value:
            out += encode(tag, value)
    return b"".join(out)


def parse_message(kind: type[betterproto2.Message], data: bytes) -> betterproto2.Message:
    """A message from its bytes; what it does not know is passed over.

    :raises MalformedMessageError: when the bytes are no such message.
    """
    plan = _plan(kind)
    if plan is None:
        try:
            return kind.parse(data)
        except Exception as error:  # what the library raises for bad bytes has no common base
            raise MalformedMessageError(f"not a {kind.__name__}: {error}") from error
    found: dict[str, Any] = {}
    for number, value in fields(data):
        read = plan.reads.get(number)
        if read is None:
            continue
        if isinstance(value, int) is not read.is_number:
            raise MalformedMessageError(f"field {number} of {kind.__name__} has another wire type than it must")
        if read.place == "one":
            found[read.name] = read.decode(value)
        elif read.place == "list":
            found.setdefault(read.name, []).append(read.decode(value))
        else:
            key, entry = read.decode(value)
            found.setdefault(read.name, {})[key] = entry
    return kind(**found)


# --- plans -----------------------------------------------------------------------------------------------------------


@cache
def _plan(kind: type[betterproto2.Message]) -> _Plan | None:
    meta: betterproto2.ProtoClassMetadata = kind._betterproto  # type: ignore[arg-type]
    writes: list[_Write] = []
    reads: dict[int, _Read] = {}
    try:
        for name, one in meta.meta_by_field_name.items():
            write, reads[one.number] = _planned(name, one, meta.cls_by_field[name])
            writes.append(write)
    except _UnplannedError:
        return None
    return _Plan(tuple(writes), reads)


def _planned(name: str, meta: betterproto2.FieldMetadata, kind: type) -> tuple[_Write, _Read]:
    if meta.group is not None or meta.unwrap is not None:
        raise _UnplannedError
    number = meta.number
    if meta.map_meta is not None:
        if any(side.proto_type != betterproto2.TYPE_STRING for side in meta.map_meta):
            raise _UnplannedError
        return _Write(name, _tag(number), _write_entries, False), _Read(name, text_entry, False, "map")
    value = _value_kind(meta.proto_type, kind)
    if meta.repeated:
        if value.is_number:
            raise _UnplannedError
        return _Write(name, _tag(number), _each(value.encode), False), _Read(name, value.decode, False, "list")
    tag = varint(number << 3) if value.is_number else _tag(number)
    return _Write(name, tag, _single(value), bool(meta.optional)), _Read(name, value.decode, value.is_number, "one")


def _tag(number: int) -> bytes:
    return varint(number << 3 | 2)


def _value_kind(proto_type: str, kind: type) -> _Kind:
    if proto_type == betterproto2.TYPE_STRING:
        return _Kind(str.encode, text, False)
    if proto_type == betterproto2.TYPE_BYTES:
        return _Kind(bytes, bytes, False)
    if proto_type == betterproto2.TYPE_BOOL:
        return _Kind(varint, bool, True)
    if proto_type == betterproto2.TYPE_ENUM:
        signed = _signed(_BITS_32)
        return _Kind(_unsigned, lambda value: kind(signed(value)), True)
    if proto_type == betterproto2.TYPE_MESSAGE:
        return _Kind(message_bytes, lambda data: parse_message(kind, data), False)
    if proto_type in _NUMBERS:
        bits, is_signed = _NUMBERS[proto_type]
        mask = (1 << bits) - 1
        return _Kind(_unsigned, _signed(bits) if is_signed else mask.__and__, True)
    raise _UnplannedError


def _unsigned(value: int) -> bytes:
    return varint(value & 0xFFFFFFFFFFFFFFFF)


def _signed(bits: int) -> Callable[[int], int]:
    mask, sign = (1 << bits) - 1, 1 << (bits - 1)
    return lambda value: ((value & mask) ^ sign) - sign


def _single(value: _Kind) -> Callable[[bytes, Any], Iterable[bytes]]:
    encode = value.encode
    if value.is_number:
        return lambda tag, one: (tag, encode(one))

    def sized(tag: bytes, one: Any) -> Iterable[bytes]:
        body = encode(one)
        return tag, varint(len(body)), body

    return sized


def _each(encode: _Encode) -> Callable[[bytes, Any], Iterable[bytes]]:
    def write(tag: bytes, values: Any) -> Iterable[bytes]:
        for one in values:
            body = encode(one)
            yield tag + varint(len(body)) + body

    return write


def _write_entries(tag: bytes, entries: Any) -> Iterable[bytes]:
    for key, value in entries.items():
        body = bytes_field(1, key.encode()) + bytes_field(2, value.encode())
        yield tag + varint(len(body)) + body
