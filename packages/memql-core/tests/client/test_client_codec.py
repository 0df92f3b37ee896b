from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memql.client import Code, MemqlError
from memql.client._codec import call_text, decode_event, plain_arguments
from memql.client._target import parse_addresses, parse_target
from memql.wire import messages
from memql.wire.frames import EventFrame

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), plain), st.integers(0, 2**63), st.booleans(), st.text())
def test_events_decode_to_what_was_encoded(payload: dict[str, Any], seq: int, gap: bool, cursor: str) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    frame = EventFrame("s", 301, moment, {**payload, "topic": "t", "eventKind": "node_created"}, seq, gap, cursor)
    subscription, event = decode_event(frame.encode())
    assert subscription == "s"
    assert (event.ts, event.seq, event.gap_before, event.cursor) == (moment, seq, gap, cursor)
    assert (event.topic, event.kind) == ("t", "node_created")
    assert {key: event.payload[key] for key in payload} == {**payload, **_overridden(payload)}


def _overridden(payload: dict[str, Any]) -> dict[str, str]:
    return {key: value for key, value in {"topic": "t", "eventKind": "node_created"}.items() if key in payload}


@settings(deadline=None)
@given(st.dictionaries(st.text(), plain))
def test_events_decode_as_the_generated_message_does(payload: dict[str, Any]) -> None:
    encoded = EventFrame("s", 301, datetime(1969, 12, 31, 23, 59, 59, 500000, UTC), payload).encode()
    reference = messages.EventNotification.parse(encoded)
    _, event = decode_event(encoded)
    assert event.ts == reference.ts


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z][A-Za-z0-9]{0,8}", fullmatch=True), plain))
def test_arguments_that_a_double_holds_never_stand_in_the_text(arguments: dict[str, Any]) -> None:
    text, variables = call_text("queryX", arguments)
    assert variables == arguments
    assert text == "queryX({" + ", ".join(f"{name}: ${name}" for name in arguments) + "})"


def test_nested_large_integers_stand_in_the_text() -> None:
    text, variables = call_text("q", {"a": {"n": [2**60]}, "b": 1})
    assert text == f'q({{a: {{"n": [{2**60}]}}, b: $b}})'
    assert variables == {"b": 1}


def test_arguments_become_json_values() -> None:
    @dataclasses.dataclass
    class Point:
        x: int

    arguments = {"day": date(2026, 1, 2), "point": Point(1), "many": (1, 2), "at": datetime(2026, 1, 2, tzinfo=UTC)}
    assert plain_arguments(arguments) == {
        "day": "2026-01-02",
        "point": {"x": 1},
        "many": [1, 2],
        "at": "2026-01-02T00:00:00Z",
    }
    assert msgspec.json.encode(plain_arguments(arguments))


@pytest.mark.parametrize(
    ("address", "transport", "location", "tls"),
    [
        ("localhost:50051", "grpc", "localhost:50051", False),
        ("localhost", "grpc", "localhost:50051", False),
        ("grpc://h:1", "grpc", "h:1", False),
        ("grpcs://h", "grpc", "h:443", True),
        ("https://h:8443", "grpc", "h:8443", True),
        ("[::1]:5", "grpc", "[::1]:5", False),
        ("ws://h:1", "websocket", "ws://h:1/memql/ws", False),
        ("wss://h/other", "websocket", "wss://h/other", True),
    ],
)
def test_addresses_are_taken_apart(address: str, transport: str, location: str, tls: bool) -> None:
    target = parse_target(address)
    assert (target.transport, target.location, target.tls) == (transport, location, tls)


def test_a_missing_certificate_file_is_told(tmp_path: Any) -> None:
    target = parse_target("grpcs://h", tmp_path / "none.pem")
    with pytest.raises(MemqlError) as raised:
        target.certificate_authorities()
    assert raised.value.code is Code.CONFIG_INVALID


def test_addresses_are_tried_from_the_one_after_the_one_in_use() -> None:
    addresses = parse_addresses("a:1, b:2,c:3,,a:1")
    assert list(map(str, addresses.next())) == ["a:1", "b:2", "c:3"]
    addresses.use(addresses.all[1])
    assert list(map(str, addresses.next())) == ["c:3", "a:1", "b:2"]
    assert list(map(str, addresses.next(leaving=True))) == ["c:3", "a:1"]


def test_the_only_address_is_tried_again_even_when_it_is_to_be_left() -> None:
    addresses = parse_addresses(["a:1"])
    addresses.use(addresses.all[0])
    assert list(map(str, addresses.next(leaving=True))) == ["a:1"]


@pytest.mark.parametrize("nothing", ["", " , ", []])
def test_no_address_is_refused(nothing: str | list[str]) -> None:
    with pytest.raises(MemqlError, match="names no host"):
        parse_addresses(nothing)
