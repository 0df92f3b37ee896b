"""The protobuf wire format, as far as hot frames need it: tags, varints, length-delimited fields.

The generated classes decode whole messages; envelopes, queries, rows and events go through these functions,
which cost a fraction of it because they touch only what they need.
"""

from __future__ import annotations

__all__ = [
    "MalformedMessageError",
    "bool_field",
    "bytes_field",
    "bytes_head",
    "fields",
    "text",
    "text_entry",
    "text_field",
    "varint",
    "varint_field",
]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_SHIFT = 63


class MalformedMessageError(ValueError):
    """Bytes that are no protobuf message, or a value of the wrong type in one."""


_SHORT = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """A non-negative integer below 2**64 as a varint."""
    if value < 0x80:
        return _SHORT[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def bytes_head(number: int, size: int) -> bytes:
    """What stands before the ``size`` bytes of a length-delimited field."""
    return varint(number << 3 | _BYTES) + varint(size)


def bytes_field(number: int, value: bytes) -> bytes:
    """A length-delimited field, present even when empty."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def text_field(number: int, value: str) -> bytes:
    """A string field; nothing when empty, as proto3 leaves defaults out."""
    return bytes_field(number, value.encode()) if value else b""


def varint_field(number: int, value: int) -> bytes:
    """An unsigned integer or enum field; nothing when zero."""
    return varint(number << 3) + varint(value) if value else b""


def bool_field(number: int, value: bool) -> bytes:
    """A boolean field; nothing when false."""
    return varint(number << 3) + b"\x01" if value else b""


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a message in order: number, and an int for a varint or the raw bytes otherwise.

    :raises MalformedMessageError: for truncated or impossible input.
    """
    out: list[tuple[int, int | bytes]] = []
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = _read_varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if not number:
            raise MalformedMessageError("a field has number 0")
        if wire_type == _VARINT:
            value, at = _read_varint(data, at)
            out.append((number, value))
            continue
        if wire_type == _BYTES:
            size, at = _read_varint(data, at)
        elif wire_type == _FIXED64:
            size = 8
        elif wire_type == _FIXED32:
            size = 4
        else:
            raise MalformedMessageError(f"field {number} has the unknown wire type {wire_type}")
        if at + size > end:
            raise MalformedMessageError(f"field {number} is cut short")
        out.append((number, data[at : at + size]))
        at += size
    return out


def text(value: int | bytes) -> str:
    """The value of a string field.

    :raises MalformedMessageError: when it is no string or not UTF-8.
    """
    if isinstance(value, int):
        raise MalformedMessageError("a string was expected where a number stands")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessageError(f"a string is not UTF-8: {error}") from error


def text_entry(data: bytes) -> tuple[str, str]:
    """Key and value of an entry of a map of strings.

    :raises MalformedMessageError: when the bytes are none.
    """
    parts = dict(fields(data))
    return text(parts.get(1, b"")), text(parts.get(2, b""))


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    try:
        byte = data[at]
        if byte < 0x80:
            return byte, at + 1
        value, shift = byte & 0x7F, 7
        while True:
            at += 1
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at + 1
            shift += 7
            if shift > _MAX_SHIFT:
                raise MalformedMessageError("a varint has more than ten bytes")
    except IndexError:
        raise MalformedMessageError("the message ends inside a varint") from None
