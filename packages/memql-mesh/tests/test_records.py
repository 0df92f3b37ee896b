"""Records, batches and single frames carry an event whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memql.errors import Code, MemqlError
from memql.events import Event, EventKind
from memql.events.event import to_micros
from memql.mesh.wire.envelopes import FROM_ACCEPTOR, FROM_DIALER, decode, encode
from memql.mesh.wire.messages import EventForward, NodeHello, NodeShutdown, NodeWelcome, PeerInfo
from memql.mesh.wire.records import decode_batch, encode_batch, from_forward, record_of, to_event, to_forward

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
payloads: st.SearchStrategy[dict[str, Any]] = st.dictionaries(st.text(max_size=8), values, max_size=5)
moments = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
events = st.builds(
    Event,
    id=st.text(min_size=1, max_size=30),
    topic=st.text("abc.", min_size=1, max_size=30),
    body=payloads,
    kind=st.sampled_from([kind.name for kind in EventKind]),
    micros=moments.map(to_micros),
    actor=st.text(max_size=10),
    log_seq=st.none() | st.integers(0, 2**63 - 1),
    cause=st.sampled_from(["", "a", "a>b"]),
)


def read(event: Event) -> Event:
    """The event with its payload looked at."""
    assert event.payload is event.body
    return event


@given(st.lists(events, max_size=5))
def test_a_batch_brings_events_as_they_were(sent: list[Event]) -> None:
    records = [record_of(event, "n1", 3) for event in sent]
    came = [read(to_event(record)) for record in decode_batch(encode_batch(records))]
    assert came == [event.replace(origin="n1") for event in sent]


@given(events)
def test_a_single_frame_brings_what_the_original_protocol_knows(sent: Event) -> None:
    record = record_of(sent, "n1", 3)
    message = EventForward.parse(bytes(to_forward(record)))
    came = read(to_event(from_forward(message)))
    assert came == sent.replace(origin="n1", actor="", log_seq=None)


def test_the_log_position_of_a_single_frame_is_in_its_id() -> None:
    record = record_of(Event(id="g:77:created", topic="t", body={}, log_seq=77), "n1", 3)
    assert from_forward(to_forward(record)).log_seq == 77


def test_handing_on_uses_up_life_and_counts_the_way() -> None:
    record = record_of(Event(id="e", topic="t", body={}), "n1", 3).hand_on()
    assert (record.ttl, record.hops) == (2, 2)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_batch_are_refused_and_nothing_else(data: bytes) -> None:
    try:
        decode_batch(data)
    except MemqlError as error:
        assert error.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "message", [EventForward(topic="t"), EventForward(event_id="e"), EventForward(event_id="e", topic="t")]
)
def test_a_single_frame_without_its_parts_is_refused(message: EventForward) -> None:
    with pytest.raises(MemqlError, match="event_id"):
        from_forward(message)


def test_an_event_without_a_json_form_is_an_error_and_not_sent_empty() -> None:
    with pytest.raises(TypeError):
        record_of(Event(id="e", topic="t", body={"x": object()}), "n1", 3)


NUMBERS = {
    "dialer": {
        "node_hello": 10,
        "heartbeat": 11,
        "peer_intro": 12,
        "spawn_request": 20,
        "spawn_result": 21,
        "event_forward": 30,
        "event_ack": 31,
        "capability_query": 40,
        "capability_response": 41,
        "query_forward": 60,
        "si_forward_request": 70,
        "si_forward_cancel": 71,
        "workbench_forward_request": 80,
        "workbench_forward_cancel": 81,
        "deploy_control_forward_request": 90,
        "worker_forward_request": 100,
        "worker_forward_cancel": 101,
        "event_batch": 200,
    },
    "acceptor": {
        "node_welcome": 10,
        "heartbeat": 11,
        "peer_intro": 12,
        "spawn_request": 20,
        "spawn_result": 21,
        "event_forward": 30,
        "event_ack": 31,
        "capability_query": 40,
        "capability_response": 41,
        "node_shutdown": 50,
        "query_response": 60,
        "si_forward_response": 70,
        "workbench_forward_response": 80,
        "deploy_control_forward_response": 90,
        "worker_forward_response": 100,
        "worker_forward_stream": 101,
        "event_batch": 200,
    },
}


@pytest.mark.parametrize(("side", "table"), [("dialer", FROM_DIALER), ("acceptor", FROM_ACCEPTOR)])
def test_payload_numbers_are_those_of_the_protocol(side: str, table: Any) -> None:
    assert {name: payload.number for name, payload in table.by_name.items()} == NUMBERS[side]


def test_an_envelope_brings_its_message() -> None:
    hello = NodeHello(node_id="n1", node_type="bff", capabilities=["event-batch/1"])
    frame = decode(encode(FROM_DIALER, "1", hello, metadata={"incarnation": "x"}), FROM_DIALER)
    assert (frame.name, frame.message_id, frame.metadata) == ("node_hello", "1", {"incarnation": "x"})
    assert frame.message() == hello
    welcome = NodeWelcome(node_id="n2", peers=[PeerInfo(node_id="n3")])
    frame = decode(encode(FROM_ACCEPTOR, "2", welcome, correlate_to="1"), FROM_ACCEPTOR)
    assert (frame.correlate_to, frame.message()) == ("1", welcome)


def test_a_side_does_not_send_what_is_not_in_its_envelope() -> None:
    with pytest.raises(KeyError):
        encode(FROM_DIALER, "1", NodeShutdown())
