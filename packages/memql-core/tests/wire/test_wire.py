"""What travels: numbers, generated code, hot frames against the generated messages, protojson."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memql.wire.frames import (
    EventFrame,
    QueryRequest,
    RowsChunk,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
)
from memql.wire.messages import (
    AutomationRunEvent,
    AutomationRunStep,
    EventKind,
    EventNotification,
    ExecuteQueryMsg,
    GraphNodeAction,
    HeartbeatMsg,
    MemqlClientMessage,
    MemqlServerMessage,
    MyAccessMsg,
    QueryResultChunk,
    ResultMeta,
    SubscribeMsg,
    SubscriptionKind,
    UserRole,
)
from memql.wire.payloads import CLIENT, SERVER
from memql.wire.protobuf import MalformedMessageError, fields
from memql.wire.protojson import ProtoJsonError, decode, encode
from memql.wire.structs import decode_struct, encode_struct, from_struct, to_struct

PROTO = Path(__file__).resolve().parents[2] / "proto"

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=5)


@pytest.mark.parametrize("protocol", ["CLIENT", "NODE"])
def test_the_generated_messages_are_current(protocol: str) -> None:
    """``make proto`` was run after the last change of a ``.proto`` file."""
    spec = importlib.util.spec_from_file_location("generate", PROTO / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    sources, target = getattr(generate, protocol)
    assert (target / generate.DIGEST).read_text().strip() == generate.digest(sources)


def test_payload_numbers_are_those_of_the_protocol() -> None:
    assert {name: payload.number for name, payload in CLIENT.by_name.items()} == {
        "client_hello": 10,
        "execute_query": 11,
        "cancel_request": 12,
        "subscribe": 13,
        "unsubscribe": 14,
        "ack": 15,
        "list_tools": 16,
        "call_tool": 17,
        "si_chat": 18,
        "si_suggest": 21,
        "sense_tokenize": 30,
        "sense_complete": 31,
        "sense_diagnose": 32,
        "sense_hover": 33,
        "sense_signature_help": 34,
        "concepts_list": 38,
        "concepts_subscribe": 39,
        "my_access": 40,
        "client_tool_result": 45,
        "evaluate_policy": 70,
        "rotate_auth": 71,
        "node_maintenance": 73,
        "sense_definition": 85,
        "run_automation": 102,
    }
    assert {name: payload.number for name, payload in SERVER.by_name.items()} == {
        "server_hello": 10,
        "query_result": 11,
        "query_error": 12,
        "event": 20,
        "si_chunk": 30,
        "heartbeat": 40,
        "list_tools_result": 50,
        "call_tool_result": 51,
        "si_chat_result": 55,
        "si_suggest_result": 58,
        "sense_tokenize_result": 70,
        "sense_complete_result": 71,
        "sense_diagnose_result": 72,
        "sense_hover_result": 73,
        "sense_signature_help_result": 74,
        "concepts_list_result": 78,
        "concepts_subscribe_result": 79,
        "my_access_result": 80,
        "client_tool_call": 85,
        "node_maintenance_result": 102,
        "evaluate_policy_result": 110,
        "rotate_auth_result": 111,
        "sense_definition_result": 122,
        "automation_run_event": 124,
    }


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


@given(st.lists(st.floats(allow_nan=False), max_size=40))
def test_vectors_are_encoded_as_every_other_list(vector: list[float]) -> None:
    value = {"vectors": [vector, [*vector, None]]}
    assert encode_struct(value) == bytes(to_struct(value))
    assert decode_struct(encode_struct(value)) == as_json(value)


@settings(deadline=None)
@given(objects)
def test_structs_survive_the_hand_written_codec(value: dict[str, Any]) -> None:
    assert decode_struct(encode_struct(value)) == value


@settings(deadline=None)
@given(objects)
def test_the_hand_written_struct_is_the_generated_one(value: dict[str, Any]) -> None:
    generated = to_struct(value)
    assert from_struct(type(generated).parse(encode_struct(value))) == value
    assert decode_struct(bytes(generated)) == value


@settings(deadline=None)
@given(st.text(), st.text(), objects, st.text(), st.text())
def test_a_query_is_the_generated_message(
    request_id: str, query: str, variables: dict[str, Any], client_id: str, cursor: str
) -> None:
    request = QueryRequest(request_id, query, variables, client_id, cursor)
    generated = ExecuteQueryMsg.parse(request.encode())
    assert (generated.request_id, generated.query, generated.cursor) == (request_id, query, cursor)
    assert from_struct(generated.variables) == variables
    assert QueryRequest.decode(bytes(generated)) == request


@settings(deadline=None)
@given(st.text(), st.binary(max_size=300), st.booleans())
def test_a_row_chunk_is_the_generated_message(request_id: str, rows: bytes, done: bool) -> None:
    chunk = RowsChunk(request_id, rows, done)
    generated = QueryResultChunk.parse(chunk.encode())
    assert (generated.request_id, generated.json, generated.done) == (request_id, rows, done)
    assert RowsChunk.decode(bytes(generated)) == chunk


moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@settings(deadline=None)
@given(moments, objects, st.integers(0, 2**64 - 1), st.booleans())
def test_an_event_is_the_generated_message(ts: datetime, payload: dict[str, Any], seq: int, gap: bool) -> None:
    frame = EventFrame("s", EventKind.NODE_CREATED.value, ts, payload, seq, gap, "7:1")
    generated = EventNotification.parse(frame.encode())
    assert (generated.kind, generated.ts, generated.seq) == (EventKind.NODE_CREATED, ts, seq)
    assert (generated.gap_before, generated.cursor) == (gap, "7:1")
    assert from_struct(generated.payload) == payload


@settings(deadline=None)
@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_envelopes_are_the_generated_messages(message_id: str, text: str, metadata: dict[str, str]) -> None:
    body = bytes(MyAccessMsg(request_id=text))
    sent = encode_client(message_id, 40, body, metadata)
    generated = MemqlClientMessage.parse(sent)
    assert generated.my_access is not None
    assert (generated.message_id, generated.my_access.request_id) == (message_id, text)
    assert generated.metadata == metadata
    frame = decode_client(bytes(generated))
    assert (frame.message_id, frame.name, frame.metadata) == (message_id, "my_access", metadata)
    assert frame.message() == MyAccessMsg(request_id=text)
    back = MemqlServerMessage.parse(encode_server(message_id, text, 40, bytes(HeartbeatMsg())))
    assert (back.message_id, back.correlate_to) == (message_id, text)
    assert back.heartbeat == HeartbeatMsg()


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"m\x00\x00\x03\t")  # a text field holds eight fixed bytes
def test_no_bytes_do_worse_than_be_refused(data: bytes) -> None:
    for read in (decode_client, decode_server, QueryRequest.decode, RowsChunk.decode, decode_struct):
        try:
            found = read(data)
        except MalformedMessageError:
            continue
        if read is decode_client and found.name:  # type: ignore[union-attr]
            try:
                found.message()  # type: ignore[union-attr]
            except MalformedMessageError:
                continue


def test_unknown_fields_are_skipped_and_nesting_is_bounded() -> None:
    request = QueryRequest("r", "q")
    assert QueryRequest.decode(request.encode() + b"\xfa\x3e\x03abc") == request
    deep: Any = None
    for _ in range(300):
        deep = [deep]
    with pytest.raises(MalformedMessageError, match="nested"):
        decode_struct(encode_struct({"x": deep}))
    with pytest.raises(MalformedMessageError, match="ten bytes"):
        list(fields(b"\xff" * 12))


def test_protojson_emits_what_is_unpopulated() -> None:
    assert encode(SubscribeMsg()) == {
        "subscriptionId": "",
        "kind": "SUBSCRIPTION_KIND_UNSPECIFIED",
        "filter": "",
        "config": None,
        "concept": "",
        "actions": [],
    }


def test_protojson_of_every_kind_of_field() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
    event = EventNotification(
        subscription_id="s",
        kind=EventKind.AI_COMPLETION_STARTED,
        ts=moment,
        payload=to_struct({"a": [1, None]}),
        seq=2**60,
    )
    assert as_json(encode(event)) == {
        "subscriptionId": "s",
        "kind": "EVENT_KIND_AI_COMPLETION_STARTED",
        "ts": "2026-03-04T05:06:07.890Z",
        "payload": {"a": [1, None]},
        "seq": str(2**60),
        "gapBefore": False,
        "cursor": "",
    }
    assert encode(ResultMeta())["version"] == "0"
    assert "count" not in encode(ResultMeta())
    assert encode(QueryResultChunk(json=b"\x00\xff"))["json"] == "AP8="


def test_a_oneof_shows_only_its_member() -> None:
    event = AutomationRunEvent(request_id="r", step=AutomationRunStep(step_id="a", duration_ms=5))
    shown = encode(event)
    assert shown["step"]["durationMs"] == "5"
    assert not {"accepted", "complete"} & shown.keys()


@pytest.mark.parametrize(
    "value",
    [
        {"subscriptionId": "s", "kind": "SUBSCRIPTION_KIND_GRAPH_EVENTS", "actions": ["GRAPH_NODE_ACTION_CREATED"]},
        {"subscription_id": "s", "kind": 500, "actions": [1], "unknown": {"x": 1}},
        {"subscriptionId": "s", "kind": "GRAPH_EVENTS", "actions": [1], "config": None},
    ],
)
def test_protojson_is_read_in_either_case_with_names_or_numbers(value: dict[str, Any]) -> None:
    read = decode(SubscribeMsg, value)
    assert read.subscription_id == "s"
    assert read.kind is SubscriptionKind.GRAPH_EVENTS
    assert read.actions == [GraphNodeAction.CREATED]


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text())
def test_protojson_survives_a_round_trip(number: int, flag: bool, text: str) -> None:
    meta = ResultMeta(count=number, has_more=flag, cursor=text, took_ms=None, version=number)
    assert decode(ResultMeta, as_json(encode(meta))) == meta


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (SubscribeMsg, [], "SubscribeMsg: expected an object"),
        (SubscribeMsg, {"filter": 5}, "filter: expected a string, got 5"),
        (SubscribeMsg, {"kind": "NOPE"}, "kind: expected one of"),
        (SubscribeMsg, {"actions": "x"}, "actions: expected a list"),
        (SubscribeMsg, {"config": [1]}, "config: expected an object"),
        (ResultMeta, {"count": "many"}, "count: expected a whole number"),
        (ResultMeta, {"count": True}, "count: expected a whole number"),
        (ResultMeta, {"version": str(2**63)}, "version: expected a whole number"),
        (ResultMeta, {"hasMore": "yes"}, "hasMore: expected true or false"),
        (QueryResultChunk, {"json": "!"}, "json: expected base64"),
        (EventNotification, {"ts": "yesterday"}, "ts: expected an RFC 3339 time"),
        (EventNotification, {"ts": "2026-01-01T00:00:00"}, "ts: expected an RFC 3339 time with its zone"),
        (AutomationRunEvent, {"step": {"sequence": 1.5}}, "step.sequence: expected a whole number"),
    ],
)
def test_protojson_that_does_not_fit_is_refused_with_its_place(kind: Any, value: Any, reason: str) -> None:
    with pytest.raises(ProtoJsonError) as error:
        decode(kind, value)
    assert reason in str(error.value)


def test_times_are_read_with_any_offset() -> None:
    read = decode(EventNotification, {"ts": "2026-01-01T02:00:00.5+02:00"})
    assert read.ts == datetime(2026, 1, 1, microsecond=500_000, tzinfo=UTC)


def test_roles_travel_by_name() -> None:
    from memql.wire.messages import MyAccessResult

    assert encode(MyAccessResult(cluster_role=UserRole.OWNER))["clusterRole"] == "USER_ROLE_OWNER"
