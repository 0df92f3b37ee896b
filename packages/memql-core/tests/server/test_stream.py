"""The stream over gRPC: requests, answers, errors, cancelling, limits."""

from __future__ import annotations

from typing import Any

import anyio
import grpc
import msgspec
import pytest
from server_system import Node, Serve, Wire

from memql.engine.result import Result
from memql.errors import Code, MemqlError
from memql.server.limits import Limits
from memql.wire.frames import QueryRequest, RowsChunk, encode_client
from memql.wire.messages import (
    AckMsg,
    CancelRequestMsg,
    ClientHello,
    ConceptsListMsg,
    EventNotification,
    MyAccessMsg,
    NodeMaintenanceMsg,
    QueryErrorMsg,
    RotateAuthMsg,
    UserRole,
)
from memql.wire.structs import from_struct

pytestmark = pytest.mark.anyio


async def hello(wire: Wire, *features: str) -> Any:
    await wire.send(ClientHello(client_id="c1", sdk_name="test", features=list(features)))
    return await wire.message("server_hello")


async def test_hello_tells_node_version_and_features(wire: Wire, node: Node) -> None:
    answer = await hello(wire, "json-rows", "unheard-of")
    assert (answer.node_id, answer.version, answer.engine_version) == ("node-1", "v1", "0.1.0")
    assert answer.session_id
    assert answer.heartbeat_ms == 30_000
    assert set(answer.features) == {"json-rows", "event-seq", "drain-notice"}


async def test_rows_come_as_json_bytes_to_a_client_that_takes_them(wire: Wire) -> None:
    await hello(wire, "json-rows")
    sent = await wire.query("rows 2", "q1", colour="red")
    frame = await wire.receive("query_result")
    chunk = RowsChunk.decode(frame.body)
    assert frame.correlate_to == sent
    assert frame.message_id
    assert (chunk.request_id, chunk.done) == ("q1", True)
    decoded = msgspec.json.decode(chunk.json)
    assert [row["n"] for row in decoded["data"]] == [0, 1]
    assert decoded["data"][0]["colour"] == "red"
    assert decoded["meta"]["serverId"] == "node-1"
    assert decoded["meta"]["clientId"] == "c1"


async def test_rows_come_as_values_to_any_other_client(wire: Wire) -> None:
    await wire.query("rows 2", "q1", colour="red")
    chunk = await wire.message("query_result")
    assert chunk.done
    assert not chunk.json
    rows = [from_struct(value.struct_value) for value in chunk.result.data]
    assert [row["n"] for row in rows] == [0, 1]
    assert chunk.result.meta.count == 2


async def test_a_large_result_comes_in_chunks_that_end_with_done(wire: Wire) -> None:
    await hello(wire, "json-rows")
    await wire.query("rows 2500", "q1")
    chunks: list[RowsChunk] = []
    while not chunks or not chunks[-1].done:
        chunks.append(RowsChunk.decode((await wire.receive("query_result")).body))
    assert len(chunks) == 3
    rows = [row for chunk in chunks for row in msgspec.json.decode(chunk.json).get("data", ())]
    assert [row["n"] for row in rows] == list(range(2500))


async def test_an_empty_request_id_becomes_the_message_id(wire: Wire) -> None:
    sent = await wire.query("rows 0")
    assert (await wire.message("query_result")).request_id == sent


async def test_replies_overtake_each_other(wire: Wire, node: Node) -> None:
    await wire.query("wait", "slow")
    await wire.query("rows 0", "fast")
    assert (await wire.message("query_result")).request_id == "fast"
    node.engine.release.set()
    assert (await wire.message("query_result")).request_id == "slow"


async def test_an_error_names_code_place_and_whether_to_retry(wire: Wire, node: Node) -> None:
    async def fail() -> Result:
        raise MemqlError(Code.SYNTAX_ERROR, "expected )", position=10, context="queryX(\n a")

    node.engine.answers["queryX(\n a"] = fail
    await wire.query("queryX(\n a", "q1")
    answer = await wire.message("query_error")
    assert answer.request_id == "q1"
    assert answer.error.code == "InvalidArgument"
    assert answer.error.message == "expected )"
    metadata = answer.error.metadata
    assert (metadata["code"], metadata["retryable"]) == ("SYNTAX_ERROR", "false")
    assert (metadata["line"], metadata["column"]) == ("2", "3")


async def test_an_unexpected_failure_is_internal_with_an_id_and_the_stream_goes_on(wire: Wire, node: Node) -> None:
    async def fail() -> Result:
        raise RuntimeError("secret detail")

    node.engine.answers["boom"] = fail
    await wire.query("boom", "q1")
    answer = await wire.message("query_error")
    assert answer.error.code == "Internal"
    assert answer.error.metadata["errorId"].startswith("ERR-")
    assert "secret detail" not in answer.error.message
    await wire.query("rows 0", "q2")
    assert (await wire.message("query_result")).request_id == "q2"


@pytest.mark.parametrize("text", ["", "   ", "x" * (256 * 1024 + 1)])
async def test_an_empty_or_oversized_query_is_refused(wire: Wire, text: str) -> None:
    await wire.query(text, "q1")
    answer = await wire.message("query_error")
    assert answer.error.code == "InvalidArgument"


async def test_a_cursor_beside_the_query_reaches_the_engine(node: Node, wire: Wire) -> None:
    await wire.send(QueryRequest("q1", "rows 1", cursor="c"))
    await wire.receive("query_result")
    assert node.engine.cursors == ["c"]


async def test_an_unknown_or_missing_payload_is_unimplemented(wire: Wire) -> None:
    await wire.raw(encode_client("m1", 9999, b"whatever"))
    frame = await wire.receive("query_error")
    assert frame.correlate_to == "m1"
    refused = frame.message()
    assert isinstance(refused, QueryErrorMsg)
    assert refused.error is not None
    assert refused.error.code == "Unimplemented"


async def test_a_payload_of_another_feature_is_unimplemented(wire: Wire) -> None:
    await wire.raw(encode_client("m1", 18, b""))
    assert (await wire.message("query_error")).error.code == "Unimplemented"


async def test_an_unreadable_frame_is_answered_and_the_stream_goes_on(wire: Wire) -> None:
    await wire.raw(b"\x0a\xff\xff\xff\xff")
    assert (await wire.message("query_error")).error.code == "InvalidArgument"
    await wire.query("rows 0", "q2")
    assert (await wire.message("query_result")).request_id == "q2"


async def test_ten_unreadable_frames_a_minute_end_the_stream(wire: Wire) -> None:
    for _ in range(10):
        await wire.raw(b"\x0a\xff\xff\xff\xff")
    with anyio.fail_after(30), pytest.raises(grpc.aio.AioRpcError) as refused:
        while True:
            await wire.stream.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_cancelling_stops_the_work_and_ends_the_request_once(wire: Wire, node: Node) -> None:
    await wire.query("wait", "q1")
    with anyio.fail_after(30):
        await node.engine.waiting.wait()
    sent = await wire.send(CancelRequestMsg(request_id="q1"))
    told = await wire.receive("event")
    assert told.correlate_to == sent
    notified = told.message()
    assert isinstance(notified, EventNotification)
    assert from_struct(notified.payload) == {"eventType": "request-cancelled", "requestId": "q1", "status": "cancelled"}
    answer = await wire.message("query_error")
    assert (answer.request_id, answer.error.code) == ("q1", "Canceled")
    assert node.engine.stopped == 1
    await wire.send(CancelRequestMsg(request_id="q1"))
    missing = from_struct((await wire.message("event")).payload)
    assert missing == {"eventType": "request-missing", "requestId": "q1", "status": "not_found"}


async def test_a_deadline_from_the_client_ends_the_request(wire: Wire, node: Node) -> None:
    await wire.send(QueryRequest("q1", "wait"), metadata={"timeout_ms": "50"})
    answer = await wire.message("query_error")
    assert answer.error.code == "DeadlineExceeded"
    assert node.engine.stopped == 1


async def test_a_deadline_that_is_no_number_is_refused(wire: Wire) -> None:
    await wire.send(QueryRequest("q1", "rows 1"), metadata={"timeout_ms": "soon"})
    answer = await wire.message("query_error")
    assert (answer.request_id, answer.error.code) == ("q1", "InvalidArgument")


async def test_an_unfinished_request_id_is_refused_and_free_afterwards(wire: Wire, node: Node) -> None:
    await wire.query("wait", "q1")
    await wire.query("rows 0", "q1")
    assert (await wire.message("query_error")).error.code == "AlreadyExists"
    node.engine.release.set()
    assert (await wire.message("query_result")).request_id == "q1"
    await wire.query("rows 0", "q1")
    assert (await wire.message("query_result")).request_id == "q1"


async def test_more_unfinished_requests_than_allowed_are_refused(serve: Serve) -> None:
    async with serve(Limits(inflight=3)) as node, node.connect() as wire:
        for n in range(4):
            await wire.query("wait", f"q{n}")
        answer = await wire.message("query_error")
        assert (answer.request_id, answer.error.code) == ("q3", "ResourceExhausted")
        node.engine.release.set()
        done = {(await wire.message("query_result")).request_id for _ in range(3)}
        assert done == {"q0", "q1", "q2"}


async def test_closing_the_stream_cancels_what_it_opened(node: Node) -> None:
    async with node.connect() as wire:
        await wire.query("wait", "q1")
        with anyio.fail_after(30):
            await node.engine.waiting.wait()
    with anyio.fail_after(30):
        while node.engine.running or len(node.sessions):  # noqa: ASYNC110  no event tells both
            await anyio.sleep(0.01)
    assert node.engine.stopped == 1


async def test_a_client_that_is_done_sending_still_gets_its_answers(wire: Wire, node: Node) -> None:
    await wire.query("wait", "q1")
    await wire.stream.done_writing()
    with anyio.fail_after(30):
        await node.engine.waiting.wait()
    node.engine.release.set()
    assert (await wire.message("query_result")).request_id == "q1"
    with anyio.fail_after(30):
        assert await wire.stream.read() is grpc.aio.EOF
    assert await wire.stream.code() is grpc.StatusCode.OK


async def test_control_payloads_are_answered(wire: Wire) -> None:
    await wire.send(AckMsg(acked_message_id="x"))
    await wire.send(MyAccessMsg(request_id="r1"))
    access = await wire.message("my_access_result")
    assert (access.primary_email, access.cluster_role) == ("local-dev@memql.local", UserRole.OWNER)
    await wire.send(RotateAuthMsg(access_token="t"))
    assert (await wire.message("rotate_auth_result")).error == "verifier_unconfigured"
    await wire.send(ConceptsListMsg(request_id="r2"))
    assert (await wire.message("concepts_list_result")).base_topics
    await wire.send(NodeMaintenanceMsg(request_id="r3", action="explode"))
    refused = await wire.message("node_maintenance_result")
    assert (refused.ok, refused.error_code) == (False, "bad_request")
