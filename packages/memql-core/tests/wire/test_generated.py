"""Messages as bytes and back: the same bytes mean the same as to the library, whatever they are."""

from __future__ import annotations

import inspect
from typing import Any

import betterproto2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.wire import messages
from memql.wire.generated import _plan, message_bytes, parse_message
from memql.wire.protobuf import MalformedMessageError, bytes_field, varint_field

KINDS = sorted(
    (
        kind
        for _, kind in inspect.getmembers(messages, inspect.isclass)
        if issubclass(kind, betterproto2.Message) and kind is not betterproto2.Message
    ),
    key=lambda kind: kind.__name__,
)
PLANNED = [kind for kind in KINDS if _plan(kind) is not None]

_TEXT = st.text(max_size=8)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    betterproto2.TYPE_STRING: _TEXT,
    betterproto2.TYPE_BYTES: st.binary(max_size=8),
    betterproto2.TYPE_BOOL: st.booleans(),
    betterproto2.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    betterproto2.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    betterproto2.TYPE_UINT32: st.integers(0, 2**32 - 1),
    betterproto2.TYPE_UINT64: st.integers(0, 2**64 - 1),
}


def built(kind: Any, depth: int = 3) -> st.SearchStrategy[Any]:
    """Messages of a class, some of their fields left out."""
    meta = kind._betterproto
    members: dict[str, st.SearchStrategy[Any]] = {}
    for name, one in meta.meta_by_field_name.items():
        inner = meta.cls_by_field[name]
        if one.map_meta is not None:
            members[name] = st.dictionaries(_TEXT, _TEXT, max_size=2)
            continue
        if one.proto_type == betterproto2.TYPE_ENUM:
            value: st.SearchStrategy[Any] = st.sampled_from(list(inner))
        elif one.proto_type != betterproto2.TYPE_MESSAGE:
            value = _VALUES[one.proto_type]
        elif depth and _plan(inner) is not None:
            value = built(inner, depth - 1)
        else:
            value = st.just(inner())
        members[name] = st.lists(value, max_size=2) if one.repeated else value
    return st.fixed_dictionaries({}, optional=members).map(lambda given: kind(**given))


ANY = st.sampled_from(PLANNED).flatmap(built)


def test_most_messages_are_planned() -> None:
    assert len(PLANNED) > len(KINDS) / 2
    assert messages.ClientHello in PLANNED


@given(ANY)
def test_what_is_written_is_read_by_the_library(message: Any) -> None:
    assert type(message).parse(message_bytes(message)) == message


@given(ANY)
def test_what_the_library_writes_is_read(message: Any) -> None:
    assert parse_message(type(message), bytes(message)) == message


@given(st.sampled_from(PLANNED), st.binary(max_size=64))
def test_bytes_that_are_no_message_are_malformed_and_nothing_else(kind: Any, data: bytes) -> None:
    try:
        parse_message(kind, data)
    except MalformedMessageError:
        return


def test_fields_of_later_versions_are_passed_over() -> None:
    later = varint_field(4000, 7) + bytes_field(4001, b"new")
    known = messages.ClientHello(client_id="ada", features=["json-rows"])
    assert parse_message(messages.ClientHello, message_bytes(known) + later) == known


def test_a_field_of_another_wire_type_is_malformed() -> None:
    with pytest.raises(MalformedMessageError, match="field 1 of ClientHello"):
        parse_message(messages.ClientHello, varint_field(1, 5))


def test_a_class_that_is_not_planned_is_left_to_the_library() -> None:
    value = messages.Value(number_value=1.5)
    assert parse_message(messages.Value, message_bytes(value)) == value
    with pytest.raises(MalformedMessageError, match="Value"):
        parse_message(messages.Value, b"\x1a\x02\xff\xff")
